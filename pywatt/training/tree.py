"""One source's energy over a training as a tree of calls: phases, and the modules in them.

Modules are traced in some steps; their calls and times are scaled up to all steps here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.by_time import unknown_stds
from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.replay.closure import Closure, apply_closure
from pywatt.replay.path_estimate import NameEstimate
from pywatt.spans.columns import CallPaths
from pywatt.training.hooks import TIMED
from pywatt.training.ledger import CallSum, Path, PathSum

FloatArray = npt.NDArray[np.float64]

# Names denote the phases, then these kinds of calls of each module.
KINDS = ("forward", "backward", "recompute")

Place = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Paths 0 to 3 are the phases of `TIMED`, and their names too; names of modules follow.

    Attributes:
        source: calls and energy of the source.
        paths: the tree.
        phase: index of the phase that each path is in, shape (paths,).
        module: index of the module of each path, -1 for a phase, shape (paths,).
        kind: index in `KINDS` of each path, -1 for a phase, shape (paths,).
        sums: sums of each path in the traced steps; empty for phases.
        times: calls and times of all steps.
        modules: number of modules of the model.
    """

    source: CallSum
    paths: CallPaths
    phase: npt.NDArray[np.int64]
    module: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    sums: tuple[PathSum, ...]
    times: PathTimes
    modules: int

    @classmethod
    def of(
        cls,
        source: CallSum,
        names: Sequence[str],
        steps_scale: float,
        left_out: Collection[str],
    ) -> Tree:
        """Build the tree.

        Args:
            source: sums of all segments for one source.
            names: names of the modules.
            steps_scale: batches over traced batches.
            left_out: phases whose modules are left out.
        """
        index = {name: k for k, name in enumerate(names)}
        found: dict[Place, PathSum] = {}
        for key, calls_there in source.paths.items():
            if key[0].of in left_out:
                continue
            if len(key) > 1 and all(step.of in index for step in key[1:]):
                found.setdefault(_place(key), PathSum()).add(calls_there)
        # A call that never ended has no span, though the calls inside it have.
        every = dict.fromkeys(key[:depth] for key in found for depth in range(2, len(key) + 1))
        keys = sorted(every, key=len)
        place: dict[Place, int] = {(("phase", phase),): k for k, phase in enumerate(TIMED)}
        place |= {key: k + len(TIMED) for k, key in enumerate(keys)}
        phases = [source.phases.get(phase) for phase in TIMED]
        phase = np.array([*range(len(TIMED)), *(TIMED.index(key[0][1]) for key in keys)])
        module = np.array([*(-1 for _ in TIMED), *(index[key[-1][1]] for key in keys)])
        kind = np.array([*(-1 for _ in TIMED), *(KINDS.index(key[-1][0]) for key in keys)])
        name = np.where(module < 0, phase, len(TIMED) + kind * len(index) + module)
        parent = np.array([*(-1 for _ in TIMED), *(place[key[:-1]] for key in keys)], np.int32)
        sums = (*(PathSum() for _ in TIMED), *(found.get(key, PathSum()) for key in keys))
        scale = np.array(
            [1.0 if p is None or not p.traced_s else p.time_s / p.traced_s for p in phases]
        )[phase]
        calls = np.array([s.calls for s in sums]) * steps_scale
        self_time_s = np.array([s.self_time_s for s in sums]) * scale
        for k, each in enumerate(phases):
            calls[k] = 0.0 if each is None else each.calls
            time_s = 0.0 if each is None else each.time_s
            self_time_s[k] = max(0.0, time_s - float(np.sum(self_time_s[phase == k])))
        paths = CallPaths(name.astype(np.int32), parent, parent)
        times = PathTimes(calls, paths.plus_children(self_time_s), self_time_s)
        return cls(source, paths, phase, module, kind, sums, times, len(index))

    @property
    def has_modules(self) -> bool:
        """Whether a module ran in a traced step."""
        return len(self.paths) > len(TIMED)

    @property
    def names(self) -> int:
        """Number of possible names."""
        return len(TIMED) + len(KINDS) * self.modules

    @property
    def duration_s(self) -> float:
        """Time of the whole training."""
        return self.source.duration_s

    def unknown(self) -> PathEnergies:
        """Return energies by time, and their deviations if nothing but times were known."""
        total = WindowEnergy(self.source.energy_j, 0.0)
        stds = unknown_stds(self.times, total, self.duration_s)
        own_j = self.source.energy_j * self.times.self_time_s / max(self.duration_s, 1e-300)
        return PathEnergies(
            energy_j=self.paths.plus_children(own_j),
            energy_j_std=stds.energy_j_std,
            self_energy_j=own_j,
            self_energy_j_std=stds.self_energy_j_std,
            outside_j=self.source.energy_j - float(np.sum(own_j)),
            outside_j_std=stds.outside_j_std,
        )

    def from_segments(self) -> PathEnergies:
        """Return energies of phases and of their modules from segments; else modules by time."""
        separated = self._separated()
        by_time = self.unknown()
        found = by_time if separated is None else separated
        phases = [self.source.phases.get(phase) for phase in TIMED]
        energy_j = np.array([0.0 if p is None else p.energy_j for p in phases])
        energy_std = np.array([0.0 if p is None else p.energy_j_std for p in phases])
        other = self.source.phases["other"]
        return self.with_phases(found, energy_j, energy_std, other.energy_j, other.energy_j_std)

    def with_phases(
        self,
        found: PathEnergies,
        energy_j: FloatArray,
        energy_std: FloatArray,
        other_j: float,
        other_std: float,
    ) -> PathEnergies:
        """Set the energies of phases, and scale the modules in them to match.

        The uncertainty of a phase adds to that of all modules in it.
        """
        sum_j = found.energy_j[: len(TIMED)]
        time_s = self.times.time_s[: len(TIMED)]
        gain = np.divide(energy_j, sum_j, where=sum_j > 0, out=np.zeros(len(TIMED)))[self.phase]
        self_s = self.times.self_time_s
        by_time = np.divide(energy_j, time_s, where=time_s > 0, out=np.zeros(len(TIMED)))
        own_j = np.where(
            (sum_j > 0)[self.phase], found.self_energy_j * gain, by_time[self.phase] * self_s
        )
        relative = np.divide(
            energy_std, np.abs(energy_j), where=energy_j != 0, out=np.zeros(len(TIMED))
        )[self.phase]
        inclusive_j = self.paths.plus_children(own_j)
        inclusive_std = np.hypot(found.energy_j_std * np.abs(gain), relative * inclusive_j)
        inclusive_std[: len(TIMED)] = energy_std
        return PathEnergies(
            energy_j=inclusive_j,
            energy_j_std=inclusive_std,
            self_energy_j=own_j,
            self_energy_j_std=np.hypot(
                found.self_energy_j_std * np.abs(gain), relative * np.abs(own_j)
            ),
            outside_j=other_j,
            outside_j_std=other_std,
        )

    def _separated(self) -> PathEnergies | None:
        """Return the modules' shares from segments alone; None if these do not separate them."""
        separated_s = np.array([s.separated_s for s in self.sums])
        if float(np.sum(separated_s)) <= 0:
            return None
        # Extend the power of a path in segments that separate it to all of its time.
        scale = np.divide(
            self.times.self_time_s,
            separated_s,
            where=separated_s > 0,
            out=np.zeros(len(separated_s)),
        )
        own_j = np.array([max(0.0, s.self_j) for s in self.sums]) * scale
        for k in range(len(TIMED)):  # the phase's own, in those segments
            phase = self.source.phases.get(TIMED[k])
            inside = (self.phase == k) & (self.module >= 0)
            if phase is not None and phase.separated_j > 0:
                whole = phase.energy_j / phase.separated_j
                modules_j = sum(self.sums[path].self_j for path in np.flatnonzero(inside))
                own_j[k] = max(0.0, phase.separated_j - modules_j) * whole
        std = np.array([s.self_j_std for s in self.sums]) * scale
        inclusive_std = np.array([s.inclusive_j_std for s in self.sums]) * scale
        return PathEnergies(self.paths.plus_children(own_j), inclusive_std, own_j, std, 0.0, 0.0)

    def from_replay(
        self, forward: NameEstimate, total: WindowEnergy
    ) -> tuple[PathEnergies, Closure]:
        """Share the energy of the training by replay, corrected to add up to `total`.

        Args:
            forward: energies of each module's forward call, then of forward and backward together,
                and last of a step of the optimizer; NaN if it was not replayed.
            total: energy of the training.
        """
        count = self.modules
        call_j, var = np.full(self.names, np.nan), np.full(self.names, np.nan)
        once_j, both_j = forward.call_j[:count], forward.call_j[count : 2 * count]
        once_var, both_var = (
            forward.call_j_std[:count] ** 2,
            forward.call_j_std[count : 2 * count] ** 2,
        )
        call_j[TIMED.index("optimizer")] = forward.call_j[2 * count]
        var[TIMED.index("optimizer")] = forward.call_j_std[2 * count] ** 2
        parts = ((once_j, once_var), (np.maximum(both_j - once_j, 0.0), both_var + once_var))
        for kind, (kind_j, kind_var) in enumerate((*parts, parts[0])):
            first = len(TIMED) + kind * count
            call_j[first : first + count], var[first : first + count] = kind_j, kind_var
        estimate = NameEstimate(
            call_j, np.sqrt(var), forward.idle_w, forward.idle_w_std, forward.drift_std
        )
        energies, closure = apply_closure(estimate, self.paths, self.times, self.duration_s, total)
        return _bounded(energies, total), closure


