"""Build the finished profile of a training from its sums."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pywatt.attribution import Method
from pywatt.model.environment import environment
from pywatt.model.modules import find_opaque
from pywatt.support.notes import NoteOnParts, ordered
from pywatt.training.hooks import TrainingHooks
from pywatt.training.layers import Shared, layers_of, method_of, phases_of, share
from pywatt.training.ledger import Ledger
from pywatt.training.result import (
    EpochEnergy,
    LayerTraining,
    PhaseEnergy,
    TrainingProfile,
    TrainingSession,
)
from pywatt.training.segment import UNSEPARATED
from pywatt.training.tally import EpochTally


def assemble(
    hooks: TrainingHooks,
    ledger: Ledger,
    epochs: Sequence[EpochTally],
    *,
    first_index: int,
    batches: int,
    traced_batches: int,
    date: str,
    ended: str | None,
    method: Method,
) -> TrainingProfile:
    """Build the profile of one session.

    Args:
        hooks: hooks of its last segment.
        ledger: its sums.
        epochs: tallies of its epochs.
        first_index: number of epochs completed before it.
        batches: its number of batches.
        traced_batches: number of batches in which modules were traced.
        date: when it began.
        ended: how it ended; see `TrainingSession`.
        method: requested attribution method.
    """
    total = ledger.total
    known = total is not None
    names = [entry.name for entry in hooks.entries]
    shared = share(ledger, names, batches / max(1, traced_batches), method)
    phases = phases_of(shared, known=known)
    layers = layers_of(hooks.entries, shared, known=known, all_traced=traced_batches == batches)
    found_by, reason = method_of(shared)
    closure = next((one.closure for one in shared if one.closure is not None), None)
    notes = _notes(hooks, ledger, shared, phases, layers, batches, traced_batches)
    epoch_energies = _epochs(ledger, epochs, first_index)
    used = set(ledger.sources)
    energy_j = None if total is None else total.energy_j
    energy_j_std = None if total is None else total.energy_j_std
    return TrainingProfile(
        model=hooks.entries[0].type,
        phases=phases,
        layers=layers,
        epochs=epoch_energies,
        sessions=(
            TrainingSession(
                date=date,
                energy_j=energy_j,
                energy_j_std=energy_j_std,
                duration_s=ledger.duration_s,
                complete_epochs=sum(epoch.complete for epoch in epoch_energies),
                ended=ended,
            ),
        ),
        energy_j=energy_j,
        energy_j_std=energy_j_std,
        duration_s=ledger.duration_s,
        samples=_samples(epochs),
        batches=batches,
        traced_batches=traced_batches,
        energy_by_sensor=dict(ledger.by_sensor),
        sensors=tuple(i for i in ledger.infos if (i.source or i.name) in used),
        method=found_by,
        method_reason=reason,
        closure=None if closure is None else closure.factor,
        closure_std=None if closure is None else closure.factor_std,
        notes=ordered(notes),
        estimated=any(source.info.estimated for source in ledger.sources.values()),
        environment=environment(hooks, date),
    )


def _epochs(
    ledger: Ledger, tallies: Sequence[EpochTally], first_index: int
) -> tuple[EpochEnergy, ...]:
    epochs = []
    index = first_index
    for k, tally in enumerate(tallies):
        sums = ledger.epochs.get(k)
        # An epoch counts as complete only once its last segment is attributed.
        whole = sums is not None and sums.pieces == tally.pieces and not tally.is_open
        known = whole and sums is not None and not sums.unknown and not tally.is_cut
        epochs.append(
            EpochEnergy(
                index=index,
                energy_j=sums.energy_j if sums is not None and known else None,
                energy_j_std=math.sqrt(sums.energy_var) if sums is not None and known else None,
                duration_s=0.0 if sums is None else sums.duration_s,
                batches=tally.batches,
                samples=tally.samples,
                loss=tally.loss,
                complete=tally.complete and whole,
            )
        )
        index += tally.complete
    return tuple(epochs)


def _samples(tallies: Sequence[EpochTally]) -> int | None:
    total = 0
    for tally in tallies:
        if tally.samples is None:
            return None
        total += tally.samples
    return total


def _notes(
    hooks: TrainingHooks,
    ledger: Ledger,
    shared: Sequence[Shared],
    phases: Sequence[PhaseEnergy],
    layers: Sequence[LayerTraining],
    batches: int,
    traced_batches: int,
) -> Iterator[str]:
    by_replay = any(one.phase_method == "replay" for one in shared)
    for note in ledger.notes:
        # Why segments alone could not separate phases does not matter if replay did.
        if not (by_replay and note.startswith(UNSEPARATED)):
            yield note
    for one in shared:
        yield from one.notes
    if ledger.replayed is not None:
        yield from ledger.replayed.notes
    unresolved = [phase.name for phase in phases if phase.resolved is False]
    if unresolved:
        yield NoteOnParts(
            f"phases not resolved, mostly their share of run time: {', '.join(unresolved)}"
        )
    if 0 < traced_batches < batches:
        yield NoteOnParts(
            f"modules were traced in {traced_batches:,} of {batches:,} batches; their energies are "
            "scaled up to the phases of all batches"
        )
    elif not batches:
        yield NoteOnParts(
            "no step was seen: iterate over p.epoch(loader), so that modules can be traced and "
            "memory stays bounded"
        )
    elif not traced_batches:
        yield NoteOnParts(
            "modules were traced in no batch: train for two or more to get energies of layers"
        )
    yield from find_opaque(hooks.entries, [int(layer.forward_calls) for layer in layers])
    if hooks.compiled_inside:
        yield "torch.compile compiled during the training; its energy is included"
    for device, timeline in hooks.timelines.items():
        if timeline.failure is not None:
            yield f"work on {device} was timed only until it failed: {timeline.failure}"
