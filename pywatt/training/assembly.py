"""From the sums of a training to its finished profile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pywatt.assembly import RESOLVED_SHARE, environment
from pywatt.attribution import Method
from pywatt.modules import find_wholes
from pywatt.training.hooks import TrainingHooks
from pywatt.training.layers import Layers, layers_of
from pywatt.training.ledger import Ledger, PhaseSum
from pywatt.training.result import (
    PHASES,
    EpochEnergy,
    PhaseEnergy,
    TrainingProfile,
    TrainingSession,
)
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
    layers = layers_of(hooks, ledger, batches / max(1, traced_batches))
    told = _epochs(ledger, epochs, first_index)
    used = set(ledger.sources)
    energy_j = None if total is None else total.energy_j
    energy_j_std = None if total is None else total.energy_j_std
    return TrainingProfile(
        model=hooks.entries[0].type,
        phases=_phases(ledger, layers),
        layers=layers.rows,
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
        method=layers.method,
        method_reason=layers.reason,
        notes=tuple(dict.fromkeys(_notes(hooks, ledger, layers, batches, traced_batches, method))),
        estimated=any(source.info.estimated for source in ledger.sources.values()),
        environment=environment(hooks),
    )


def _phases(ledger: Ledger, layers: Layers) -> tuple[PhaseEnergy, ...]:
    """Sums over sources, whose errors are independent of each other."""
    known = ledger.total is not None
    phases = []
    for name in PHASES:
        parts = ledger.phase(name)
        time_s = max((part.time_s for part in parts), default=0.0)
        phases.append(
            PhaseEnergy(
                name=name,
                energy_j=math.fsum(p.energy_j for p in parts) if known else None,
                energy_j_std=math.hypot(*(p.energy_j_std for p in parts)) if known else None,
                time_s=time_s,
                resolved=is_resolved(parts) if known and time_s > 0 else None,
                outside_j=layers.outside_j.get(name) if known else None,
            )
        )
    return tuple(phases)


def is_resolved(parts: Sequence[PhaseSum]) -> bool:
    """Tell whether a phase is known so much better than by the time it took."""
    std = math.hypot(*(part.energy_j_std for part in parts))
    return std < RESOLVED_SHARE * math.hypot(*(part.unknown_j for part in parts))


def _epochs(
    ledger: Ledger, tallies: Sequence[EpochTally], first_index: int
) -> tuple[EpochEnergy, ...]:
    epochs = []
    index = first_index
    for k, tally in enumerate(tallies):
        sums = ledger.epochs.get(k)
        # Until its last segment is attributed, an epoch is not known to be over.
        whole = sums is not None and sums.pieces == tally.pieces and not tally.is_open
        known = whole and sums is not None and not sums.unknown
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
    layers: Layers,
    batches: int,
    traced_batches: int,
    method: Method,
) -> Iterator[str]:
    yield from ledger.notes
    yield from layers.notes
    unresolved = [
        name
        for name in PHASES
        if any(p.time_s > 0 for p in ledger.phase(name)) and not is_resolved(ledger.phase(name))
    ]
    if unresolved and ledger.total is not None:
        yield (
            f"the power of these phases could not be told from that of others, so their energies "
            f"are hardly more than shares of time: {', '.join(unresolved)}"
        )
    if 0 < traced_batches < batches:
        yield (
            f"modules were traced in {traced_batches:,} of {batches:,} batches, and their energies "
            "are scaled to the phases of all"
        )
    yield from find_wholes(hooks.entries, [int(row.forward_calls) for row in layers.rows])
    if hooks.compiled_inside:
        yield "torch.compile was at work during the training, and its energy is included"
    for device, timeline in hooks.timelines.items():
        if timeline.failure is not None:
            yield f"work on {device} was timed only until it failed: {timeline.failure}"
