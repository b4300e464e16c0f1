"""A phase's energy among the modules that ran in it: of the traced steps, scaled to all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.assembly import RESOLVED_SHARE
from pywatt.attribution.result import (
    PathEnergies,
    PathTimes,
    WindowEnergy,
    fold_by_name,
    fold_outermost,
)
from pywatt.attribution.time import unknown_stds
from pywatt.modules import ModuleEntry
from pywatt.spans import CallPaths
from pywatt.training.hooks import WITH_MODULES, TrainingHooks
from pywatt.training.ledger import Ledger, Path, PathSum, PhaseSum, SourceSum
from pywatt.training.result import LayerTraining

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layers:
    """Energies of layers, and how all energies were found.

    Attributes:
        rows: one for each module.
        outside_j: of each phase with modules, the part that is in none of them.
        method: what shared the energy among phases, and among layers where that differs.
        reason: what that means.
        notes: what a reader must know.
    """

    rows: tuple[LayerTraining, ...]
    outside_j: Mapping[str, float]
    method: str
    reason: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The calls of one phase's traced steps: path 0 is the phase, and name k + 1 is module k.

    Attributes:
        keys: what each path is.
        paths: the tree.
        sums: what was added up of each.
        times: calls and times, of which the phase's is all of it.
    """

    keys: tuple[Path, ...]
    paths: CallPaths
    sums: tuple[PathSum, ...]
    times: PathTimes

    @classmethod
    def of(cls, source: SourceSum, phase: str, index: Mapping[str, int]) -> Tree | None:
        """Build it; None where no step was traced."""
        found = {
            key: sums for key, sums in source.paths.items() if key[0].of == phase and len(key) > 0
        }
        if not found:
            return None
        # A call that never ended has no span, though the calls inside it have.
        every = dict.fromkeys(key[:depth] for key in found for depth in range(1, len(key) + 1))
        # A model's phases are the same on all of its devices.
        tops = [key for key in every if len(key) == 1]
        keys = [tops[0], *sorted((key for key in every if len(key) > 1), key=len)]
        place = {key: k for k, key in enumerate(keys)} | dict.fromkeys(tops, 0)
        name = [0, *(index.get(key[-1].of, -1) + 1 for key in keys[1:])]
        parent = np.array([-1, *(place[key[:-1]] for key in keys[1:])], dtype=np.int32)
        sums = tuple(found.get(key, PathSum()) for key in keys)
        times = PathTimes(
            np.array([s.calls for s in sums]),
            np.array([s.time_s for s in sums]),
            np.array([s.self_time_s for s in sums]),
        )
        paths = CallPaths(np.array(name, dtype=np.int32), parent, parent)
        return cls(tuple(keys), paths, sums, times)

    def by_time(self, traced: PhaseSum) -> PathEnergies:
        """Share the phase's energy by time."""
        self_s = self.times.self_time_s
        all_s = float(np.sum(self_s))
        own_j = traced.traced_j * self_s / all_s if all_s > 0 else np.zeros(len(self_s))
        return self._energies(own_j, traced, *self.unknown(traced))

    def as_told(self, traced: PhaseSum) -> PathEnergies | None:
        """Share it as segments alone have told; None where none did."""
        told_s = sum(s.told_s for s in self.sums)
        if told_s <= 0:
            return None
        # What a path drew in segments that told it, for all of its time.
        scale = np.array([s.self_time_s / s.told_s if s.told_s > 0 else 0.0 for s in self.sums])
        own_j = np.array([max(0.0, s.self_j) for s in self.sums]) * scale
        sum_j = float(np.sum(own_j))
        if sum_j <= 0:
            return None
        gain = traced.traced_j / sum_j
        std = np.array([s.self_j_std for s in self.sums]) * scale * gain
        inclusive_std = np.array([s.inclusive_j_std for s in self.sums]) * scale * gain
        return self._energies(own_j * gain, traced, inclusive_std, std)

    def unknown(self, traced: PhaseSum) -> tuple[FloatArray, FloatArray]:
        """Deviations, with children and without, if nothing were known but the time of calls."""
        total = WindowEnergy(traced.traced_j, 0.0)
        stds = unknown_stds(self.times, total, float(np.sum(self.times.self_time_s)))
        return stds.energy_j_std, stds.self_energy_j_std

    def _energies(
        self, own_j: FloatArray, traced: PhaseSum, inclusive_std: FloatArray, std: FloatArray
    ) -> PathEnergies:
        return PathEnergies(self.paths.plus_children(own_j), inclusive_std, own_j, std, 0.0, 0.0)


@dataclass(slots=True)
class _Figures:
    """Sums over sources by module, the phase's own first; each of shape (modules + 1,)."""

    self_j: FloatArray
    self_var: FloatArray
    inclusive_j: FloatArray
    inclusive_var: FloatArray
    unknown_var: FloatArray
    time_s: FloatArray
    forward_calls: FloatArray
    backward_calls: FloatArray
    told: bool = False

    @classmethod
    def none(cls, count: int) -> _Figures:
        a, b, c, d, e, f, g, h = (np.zeros(count) for _ in range(8))
        return cls(a, b, c, d, e, f, g, h)


