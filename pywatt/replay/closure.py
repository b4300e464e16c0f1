"""Closing the sum of what replay tells of a run on what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathEnergies, PathTimes, WindowEnergy
from pywatt.replay.path_estimate import NameEnergies, Told
from pywatt.spans.columns import CallPaths

FloatArray = npt.NDArray[np.float64]

# Run and replay that are further apart than so many standard deviations are not believed.
UNBELIEVABLE_STDS = 3.0

# What is no more than this is nothing but rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Closure:
    """Measured energy of what was replayed over what replay says, and one standard deviation.

    `believable` is not set where they differ by more than caches, clocks and gaps, what was not
    replayed, and the measurements themselves explain.
    """

    factor: float
    factor_std: float
    believable: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Met:
    """The same once the measured energy of the run is known, before replay is scaled to it.

    Attributes:
        own_j: energy of each path, corrected where it was guessed, shape (paths,).
        outside_j: energy of the time in which none worked.
        common_var: variance of what is left for the replayed paths together.
        believable: whether replay and the run are as near as they can be thought to be.
    """

    own_j: FloatArray
    outside_j: float
    common_var: float
    believable: bool

    @classmethod
    def of(cls, told: Told, total: WindowEnergy) -> _Met:
        """Let each part take of the difference by its variance (a Gaussian given its sum)."""
        known, own_j, outside_j = told.known, told.own_j, told.outside_j
        replay_var = (told.apart_std * told.replayed_j) ** 2 + float(np.sum(told.sum_var))
        guess_var = float(np.sum(told.guess_std_j[~known])) ** 2
        missing_j = total.energy_j - float(np.sum(own_j)) - outside_j
        all_var = replay_var + guess_var + told.outside_var
        believable = missing_j**2 <= UNBELIEVABLE_STDS**2 * (all_var + total.energy_j_std**2)
        if not believable:
            # Replay and run differ far more than was allowed for: that is replay's to answer for.
            all_var += missing_j**2
        left_var = 0.0
        if all_var > 0:
            outside_j += missing_j * told.outside_var / all_var
            if guess_var > 0:
                share = np.where(known, 0.0, told.guess_std_j)
                own_j = own_j + missing_j * (guess_var / all_var) * share / float(np.sum(share))
            left_var = guess_var * (1.0 - guess_var / all_var)
            left_var += told.outside_var * (1.0 - told.outside_var / all_var)
        common_var = total.energy_j_std**2 + left_var
        return cls(np.maximum(own_j, 0.0), outside_j, common_var, bool(believable))


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Energies of the paths, scaled so that all of them are what was measured.

    Attributes:
        factor: measured energy of what was replayed over what replay tells.
        rest_j: energy that was measured of what was replayed.
        own_j: energy of each path, shape (paths,).
        evenly_j: the same had idle power been scaled with the rest, shape (paths,).
        above_j: what was scaled of each replayed path, as replay tells it, shape (paths,).
        gain: by how much.
    """

    factor: float
    rest_j: float
    own_j: FloatArray
    evenly_j: FloatArray
    above_j: FloatArray
    gain: float

    @classmethod
    def of(cls, told: Told, met: _Met, total: WindowEnergy) -> _Scaled:
        """Scale what flows above idle: that is what clocks, caches and gaps move."""
        known, own_j = told.known, met.own_j
        rest_j = total.energy_j - met.outside_j - float(np.sum(own_j[~known]))
        factor = rest_j / told.replayed_j if told.replayed_j > 0 else 1.0
        evenly_j = np.where(known, factor * own_j, own_j)
        above_j = np.where(known, np.maximum(own_j - told.idle_j, 0.0), 0.0)
        base_j = float(np.sum(np.where(known, own_j - above_j, 0.0)))
        gain = (rest_j - base_j) / float(np.sum(above_j)) if np.any(above_j > 0) else 0.0
        if gain <= ROUNDING:
            # No more was measured than idle takes by replay.
            return cls(factor, rest_j, evenly_j, evenly_j, np.where(known, own_j, 0.0), factor)
        scaled_j = np.where(known, own_j + (gain - 1.0) * above_j, own_j)
        return cls(factor, rest_j, scaled_j, evenly_j, above_j, gain)


def close(
    names: NameEnergies,
    paths: CallPaths,
    times: PathTimes,
    duration_s: float,
    total: WindowEnergy,
) -> tuple[PathEnergies, Closure]:
    """Share the energy of a run among call paths.

    What replay tells, and what is guessed beside it, is corrected, each according to how uncertain
    it is, so that the sum is what was measured.
    """
    told = Told.of(names, paths, times, duration_s, total)
    met = _Met.of(told, total)
    scaled = _Scaled.of(told, met, total)
    replayed_j = told.replayed_j
    single_var = _single_var(told, scaled)
    factor_std = float(np.sqrt(met.common_var)) / replayed_j if replayed_j > 0 else 0.0
    # What all replayed paths have in common: the total, what was guessed, and idle power.
    common_j = np.where(told.known, np.abs(scaled.own_j) * factor_std, 0.0)
    self_std = np.sqrt(single_var + common_j**2)
    inclusive_std = np.hypot(
        np.sqrt(paths.plus_children(single_var)), paths.plus_children(common_j)
    )
    # What lies between nothing and all of it is known so well, whatever replay says.
    most_std = total.energy_j / 2.0
    outside_std = np.hypot(np.sqrt(told.outside_var), told.idle_w_std * told.outside_s)
    energies = PathEnergies(
        energy_j=paths.plus_children(scaled.own_j),
        energy_j_std=np.minimum(inclusive_std, most_std),
        self_energy_j=scaled.own_j,
        self_energy_j_std=np.minimum(self_std, most_std),
        outside_j=met.outside_j if replayed_j > 0 else total.energy_j - float(np.sum(scaled.own_j)),
        outside_j_std=float(outside_std),
    )
    if replayed_j > 0:
        sum_std = np.hypot(np.sqrt(np.sum(told.sum_var)) / replayed_j, told.drift_std)
        factor_std = float(np.hypot(factor_std, scaled.factor * sum_std))
    return energies, Closure(float(scaled.factor), factor_std, met.believable)


def _single_var(told: Told, scaled: _Scaled) -> FloatArray:
    """Variance of each path's energy that it has to itself."""
    known, self_s, rest_j = told.known, told.self_s, scaled.rest_j
    above_share = scaled.above_j / max(float(np.sum(scaled.above_j)), 1e-300)
    # Scaling to the sum takes out what a path's own error has in common with it.
    scaled_var = told.own_var - 2.0 * above_share * told.sum_var
    scaled_var += above_share**2 * float(np.sum(told.sum_var))
    var = np.where(known, scaled.gain**2 * np.maximum(scaled_var, 0.0), told.guess_std_j**2)
    # Idle power may have moved with the rest: anywhere in between.
    var += (scaled.evenly_j - scaled.own_j) ** 2 / 12.0
    # What replay got wrong in all, it may have got wrong in any path.
    excess = max(0.0, abs(scaled.factor - 1.0) - UNBELIEVABLE_STDS * told.apart_std)
    var += np.where(known, (excess * scaled.own_j) ** 2, 0.0)
    # Idle that is off by some W moves energy between paths of high and low power.
    share = scaled.own_j / rest_j if rest_j > 0 else np.zeros(len(self_s))
    working_s = float(np.sum(self_s[known])) + told.outside_s
    moved_s = self_s - np.where(known, share, 0.0) * working_s
    return np.asarray(var + (told.idle_w_std * np.where(known, moved_s, self_s)) ** 2)