def _bounded(energies: PathEnergies, total: WindowEnergy) -> PathEnergies:
    """Limit the deviation of each phase to that of all others together, the rest of the total.

    The standard deviation of a sum is at most the sum of standard deviations, however correlated.
    """
    count = len(TIMED)
    stds = np.append(energies.energy_j_std[:count], energies.outside_j_std)
    bounded = np.minimum(stds, np.sum(stds) - stds + total.energy_j_std)
    inclusive, own = energies.energy_j_std.copy(), energies.self_energy_j_std.copy()
    inclusive[:count] = bounded[:count]
    own[:count] = np.minimum(own[:count], inclusive[:count])
    return replace(
        energies,
        energy_j_std=inclusive,
        self_energy_j_std=own,
        outside_j_std=float(bounded[count]),
    )


def _place(key: Path) -> Place:
    """Return the phase, then kind and name of each module on the way.

    Checkpointing recomputes a module inside the backward of the module that needs it first, to
    which it does not belong: only modules that contain it stay on the way to it.
    """
    steps = key[1:]
    first = next((k for k, step in enumerate(steps) if step.kind == "recompute"), None)
    if first is not None:
        recomputed = steps[first].of
        around = [s for s in steps[:first] if s.of == "" or recomputed.startswith(f"{s.of}.")]
        steps = (*around, *steps[first:])
    return (("phase", key[0].of), *((step.kind, step.of) for step in steps))


def outermost_of_modules(tree: Tree) -> npt.NDArray[np.bool_]:
    """Return for each path whether no path above it is of the same module."""
    as_module = CallPaths(
        np.where(tree.module < 0, tree.modules + tree.phase, tree.module).astype(np.int32),
        tree.paths.parent,
        tree.paths.nearest,
    )
    return as_module.outermost()
