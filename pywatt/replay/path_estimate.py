"""Estimate the energy of a run's call paths from replay, and guess what was not replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.spans.columns import CallPaths

FloatArray = npt.NDArray[np.float64]

# By how much caches, clocks and gaps make a real pass differ from replay, one standard deviation.
REPLAY_STD = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class NameEstimate:
    """Energy above idle of one call of each name, children included, by replay.

    Attributes:
        call_j: the energy, shape (names,); NaN where it was not replayed.
        call_j_std: one standard deviation, shape (names,).
        idle_w: idle power.
        idle_w_std: one standard deviation of it.
        drift_std: standard deviation of the slow drift common to all names in replay, as a share of
            their energy: the run may have been at any point of it.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    idle_w: float
    idle_w_std: float
    drift_std: float = 0.0

    def padded(self, names: int) -> NameEstimate:
        """Return it for `names` names; those added were never replayed."""
        unknown = np.full(names - len(self.call_j), np.nan)
        return replace(
            self,
            call_j=np.concatenate((self.call_j, unknown)),
            call_j_std=np.concatenate((self.call_j_std, unknown)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PathEstimate:
    """Energy of each path of a run by replay, or guessed if it was not replayed.

    Each path has idle power for its own time, plus the energy of replay. The power of what was not
    replayed is unknown: for leaves the guess is the mean, for containers' own time anything up to
    it. Arrays have shape (paths,).

    Attributes:
        known: whether replay measured each path.
        own_j: energy of each path's own work.
        own_var: its variance where replay measured it.
        guess_std_j: its standard deviation where it is guessed; errors of guesses are correlated.
        idle_j: the idle energy in it.
        idle_w_std: one standard deviation of the idle power, a scalar.
        self_s: each path's own time.
        sum_var: contribution of each path to the variance of the sum of all replayed paths.
        outside_s: time in which no path ran, a scalar.
        outside_j: energy of that time, a scalar.
        outside_var: its variance, a scalar.
        drift_std: as in `NameEstimate`.
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
        names: NameEstimate,
        paths: CallPaths,
        times: PathTimes,
        duration_s: float,
        total: WindowEnergy,
    ) -> PathEstimate:
        """Estimate the paths of a run from the energies of their names."""
        # Idle power cannot exceed the mean power of the run.
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
        """Energy of all replayed paths."""
        return float(np.sum(self.own_j[self.known]))

    @property
    def mismatch_std(self) -> float:
        """Standard deviation of the difference between replay and a run, as a share."""
        return float(np.hypot(REPLAY_STD, self.drift_std))


def own_dynamic(
    names: NameEstimate, paths: CallPaths, times: PathTimes, mean_w: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return the energy above idle of each path's own work, its variance, and where it is known.

    A container's own work is its energy less that of its children. If one of these is a container
    that was not replayed, the child's own energy is guessed from the mean power above idle.
    """
    leaf = _leaves(paths)
    guess_w, guess_std_w = _guesses(paths, mean_w)
    guess_j, guess_std_j = guess_w * times.self_time_s, guess_std_w * times.self_time_s
    inclusive_j = names.call_j[paths.name] * times.calls
    # Errors of one name's calls are fully correlated.
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
                # An unknown leaf: its containers' own energy is unknown too.
                below_j[paths.parent[path]] = np.nan
    known = np.isfinite(own_j) & (times.calls > 0)
    return np.where(known, own_j, 0.0), np.where(known, own_var, 0.0), known


def _leaves(paths: CallPaths) -> npt.NDArray[np.bool_]:
    """Return which paths called nothing else."""
    leaf = np.ones(len(paths), dtype=bool)
    leaf[paths.parent[paths.parent >= 0]] = False
    return leaf


def _guesses(paths: CallPaths, mean_w: float) -> tuple[FloatArray, FloatArray]:
    """Guess the power above idle of each path's own work, and its deviation, without replay.

    It may lie anywhere between zero and twice the mean; that of a container is less likely to be
    above the mean, since it may only wait.
    """
    leaf = _leaves(paths)
    return (
        np.where(leaf, mean_w, 0.5 * mean_w),
        np.where(leaf, mean_w / np.sqrt(3.0), 0.5 * mean_w),
    )


def _sum_var(names: NameEstimate, paths: CallPaths, times: PathTimes) -> FloatArray:
    """Return each path's share of the sum's variance: zero inside a path that was replayed."""
    replayed = np.isfinite(names.call_j[paths.name]) & (times.calls > 0)
    inside = np.zeros(len(paths), dtype=bool)
    for path, above in enumerate(paths.parent):
        inside[path] = above >= 0 and (inside[above] or replayed[above])
    var = (names.call_j_std[paths.name] * times.calls) ** 2
    return np.where(replayed & ~inside, var, 0.0)
