"""Sums over all segments of a training; their size is that of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from pywatt.attribution import Attributed
from pywatt.attribution.result import PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.replay.result import Replayed
from pywatt.sensors.info import SensorInfo
from pywatt.spans.columns import Spans
from pywatt.training.hooks import SpanLabel
from pywatt.training.segment import FoldedSegment, Segment, SourceShare

# Labels of a call and of all calls around it, outermost first.
Path = tuple[SpanLabel, ...]


@dataclass(slots=True)
class PhaseSum:
    """One phase by one source. Deviations add up, since errors of segments are correlated."""

    energy_j: float = 0.0
    energy_j_std: float = 0.0
    time_s: float = 0.0
    calls: float = 0.0
    traced_s: float = 0.0  # its part in traced steps
    separated_j: float = 0.0  # energy of that part, in segments that separated the modules


@dataclass(slots=True)
class PathSum:
    """All calls at one place in the call tree, in traced steps."""

    calls: float = 0.0
    self_time_s: float = 0.0
    self_j: float = 0.0  # from segments alone
    self_j_std: float = 0.0
    inclusive_j_std: float = 0.0
    separated_s: float = 0.0  # own time in segments that separated the modules

    def add(self, other: PathSum) -> None:
        """Add calls at another place that count as calls at this one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class CallSum:
    """Calls and times on some devices over a training, by phase and by path."""

    phases: dict[str, PhaseSum] = field(default_factory=dict)
    paths: dict[Path, PathSum] = field(default_factory=dict)
    energy_j: float = 0.0
    duration_s: float = 0.0

    def add_calls(self, spans: Spans, duration_s: float, labels: Sequence[SpanLabel]) -> None:
        """Add the calls and times of one segment."""
        self.duration_s += duration_s
        times = PathTimes.of(spans)
        in_phases_s = 0.0
        for path, key in enumerate(_keys(spans, labels)):
            calls, time_s = float(times.calls[path]), float(times.time_s[path])
            if len(key) == 1 and key[0].entry < 0:
                phase = self.phases.setdefault(key[0].of, PhaseSum())
                phase.time_s += time_s
                phase.calls += calls
                phase.traced_s += time_s if key[0].kind == "traced" else 0.0
                in_phases_s += time_s
            if key[0].kind == "traced" and calls:
                sums = self.paths.setdefault(key, PathSum())
                sums.calls += calls
                sums.self_time_s += float(times.self_time_s[path])
        other = self.phases.setdefault("other", PhaseSum())
        other.time_s += max(0.0, duration_s - in_phases_s)


@dataclass(slots=True, kw_only=True)
class SourceSum(CallSum):
    """Calls, times and the energy of one source."""

    name: str
    info: SensorInfo
    devices: tuple[str, ...]
    energy_var: float = 0.0
    doubted_s: float = 0.0  # in segments that could not separate phases
    methods: dict[str, None] = field(default_factory=dict)
    module_methods: dict[str, None] = field(default_factory=dict)
    reason: str = ""
    module_reason: str = ""

    def add(self, share: SourceShare, duration_s: float, labels: Sequence[SpanLabel]) -> None:
        """Add one segment."""
        self.add_calls(share.spans, duration_s, labels)
        found = share.phases
        self.energy_j += found.total.energy_j
        self.energy_var += found.total.energy_j_std**2
        self.methods[found.method] = None
        self.doubted_s += 0.0 if found.doubt is None else duration_s
        self.reason = self.reason or found.reason
        keys, energies = _keys(share.spans, labels), found.energies
        for path, key in enumerate(keys):
            if len(key) == 1 and key[0].entry < 0:
                phase = self.phases[key[0].of]
                phase.energy_j += float(energies.self_energy_j[path])
                phase.energy_j_std += float(energies.self_energy_j_std[path])
                if key[0].kind == "traced" and share.modules is not None:
                    phase.separated_j += float(energies.self_energy_j[path])
        self.phases["other"].energy_j += energies.outside_j
        self.phases["other"].energy_j_std += energies.outside_j_std
        if share.modules is not None:
            self._add_modules(share.modules, keys, PathTimes.of(share.spans))

    def _add_modules(self, found: Attributed, keys: Sequence[Path], times: PathTimes) -> None:
        self.module_methods[found.method] = None
        self.module_reason = self.module_reason or found.reason
        for path, key in enumerate(keys):
            if key in self.paths and times.calls[path]:
                sums = self.paths[key]
                sums.self_j += float(found.energies.self_energy_j[path])
                sums.self_j_std += float(found.energies.self_energy_j_std[path])
                sums.inclusive_j_std += float(found.energies.energy_j_std[path])
                sums.separated_s += float(times.self_time_s[path])


