"""What all segments of a training together have told: sums, whose size is that of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import numpy as np

from pywatt.attribution.result import PathTimes, WindowEnergy
from pywatt.attribution.time import unknown_stds
from pywatt.replay.findings import Replayed
from pywatt.sensors import SensorInfo
from pywatt.spans import CallPaths
from pywatt.training.hooks import Meaning
from pywatt.training.segment import FoldedSegment, Segment, SourceShare

# The way to a call: what its name means, and those of all calls around it, outermost first.
Path = tuple[Meaning, ...]


@dataclass(slots=True)
class PhaseSum:
    """One phase by one source. Deviations add up, since segments err the same way round."""

    energy_j: float = 0.0
    energy_j_std: float = 0.0
    unknown_j: float = 0.0  # one standard deviation if nothing were known of phases but their time
    time_s: float = 0.0
    calls: float = 0.0
    traced_j: float = 0.0  # the part in steps whose modules were traced
    traced_s: float = 0.0


@dataclass(slots=True)
class PathSum:
    """All calls at one place in the tree of calls, in the steps whose modules were traced."""

    calls: float = 0.0
    time_s: float = 0.0
    self_time_s: float = 0.0
    self_j: float = 0.0  # as segments alone tell it
    self_j_std: float = 0.0
    inclusive_j_std: float = 0.0
    told_s: float = 0.0  # own time in segments that told it

    def add(self, other: PathSum) -> None:
        """Add calls at another place that count as made here."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class SourceSum:
    """One source's energy over a training, by phase and by path."""

    name: str
    info: SensorInfo
    devices: tuple[str, ...]
    phases: dict[str, PhaseSum] = field(default_factory=dict)
    paths: dict[Path, PathSum] = field(default_factory=dict)
    energy_j: float = 0.0
    duration_s: float = 0.0
    doubted_s: float = 0.0  # in segments that could not tell phases apart
    energy_var: float = 0.0
    methods: dict[str, float] = field(default_factory=dict)  # seconds by each
    module_methods: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    module_reason: str = ""

    def add(self, share: SourceShare, duration_s: float, meanings: list[Meaning]) -> None:
        """Add one segment."""
        found, paths = share.phases, share.spans.paths
        self.energy_j += found.total.energy_j
        self.energy_var += found.total.energy_j_std**2
        self.duration_s += duration_s
        self.methods[found.method] = self.methods.get(found.method, 0.0) + duration_s
        self.doubted_s += 0.0 if found.doubt is None else duration_s
        self.reason = self.reason or found.reason
        times = PathTimes.of(share.spans)
        top = np.array([parent < 0 and meanings[n].entry < 0 for n, parent in _rows(paths)], bool)
        phase_times = PathTimes(
            np.where(top, times.calls, 0.0),
            np.where(top, times.time_s, 0.0),
            np.where(top, times.time_s, 0.0),
        )
        unknown = unknown_stds(phase_times, found.total, duration_s)
        energies = found.energies
        for path in np.flatnonzero(top):
            meaning = meanings[paths.name[path]]
            phase = self.phases.setdefault(meaning.of, PhaseSum())
            phase.energy_j += float(energies.self_energy_j[path])
            phase.energy_j_std += float(energies.self_energy_j_std[path])
            phase.unknown_j += float(unknown.self_energy_j_std[path])
            phase.time_s += float(times.time_s[path])
            phase.calls += float(times.calls[path])
            if meaning.kind == "traced":
                phase.traced_j += float(energies.self_energy_j[path])
                phase.traced_s += float(times.time_s[path])
        other = self.phases.setdefault("other", PhaseSum())
        other.energy_j += energies.outside_j
        other.energy_j_std += energies.outside_j_std
        other.unknown_j += unknown.outside_j_std
        other.time_s += max(0.0, duration_s - float(np.sum(phase_times.time_s)))
        self._add_paths(share, times, meanings)

    def _add_paths(self, share: SourceShare, times: PathTimes, meanings: list[Meaning]) -> None:
        paths, modules = share.spans.paths, share.modules
        keys: list[Path] = []
        for path, (name, parent) in enumerate(_rows(paths)):
            keys.append((*(keys[parent] if parent >= 0 else ()), meanings[name]))
            if keys[path][0].kind != "traced" or times.calls[path] == 0:
                continue
            sums = self.paths.setdefault(keys[path], PathSum())
            sums.calls += float(times.calls[path])
            sums.time_s += float(times.time_s[path])
            sums.self_time_s += float(times.self_time_s[path])
            if modules is not None:
                sums.self_j += float(modules.energies.self_energy_j[path])
                sums.self_j_std += float(modules.energies.self_energy_j_std[path])
                sums.inclusive_j_std += float(modules.energies.energy_j_std[path])
                sums.told_s += float(times.self_time_s[path])
        if modules is not None:
            traced_s = sum(sums.told_s for sums in self.paths.values())
            self.module_methods[modules.method] = traced_s
            self.module_reason = self.module_reason or modules.reason


@dataclass(slots=True)
class EpochSum:
    """What one epoch has taken so far."""

    energy_j: float = 0.0
    energy_var: float = 0.0
    unknown: bool = False
    duration_s: float = 0.0
    pieces: int = 0


class Ledger:
    """Adds up segments."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceSum] = {}
        self.epochs: dict[int, EpochSum] = {}
        self.by_sensor: dict[str, float | None] = {}
        self.infos: tuple[SensorInfo, ...] = ()
        self.energy_j = 0.0
        self.energy_var = 0.0
        self.duration_s = 0.0
        self.unknown = False
        self.notes: tuple[str, ...] = ()
        self.segments = 0
        self.replayed: Replayed | None = None

    @property
    def total(self) -> WindowEnergy | None:
        """Energy of all segments; None where some of it is not known."""
        if self.unknown or not self.segments:
            return None
        return WindowEnergy(self.energy_j, math.sqrt(self.energy_var))

    def add(self, folded: FoldedSegment) -> None:
        """Add one segment."""
        self.segments += 1
        self.duration_s += folded.duration_s
        self.infos = folded.infos
        self.add_notes(folded.notes)
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
                source = SourceSum(share.source.name, share.source.info, share.devices)
                self.sources[share.source.name] = source
            source.add(share, folded.duration_s, folded.hooks.meanings)
            self.energy_j += share.phases.total.energy_j

    def lose(self, segment: Segment, why: str) -> None:
        """Add a segment that could not be attributed: its energy is not known."""
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
        """Keep what a reader must know, once."""
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))

    def phase(self, name: str) -> list[PhaseSum]:
        """One phase by each source that has it."""
        return [s.phases[name] for s in self.sources.values() if name in s.phases]


def _rows(paths: CallPaths) -> list[tuple[int, int]]:
    """Name and parent of each path."""
    return list(zip(paths.name.tolist(), paths.parent.tolist(), strict=True))
