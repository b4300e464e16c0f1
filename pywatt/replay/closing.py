"""Charging a real pass with the energies of replay, and closing the sum on what was measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathEnergies, PathTimes, WindowEnergy
from pywatt.spans import CallPaths

FloatArray = npt.NDArray[np.float64]

# How far caches, clocks and gaps make a real pass differ from replay, one standard deviation.
REPLAY_STD = 0.03
UNBELIEVABLE_STDS = 3.0


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


@dataclass(frozen=True, slots=True)
class Closure:
    """Measured energy of what was replayed over what replay says, and one standard deviation.

    `believable` is not set where they differ by more than caches, clocks and gaps, what was not
    replayed, and the measurements themselves explain.
    """

    factor: float
    factor_std: float
    believable: bool


def close(
    names: NameEnergies,
    paths: CallPaths,
    times: PathTimes,
    duration_s: float,
    total: WindowEnergy,
) -> tuple[PathEnergies, Closure]:
    """Share the energy of a run among call paths.

    Each path has the idle power for its own time, and above it the energy of replay. What was not
    replayed has an unknown power: of leaves the mean, of the time that containers spend themselves
    anything up to it. Then all of it is corrected, each according to how uncertain it is, so that
    the sum is what was measured.
    """
    # The run cannot have idled at more than it took.
    above_w = max(0.0, names.idle_w - total.energy_j / duration_s)
    idle_std = float(np.hypot(names.idle_w_std, above_w))
    names = replace(names, idle_w=names.idle_w - above_w, idle_w_std=idle_std)
    self_s = times.self_time_s
    outside_s = max(0.0, duration_s - float(np.sum(self_s)))
    idle_j = names.idle_w * self_s
    mean_w = max(0.0, total.energy_j / duration_s - names.idle_w)
    known_j, known_var, known = own_dynamic(names, paths, times, mean_w)
    guess_w, guess_std_w = _guesses(paths, mean_w)
    own_j = idle_j + np.where(known, known_j, guess_w * self_s)
    outside_j = names.idle_w * outside_s
    replayed_j = float(np.sum(own_j[known]))

    # How much of the difference each part takes is by its variance (a Gaussian given its sum).
    var = np.where(known, known_var, (guess_std_w * self_s) ** 2)
    sum_var = _sum_var(names, paths, times)
    apart_std = np.hypot(REPLAY_STD, names.drift_std)
    replay_var = (apart_std * replayed_j) ** 2 + float(np.sum(sum_var))
    guess_var = float(np.sum(guess_std_w[~known] * self_s[~known])) ** 2
    outside_var = (0.25 * mean_w * outside_s / np.sqrt(3.0)) ** 2
    missing_j = total.energy_j - float(np.sum(own_j)) - outside_j
    all_var = replay_var + guess_var + outside_var
    believable = missing_j**2 <= UNBELIEVABLE_STDS**2 * (all_var + total.energy_j_std**2)
    if not believable:
        # Replay and run differ far more than was allowed for: that is replay's to answer for.
        replay_var += missing_j**2
        all_var += missing_j**2
    if all_var > 0:
        outside_j += missing_j * outside_var / all_var
        if guess_var > 0:
            share = np.where(known, 0.0, guess_std_w * self_s)
            own_j += missing_j * (guess_var / all_var) * share / float(np.sum(share))
    own_j = np.maximum(own_j, 0.0)
    rest_j = total.energy_j - outside_j - float(np.sum(own_j[~known]))
    factor = rest_j / replayed_j if replayed_j > 0 else 1.0
    evenly_j = np.where(known, factor * own_j, own_j)
    # Clocks, caches and gaps move what flows above idle; idle power was measured by itself.
    above_j = np.where(known, np.maximum(own_j - idle_j, 0.0), 0.0)
    base_j = float(np.sum(np.where(known, own_j - above_j, 0.0)))
    gain = (rest_j - base_j) / float(np.sum(above_j)) if np.any(above_j > 0) else 0.0
    if gain > 0:
        own_j = np.where(known, own_j + (gain - 1.0) * above_j, own_j)
    else:
        own_j, above_j, gain = evenly_j, np.where(known, own_j, 0.0), factor
    if replayed_j <= 0:
        outside_j = total.energy_j - float(np.sum(own_j))

    # What all replayed paths have in common: the total, what was guessed, and idle power.
    left_var = guess_var * (1.0 - guess_var / all_var) if all_var > 0 else 0.0
    left_var += outside_var * (1.0 - outside_var / all_var) if all_var > 0 else 0.0
    common_var = total.energy_j_std**2 + left_var
    factor_std = float(np.sqrt(common_var)) / replayed_j if replayed_j > 0 else 0.0
    share = np.divide(own_j, rest_j) if rest_j > 0 else np.zeros(len(own_j))
    above_share = above_j / max(float(np.sum(above_j)), 1e-300)
    # Idle that is off by some W moves energy between paths of high and low power.
    moved_s = self_s - np.where(known, share, 0.0) * (float(np.sum(self_s[known])) + outside_s)
    idle_var = (names.idle_w_std * np.where(known, moved_s, self_s)) ** 2
    # Scaling to the sum takes out what a path's own error has in common with it.
    scaled_var = known_var - 2.0 * above_share * sum_var
    scaled_var += above_share**2 * float(np.sum(sum_var))
    own_var = np.where(known, gain**2 * np.maximum(scaled_var, 0.0), var)
    # Idle power may have moved with the rest: anywhere in between.
    own_var += (evenly_j - own_j) ** 2 / 12.0
    # What replay got wrong in all, it may have got wrong in any path.
    excess = max(0.0, abs(factor - 1.0) - UNBELIEVABLE_STDS * apart_std)
    own_var += np.where(known, (excess * own_j) ** 2, 0.0)
    common_j = np.where(known, np.abs(own_j) * factor_std, 0.0)
    single_var = own_var + idle_var
    self_std = np.sqrt(np.maximum(single_var, 0.0) + common_j**2)
    inclusive_std = np.hypot(
        np.sqrt(np.maximum(paths.plus_children(single_var), 0.0)), paths.plus_children(common_j)
    )
    # What lies between nothing and all of it is known so well, whatever replay says.
    most_std = total.energy_j / 2.0
    self_std, inclusive_std = np.minimum(self_std, most_std), np.minimum(inclusive_std, most_std)
    energies = PathEnergies(
        energy_j=paths.plus_children(own_j),
        energy_j_std=inclusive_std,
        self_energy_j=own_j,
        self_energy_j_std=self_std,
        outside_j=outside_j,
        outside_j_std=float(np.hypot(np.sqrt(outside_var), names.idle_w_std * outside_s)),
    )
    if replayed_j > 0:
        sum_std = np.hypot(np.sqrt(np.sum(sum_var)) / replayed_j, names.drift_std)
        factor_std = float(np.hypot(factor_std, factor * sum_std))
    return energies, Closure(float(factor), factor_std, bool(believable))


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