@dataclass(slots=True)
class EpochSum:
    """Energy and time of one epoch so far."""

    energy_j: float = 0.0
    energy_var: float = 0.0
    unknown: bool = False
    duration_s: float = 0.0
    pieces: int = 0


class Ledger:
    """Sums of the segments of a training."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceSum] = {}
        self.calls = CallSum()  # of all segments, with known energy or not
        self.epochs: dict[int, EpochSum] = {}
        self.by_sensor: dict[str, float | None] = {}
        self.infos: tuple[SensorInfo, ...] = ()
        self.energy_j = 0.0
        self.energy_var = 0.0
        self.duration_s = 0.0
        self.unknown = False
        self.notes: tuple[str, ...] = ()
        self.segments = 0
        self.left_out: tuple[str, ...] = ()  # phases that are not reported by module
        self.replayed: Replayed | None = None

    @property
    def total(self) -> WindowEnergy | None:
        """Energy of all segments; None if some of it is unknown."""
        if self.unknown or not self.segments:
            return None
        return WindowEnergy(self.energy_j, math.sqrt(self.energy_var))

    @property
    def separates_modules(self) -> bool:
        """Whether the segments alone separate the modules for each source."""
        return all(
            any(sums.separated_s > 0 for sums in source.paths.values())
            for source in self.sources.values()
        )

    def add(self, folded: FoldedSegment) -> None:
        """Add one segment."""
        self.segments += 1
        self.duration_s += folded.duration_s
        self.infos = folded.infos
        self.add_notes(folded.notes)
        self.calls.add_calls(folded.spans, folded.duration_s, folded.hooks.labels)
        for piece, energy in folded.epochs:
            epoch = self.epochs.setdefault(piece.epoch, EpochSum())
            epoch.duration_s += piece.end_s - piece.start_s
            epoch.pieces += 1
            if energy is None:
                epoch.unknown = True
            else:
                epoch.energy_j += energy.energy_j
                epoch.energy_var += energy.energy_j_std**2
        first = self.segments == 1
        for name, energy_j in folded.by_sensor.items():
            before_j = 0.0 if first else self.by_sensor.get(name)
            known = energy_j is not None and before_j is not None
            self.by_sensor[name] = (before_j or 0.0) + (energy_j or 0.0) if known else None
        if folded.total is None:
            self.unknown = True
            return
        self.energy_var += folded.total.energy_j_std**2
        for share in folded.shares:
            source = self.sources.get(share.source.name)
            if source is None:
                source = SourceSum(
                    name=share.source.name, info=share.source.info, devices=share.devices
                )
                self.sources[share.source.name] = source
            source.add(share, folded.duration_s, folded.hooks.labels)
            self.energy_j += share.phases.total.energy_j

    def add_lost(self, segment: Segment, why: str) -> None:
        """Add a segment that could not be attributed, so that its energy is unknown."""
        duration_s = segment.end_s - segment.start_s
        self.segments += 1
        self.duration_s += duration_s
        self.unknown = True
        self.add_notes((f"the energy of {duration_s:.3g} s is not known: {why}",))
        for piece in segment.pieces:
            epoch = self.epochs.setdefault(piece.epoch, EpochSum())
            epoch.unknown = True
            epoch.pieces += 1
            epoch.duration_s += piece.end_s - piece.start_s

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Add notes for the reader, each once."""
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))


def _keys(spans: Spans, labels: Sequence[SpanLabel]) -> list[Path]:
    """Return the labels of each call path."""
    keys: list[Path] = []
    for name, parent in zip(spans.paths.name.tolist(), spans.paths.parent.tolist(), strict=True):
        keys.append((*(keys[parent] if parent >= 0 else ()), labels[name]))
    return keys
