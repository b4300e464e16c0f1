"""A part of a training: measured, attributed and then forgotten, which keeps memory bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pywatt.attribution import Attributed, Method, attribute
from pywatt.attribution.choose import BETTER
from pywatt.attribution.overlap import RESOLVED_PERIODS
from pywatt.attribution.problem import Case
from pywatt.attribution.result import PathTimes, WindowEnergy
from pywatt.metering.source import (
    Source,
    caveats,
    energy_by_sensor,
    sources_of,
    total_energy,
    unknowns,
)
from pywatt.profiling.segment import devices_of
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.discovery import SensorInfo
from pywatt.spans.columns import Spans
from pywatt.training.hooks import TrainingHooks

# Begins the note of why a segment cannot tell phases apart.
UNTOLD = "no method can tell the phases' powers apart"

# Modules' calls must take this share of a segment for a regression over all of it to tell of them.
TELLING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class EpochPiece:
    """The part of an epoch that lies in a segment.

    Attributes:
        epoch: which of the session's epochs, from 0 on.
        start_s: when it begins.
        end_s: when it ends.
    """

    epoch: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """What was recorded between two moments, not attributed yet.

    Attributes:
        hooks: spans of phases and modules, taken off.
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
        source: where it comes from.
        devices: whose modules it is shared among.
        spans: phases, and calls of modules in the traced steps.
        phases: the energy shared among phases alone, by the call paths of `spans`.
        modules: shared among modules too, where the segment alone tells them apart; else None.
    """

    source: Source
    devices: tuple[str, ...]
    spans: Spans
    phases: Attributed
    modules: Attributed | None


@dataclass(frozen=True, slots=True)
class FoldedSegment:
    """What a segment has told.

    Attributes:
        hooks: what its spans' names mean.
        duration_s: its length.
        total: its energy; None where some source cannot tell.
        spans: phases and calls on the model's own device.
        shares: by source; one that cannot tell its energy is not among them.
        epochs: energy of each piece of an epoch, likewise.
        by_sensor: energy by each sensor alone.
        infos: all sensors that were read.
        notes: what a reader must know.
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
    """Attribute a segment's energy to phases, and to modules where it alone tells.

    Args:
        segment: what was recorded; its monitor has seen what it must.
        method: how; ``replay`` is for modules, and leaves phases to ``auto``.
        modules: whether modules are to be told apart by the segment alone, which takes a while.
    """
    hooks, start_s, end_s = segment.hooks, segment.start_s, segment.end_s
    traces, notes = segment.monitor.read()
    infos = tuple(info for sensor in segment.monitor.sensors for info in sensor.infos)
    sources = sources_of(traces, infos)
    claimed = {source.info.device for source in sources if source.info.device is not None}
    shares: list[SourceShare] = []
    run_alone: Method = "auto" if method == "replay" else method
    for source in sources:
        # Of a meter of something else, such as the CPU beside a GPU, phases are told too.
        devices = devices_of(source, hooks, claimed) or [hooks.device]
        spans, phase_spans = hooks.spans(devices), hooks.phase_spans(devices)
        phases = attribute(source, phase_spans, start_s, end_s, method=run_alone)
        if phases is None:
            continue
        told = None
        if modules and method != "replay" and len(spans) > len(phase_spans):
            told = attribute(source, spans, start_s, end_s, method=run_alone)
            asked = told is not None and told.method == method
            if told is not None and not (
                asked or _tells_modules(told, source, hooks, spans, start_s, end_s)
            ):
                told = None
            if told is not None and told.method == "time":
                told = None
        shares.append(SourceShare(source, tuple(devices), spans, phases, told))
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


def _tells_modules(
    told: Attributed,
    source: Source,
    hooks: TrainingHooks,
    spans: Spans,
    start_s: float,
    end_s: float,
) -> bool:
    """Tell whether this is about modules, and not only about the phases around them."""
    times = PathTimes.of(spans)
    modules = np.array([hooks.meanings[name].entry >= 0 for name in spans.paths.name], bool)
    only = PathTimes(
        *(np.where(modules, x, 0.0) for x in (times.calls, times.time_s, times.self_time_s))
    )
    if told.method == "regression":
        return float(np.sum(only.self_time_s)) >= TELLING_SHARE * (end_s - start_s)
    case = Case(source, spans, only, start_s, end_s, told.total)
    resolved_s = case.resolved_s
    return resolved_s is not None and case.call_s >= RESOLVED_PERIODS * resolved_s


def _epochs(
    segment: Segment, sources: Sequence[Source], total: WindowEnergy | None
) -> tuple[tuple[EpochPiece, WindowEnergy | None], ...]:
    """Energy of each piece; one that is the whole segment has its energy."""
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
            note = note.removesuffix(f"; {BETTER}").replace("the modules' powers", "powers")
            notes.append(note.replace("no method can tell powers apart", UNTOLD))
    return notes