def layers_of(hooks: TrainingHooks, ledger: Ledger, steps_scale: float) -> Layers:
    """Energies of all modules.

    Args:
        hooks: whose modules.
        ledger: what all segments have told.
        steps_scale: how many times as many batches there were as were traced.
    """
    index = {entry.name: k for k, entry in enumerate(hooks.entries)}
    figures = {p: _Figures.none(len(hooks.entries) + 1) for p in WITH_MODULES}
    methods: dict[str, None] = {}
    for source in ledger.sources.values():
        for phase in WITH_MODULES:
            method = _add(figures[phase], source, phase, index, steps_scale)
            if method is not None:
                methods[method] = None
    known = ledger.total is not None
    rows = tuple(
        _row(entry, k + 1, figures["forward"], figures["backward"], known)
        for k, entry in enumerate(hooks.entries)
    )
    outside_j = {p: float(f.self_j[0]) for p, f in figures.items() if f.told}
    return Layers(rows, outside_j, *_method(ledger, tuple(methods)), notes=())


def _add(
    figures: _Figures, source: SourceSum, phase: str, index: Mapping[str, int], steps_scale: float
) -> str | None:
    """Add one source's energy in one phase; returns what shared it among modules, if any did."""
    tree, sums = Tree.of(source, phase, index), source.phases.get(phase)
    if tree is None or sums is None or sums.traced_s <= 0:
        return None
    energies, method = tree.as_told(sums), " and ".join(source.module_methods)
    if energies is None:
        energies, method = tree.by_time(sums), "time"
    # From the traced steps to all: as the phase's energy goes, and its time.
    scale = sums.energy_j / sums.traced_j if sums.traced_j else sums.time_s / sums.traced_s
    count = len(figures.self_j)

    def own(by_path: FloatArray) -> FloatArray:
        return fold_by_name(tree.paths, by_path, count)

    def inclusive(by_path: FloatArray) -> FloatArray:
        return fold_outermost(tree.paths, by_path, count)

    # A phase that is not known well moves all that is in it.
    phase_std = sums.energy_j_std / abs(sums.energy_j) if sums.energy_j else 0.0
    self_j, inclusive_j = own(energies.self_energy_j) * scale, inclusive(energies.energy_j) * scale
    figures.self_j += self_j
    figures.self_var += (own(energies.self_energy_j_std) * scale) ** 2 + (phase_std * self_j) ** 2
    figures.inclusive_j += inclusive_j
    figures.inclusive_var += (inclusive(energies.energy_j_std) * scale) ** 2
    figures.inclusive_var += (phase_std * inclusive_j) ** 2
    figures.unknown_var += (own(tree.unknown(sums)[1]) * scale) ** 2
    if not figures.told:
        # Calls and times are the same for all sources of a device.
        times, kinds = tree.times, [key[-1].kind for key in tree.keys]
        figures.time_s += inclusive(times.time_s) * sums.time_s / sums.traced_s
        for kind, calls in (
            ("forward", figures.forward_calls),
            ("backward", figures.backward_calls),
        ):
            these = np.array([each == kind for each in kinds])
            calls += own(np.where(these, times.calls, 0.0)) * steps_scale
    figures.told = True
    return method


def _row(
    entry: ModuleEntry, k: int, forward: _Figures, backward: _Figures, known: bool
) -> LayerTraining:
    parts = []
    for figures in (forward, backward):
        ran = known and figures.told and figures.time_s[k] > 0
        parts.append(
            (
                float(figures.inclusive_j[k]) if ran else None,
                math.sqrt(figures.inclusive_var[k]) if ran else None,
                float(figures.self_j[k]) if ran else None,
                math.sqrt(figures.self_var[k]) if ran else None,
            )
        )
    resolved = [
        bool(math.sqrt(f.self_var[k]) < RESOLVED_SHARE * math.sqrt(f.unknown_var[k]))
        for f, part in zip((forward, backward), parts, strict=True)
        if part[0] is not None
    ]
    trained = sum(
        int(p.numel())
        for p in entry.module.parameters()
        if p.requires_grad and not getattr(p, "cls_to_become", None)
    )
    return LayerTraining(
        name=entry.name,
        type=entry.type,
        depth=entry.depth,
        parameters=entry.parameters,
        trained_parameters=trained,
        device=entry.device,
        forward_calls=float(forward.forward_calls[k]),
        backward_calls=float(backward.backward_calls[k]),
        forward_time_s=float(forward.time_s[k]),
        backward_time_s=float(backward.time_s[k]),
        forward_energy_j=parts[0][0],
        forward_energy_j_std=parts[0][1],
        backward_energy_j=parts[1][0],
        backward_energy_j_std=parts[1][1],
        forward_self_energy_j=parts[0][2],
        forward_self_energy_j_std=parts[0][3],
        backward_self_energy_j=parts[1][2],
        backward_self_energy_j_std=parts[1][3],
        resolved=all(resolved) if resolved else None,
    )


def _method(ledger: Ledger, layer_methods: Sequence[str]) -> tuple[str, str]:
    """What shared the energy, and what that means."""
    sources = ledger.sources.values()
    phases = dict.fromkeys(name for source in sources for name in source.methods)
    reasons = dict.fromkeys(f"phases: {source.reason}" for source in sources)
    if not phases:
        return "none", "no sensor gave an energy for this training"
    method = " and ".join(phases)
    if layer_methods:
        reasons |= dict.fromkeys(
            f"layers: {source.module_reason}" for source in sources if source.module_reason
        )
        if tuple(layer_methods) != tuple(phases):
            method += f", layers by {' and '.join(layer_methods)}"
    return method, "; ".join(reasons)
