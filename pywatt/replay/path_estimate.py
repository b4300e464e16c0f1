"""What replay tells of the paths of a real run, and what is guessed where it tells nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathTimes, WindowEnergy
from pywatt.spans.columns import CallPaths

FloatArray = npt.NDArray[np.float64]

# How far caches, clocks and gaps make a real pass differ from replay, one standard deviation.
REPLAY_STD = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class NameEnergies:
    """What replay tells of each name: energy above idle of one call, its children's included.

    Attributes:
        call_j: the energy, shape (names,); NaN where it was not replayed.
        call_j_std: one standard deviation, shape (names,).
        idle_w: power while nothing runs.
        idle_w_std: one standard deviation of it.
        drift_std: standard deviation of the slow drift that all names had in common in replay, as a
            share of their energy: the run may have been at any point of it.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    idle_w: float
    idle_w_std: float
    drift_std: float = 0.0

    def padded(self, names: int) -> NameEnergies:
        """The same with names that were never replayed added, up to so many."""
        unknown = np.full(names - len(self.call_j), np.nan)
        return replace(
            self,
            call_j=np.concatenate((self.call_j, unknown)),
            call_j_std=np.concatenate((self.call_j_std, unknown)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What replay tells of a run's paths, and what is guessed where it tells nothing.

    Each path has the idle power for its own time, and above it the energy of replay. What was not
    replayed has an unknown power: of leaves the mean, of the time that containers spend themselves
    anything up to it. Of shape (paths,) where nothing else is said.

    Attributes:
        known: which paths replay tells.
        own_j: energy of each path's own work.
        own_var: variance of what replay tells of it.
        guess_std_j: standard deviation where it is guessed; the same way round for all.
        idle_j: what idle power takes of it.
        idle_w_std: one standard deviation of the idle power, a number.
        self_s: time in which each path worked itself.
        sum_var: what each path adds to the variance of what replay tells in all.
        outside_s: time in which none worked, a number.
        outside_j: energy of that time, a number.
        outside_var: variance of it, a number.
        drift_std: as in `NameEnergies`.
    """

    known: npt.NDArray[np.bool_]
    own_j: FloatArray
    own_var: FloatArray
    guess_std_j: FloatArray
    idle_j: FloatArray
    idle_w_std: float
    self_s: FloatArray
    sum_var: FloatArray
    outside_s: float
    outside_j: float
    outside_var: float
    drift_std: float

    @classmethod
    def of(
        cls,
        names: NameEnergies,
        paths: CallPaths,
        times: PathTimes,
        duration_s: float,
        total: WindowEnergy,
    ) -> Told:
        """Charge the paths of a run with the energies of their names."""
        # The run cannot have idled at more than it took.
        idle_w = min(names.idle_w, total.energy_j / duration_s)
        self_s = times.self_time_s
        outside_s = max(0.0, duration_s - float(np.sum(self_s)))
        idle_j = idle_w * self_s
        mean_w = max(0.0, total.energy_j / duration_s - idle_w)
        dynamic_j, own_var, known = own_dynamic(names, paths, times, mean_w)
        guess_w, guess_std_w = _guesses(paths, mean_w)
        return cls(
            known=known,
            own_j=idle_j + np.where(known, dynamic_j, guess_w * self_s),
            own_var=own_var,
            guess_std_j=guess_std_w * self_s,
            idle_j=idle_j,
            idle_w_std=float(np.hypot(names.idle_w_std, names.idle_w - idle_w)),
            self_s=self_s,
            sum_var=_sum_var(names, paths, times),
            outside_s=outside_s,
            outside_j=idle_w * outside_s,
            outside_var=(0.25 * mean_w * outside_s / np.sqrt(3.0)) ** 2,
            drift_std=names.drift_std,
        )

    @property
    def replayed_j(self) -> float:
        """Energy of all that replay tells."""
        return float(np.sum(self.own_j[self.known]))

    @property
    def apart_std(self) -> float:
        """How far replay and a run may be apart, as a share."""
        return float(np.hypot(REPLAY_STD, self.drift_std))


def own_dynamic(
    names: NameEnergies, paths: CallPaths, times: PathTimes, mean_w: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Energy above idle of each path's own work, its variance, and where it is known.

    A container's own work is what is left of it when its children's is taken away. Where one of
    these is a container that was not replayed, what that spends itself is guessed from the mean
    power above idle.
    """
    leaf = _leaves(paths)
    guess_w, guess_std_w = _guesses(paths, mean_w)
    guess_j, guess_std_j = guess_w * times.self_time_s, guess_std_w * times.self_time_s
    inclusive_j = names.call_j[paths.name] * times.calls
    # A name's calls err the same way round.
    inclusive_var = (names.call_j_std[paths.name] * times.calls) ** 2
    own_j, own_var = inclusive_j.copy(), inclusive_var.copy()
    below_j, below_var = np.zeros(len(paths)), np.zeros(len(paths))
    for path in range(len(paths) - 1, -1, -1):
        own_j[path] = (
            max(0.0, inclusive_j[path] - below_j[path])
            if np.isfinite(inclusive_j[path] - below_j[path])
            else np.nan
        )
        own_var[path] = inclusive_var[path] + below_var[path]
        if paths.parent[path] >= 0:
            measured = np.isfinite(inclusive_j[path])
            guessed_j = below_j[path] + guess_j[path]
            guessed_var = below_var[path] + guess_std_j[path] ** 2
            below_j[paths.parent[path]] += inclusive_j[path] if measured else guessed_j
            below_var[paths.parent[path]] += inclusive_var[path] if measured else guessed_var
            if not measured and times.calls[path] > 0 and leaf[path]:
                # A leaf that is not known: neither is what is left of its containers.
                below_j[paths.parent[path]] = np.nan
    known = np.isfinite(own_j) & (times.calls > 0)
    return np.where(known, own_j, 0.0), np.where(known, own_var, 0.0), known


def _leaves(paths: CallPaths) -> npt.NDArray[np.bool_]:
    """Paths in which nothing else was called."""
    leaf = np.ones(len(paths), dtype=bool)
    leaf[paths.parent[paths.parent >= 0]] = False
    return leaf


def _guesses(paths: CallPaths, mean_w: float) -> tuple[FloatArray, FloatArray]:
    """Power above idle of each path's own work, and its deviation, where it was not replayed.

    A power that may lie anywhere between nothing and twice the mean; of a container less likely
    above the mean, since it may only wait.
    """
    leaf = _leaves(paths)
    return (
        np.where(leaf, mean_w, 0.5 * mean_w),
        np.where(leaf, mean_w / np.sqrt(3.0), 0.5 * mean_w),
    )


def _sum_var(names: NameEnergies, paths: CallPaths, times: PathTimes) -> FloatArray:
    """What each path adds to the variance of the sum: nothing if inside one that was replayed."""
    replayed = np.isfinite(names.call_j[paths.name]) & (times.calls > 0)
    inside = np.zeros(len(paths), dtype=bool)
    for path, above in enumerate(paths.parent):
        inside[path] = above >= 0 and (inside[above] or replayed[above])
    var = (names.call_j_std[paths.name] * times.calls) ** 2
    return np.where(replayed & ~inside, var, 0.0)
