"""A part of a training: measured, attributed and then dropped, which keeps memory bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pywatt.attribution import Attributed, Method, attribute, choose
from pywatt.attribution.overlap import RESOLVED_PERIODS
from pywatt.attribution.problem import Problem
from pywatt.attribution.result import PathTimes
from pywatt.metering.caveats import caveats, unknowns
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.source import Source, energy_by_sensor, sources_of, total_energy
from pywatt.profiling.segment import devices_of
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.info import SensorInfo
from pywatt.spans.columns import Spans
from pywatt.training.hooks import TrainingHooks

# Begins the note on why a segment cannot separate phases.
UNSEPARATED = "phases could not be separated"

# Calls of modules must take this share of a segment for a regression over it to resolve them.
MIN_MODULE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class EpochPiece:
    """The part of an epoch that lies in a segment.

    Attributes:
        epoch: number of the epoch in the session, from 0 on.
        start_s: when the part begins.
        end_s: when it ends.
    """

    epoch: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Recorded spans and readings between two moments, not attributed yet.

    Attributes:
        hooks: spans of phases and modules; detached.
        monitor: read the sensors from before `start_s` until after `end_s`.
        start_s: beginning.
        end_s: end.
        pieces: the epochs in it.
    """

    hooks: TrainingHooks
    monitor: Monitor
    start_s: float
    end_s: float
    pieces: tuple[EpochPiece, ...]


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One source's energy in a segment, shared.

    Attributes:
        source: the source.
        devices: devices whose modules share the energy.
        spans: phases, and calls of modules in traced steps.
        phases: the energy shared among phases alone, by the call paths of `spans`.
        modules: the energy shared among modules too; None if the segment alone does not separate
            them.
    """

    source: Source
    devices: tuple[str, ...]
    spans: Spans
    phases: Attributed
    modules: Attributed | None


@dataclass(frozen=True, slots=True)
class FoldedSegment:
    """The energies of a segment.

    Attributes:
        hooks: hooks with the labels of its spans.
        duration_s: its length.
        total: its energy; None if that of some source is unknown.
        spans: phases and calls on the model's own device.
        shares: by source, without sources of unknown energy.
        epochs: energy of each piece of an epoch; None if unknown.
        by_sensor: energy by each sensor alone.
        infos: all sensors that were read.
        notes: what a reader of the figures has to know.
    """

    hooks: TrainingHooks
    duration_s: float
    total: WindowEnergy | None
    spans: Spans
    shares: tuple[SourceShare, ...]
    epochs: tuple[tuple[EpochPiece, WindowEnergy | None], ...]
    by_sensor: dict[str, float | None]
    infos: tuple[SensorInfo, ...]
    notes: tuple[str, ...]


def fold(segment: Segment, method: Method, *, modules: bool) -> FoldedSegment:
    """Attribute a segment's energy to phases, and to modules if it alone separates them.

    Args:
        segment: the segment; its monitor has seen its end.
        method: attribution method; ``replay`` is for modules, and leaves phases to ``auto``.
        modules: whether to separate modules by the segment alone, which takes a while.
    """
    hooks, start_s, end_s = segment.hooks, segment.start_s, segment.end_s
    traces, notes = segment.monitor.read()
    infos = tuple(info for sensor in segment.monitor.sensors for info in sensor.infos)
    sources = sources_of(traces, infos)
    claimed = {source.info.device for source in sources if source.info.device is not None}
    shares: list[SourceShare] = []
    direct_method: Method = "auto" if method == "replay" else method
    for source in sources:
        # A meter of another device, such as the CPU beside a GPU, has energies of phases too.
        devices = devices_of(source, hooks, claimed) or [hooks.device]
        spans, phase_spans = hooks.spans(devices), hooks.phase_spans(devices)
        phases = attribute(source, phase_spans, start_s, end_s, method=direct_method)
        if phases is None:
            continue
        found = None
        if modules and method != "replay" and len(spans) > len(phase_spans):
            found = attribute(source, spans, start_s, end_s, method=direct_method)
            requested = found is not None and found.method == method
            if found is not None and not (
                requested or _separates_modules(found, source, hooks, spans, start_s, end_s)
            ):
                found = None
            if found is not None and found.method == "time":
                found = None
        shares.append(SourceShare(source, tuple(devices), spans, phases, found))
    total = total_energy(sources, start_s, end_s)
    return FoldedSegment(
        hooks=hooks,
        duration_s=end_s - start_s,
        total=total if len(shares) == len(sources) else None,
        spans=hooks.spans([hooks.device]),
        shares=tuple(shares),
        epochs=_epochs(segment, sources, total),
        by_sensor=energy_by_sensor(traces, infos, start_s, end_s),
        infos=infos,
        notes=(*notes, *_notes(sources, shares, start_s, end_s)),
    )


def _separates_modules(
    found: Attributed,
    source: Source,
    hooks: TrainingHooks,
    spans: Spans,
    start_s: float,
    end_s: float,
) -> bool:
    """Return whether energies resolve modules, and not only the phases around them."""
    times = PathTimes.of(spans)
    modules = np.array([hooks.labels[name].entry >= 0 for name in spans.paths.name], bool)
    only = PathTimes(
        *(np.where(modules, x, 0.0) for x in (times.calls, times.time_s, times.self_time_s))
    )
    if found.method == "regression":
        return float(np.sum(only.self_time_s)) >= MIN_MODULE_SHARE * (end_s - start_s)
    problem = Problem(source, spans, only, start_s, end_s, found.total)
    resolved_s = problem.resolved_s
    return resolved_s is not None and problem.call_s >= RESOLVED_PERIODS * resolved_s


def _epochs(
    segment: Segment, sources: Sequence[Source], total: WindowEnergy | None
) -> tuple[tuple[EpochPiece, WindowEnergy | None], ...]:
    """Return the energy of each piece; a piece that is the whole segment has its total."""
    whole = (segment.start_s, segment.end_s)
    return tuple(
        (
            piece,
            total
            if (piece.start_s, piece.end_s) == whole
            else total_energy(sources, piece.start_s, piece.end_s),
        )
        for piece in segment.pieces
    )


def _notes(
    sources: Sequence[Source], shares: Sequence[SourceShare], start_s: float, end_s: float
) -> list[str]:
    notes = [*unknowns(sources, start_s, end_s), *caveats(sources)]
    for share in shares:
        for note in share.phases.notes:
            note = note.removesuffix(f"; {choose.ADVICE}")
            notes.append(note.replace(choose.UNSEPARATED, UNSEPARATED))
    return notes
