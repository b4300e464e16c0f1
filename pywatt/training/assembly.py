"""From the sums of a training to its finished profile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pywatt.attribution import Method
from pywatt.model.modules import find_wholes
from pywatt.profiling.assembly import environment
from pywatt.support.notes import NoteOnParts
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
from pywatt.training.segment import UNTOLD
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
    """Make the profile of one session.

    Args:
        hooks: those of its last segment.
        ledger: its sums.
        epochs: what was counted of its epochs.
        first_index: how many epochs were completed before it.
        batches: how many batches it had.
        traced_batches: in how many of them modules were traced.
        date: when it began.
        ended: how it ended; see `TrainingSession`.
        method: asked-for method of attribution.
    """
    total = ledger.total
    known = total is not None
    names = [entry.name for entry in hooks.entries]
    shared = share(ledger, names, batches / max(1, traced_batches), method)
    phases = phases_of(shared, known=known)
    layers = layers_of(hooks.entries, shared, known=known)
    found_by, reason = method_of(shared)
    closure = next((one.closure for one in shared if one.closure is not None), None)
    notes = _notes(hooks, ledger, shared, phases, layers, batches, traced_batches)
    told = _epochs(ledger, epochs, first_index)
    used = set(ledger.sources)
    energy_j = None if total is None else total.energy_j
    energy_j_std = None if total is None else total.energy_j_std
    return TrainingProfile(
        model=hooks.entries[0].type,
        phases=phases,
        layers=layers,
        epochs=told,
        sessions=(
            TrainingSession(
                date=date,
                energy_j=energy_j,
                energy_j_std=energy_j_std,
                duration_s=ledger.duration_s,
                complete_epochs=sum(epoch.complete for epoch in told),
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
        notes=tuple(dict.fromkeys(notes)),
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
        # Until its last segment is attributed, an epoch is not known to be over.
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
        # Why segments alone could not tell phases apart does not matter where replay did.
        if not (by_replay and note.startswith(UNTOLD)):
            yield note
    for one in shared:
        yield from one.notes
    if ledger.replayed is not None:
        yield from ledger.replayed.notes
    unresolved = [phase.name for phase in phases if phase.resolved is False]
    if unresolved:
        yield NoteOnParts(
            "the power of these phases could not be told from that of others, so their energies "
            f"are hardly more than shares of time: {', '.join(unresolved)}"
        )
    if 0 < traced_batches < batches:
        yield NoteOnParts(
            f"modules were traced in {traced_batches:,} of {batches:,} batches, and their energies "
            "are scaled to the phases of all"
        )
    elif not batches:
        yield NoteOnParts(
            "no step was seen: go through the loader with p.epoch(loader), so that modules can be "
            "traced, and what was recorded is attributed and forgotten after each minute"
        )
    elif not traced_batches:
        yield NoteOnParts(
            "modules were traced in no batch: train for two or more to have energies of layers"
        )
    yield from find_wholes(hooks.entries, [int(layer.forward_calls) for layer in layers])
    if hooks.compiled_inside:
        yield "torch.compile was at work during the training, and its energy is included"
    for device, timeline in hooks.timelines.items():
        if timeline.failure is not None:
            yield f"work on {device} was timed only until it failed: {timeline.failure}"
