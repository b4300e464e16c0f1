"""Closure: correct the energies from replay so that their sum is the measured energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.replay.path_estimate import NameEstimate, PathEstimate
from pywatt.spans.columns import CallPaths

FloatArray = npt.NDArray[np.float64]

# Replay and run are consistent up to this many standard deviations apart.
CONSISTENT_STDS = 3.0

# Anything up to this is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Closure:
    """Measured / predicted energy of what was replayed, and one standard deviation.

    `consistent` is False if they differ by more than caches, clocks, gaps, modules that were not
    replayed, and the uncertainty of the measurements explain.
    """

    factor: float
    factor_std: float
    consistent: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Corrected:
    """A `PathEstimate` corrected by the measured energy, before replayed paths are scaled to it.

    Attributes:
        own_j: energy of each path, corrected where it was guessed, shape (paths,).
        outside_j: energy of the time in which no path ran.
        common_var: variance of the energy that remains for all replayed paths together.
        consistent: whether replay and the run agree within their uncertainties.
    """

    own_j: FloatArray
    outside_j: float
    common_var: float
    consistent: bool

    @classmethod
    def of(cls, estimate: PathEstimate, total: WindowEnergy) -> _Corrected:
        """Share the difference by variance (Gaussians conditioned on their sum)."""
        known, own_j, outside_j = estimate.known, estimate.own_j, estimate.outside_j
        sum_var = float(np.sum(estimate.sum_var))
        replay_var = (estimate.mismatch_std * estimate.replayed_j) ** 2 + sum_var
        guess_var = float(np.sum(estimate.guess_std_j[~known])) ** 2
        missing_j = total.energy_j - float(np.sum(own_j)) - outside_j
        all_var = replay_var + guess_var + estimate.outside_var
        consistent = missing_j**2 <= CONSISTENT_STDS**2 * (all_var + total.energy_j_std**2)
        if not consistent:
            # Replay and run differ far more than expected: charge the difference to replay.
            all_var += missing_j**2
        left_var = 0.0
        if all_var > 0:
            outside_j += missing_j * estimate.outside_var / all_var
            if guess_var > 0:
                share = np.where(known, 0.0, estimate.guess_std_j)
                own_j = own_j + missing_j * (guess_var / all_var) * share / float(np.sum(share))
            left_var = guess_var * (1.0 - guess_var / all_var)
            left_var += estimate.outside_var * (1.0 - estimate.outside_var / all_var)
        common_var = total.energy_j_std**2 + left_var
        return cls(np.maximum(own_j, 0.0), outside_j, common_var, bool(consistent))


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Energies of the paths, scaled so that their sum is the measured energy.

    Attributes:
        factor: measured / predicted energy of the replayed paths.
        rest_j: measured energy of the replayed paths.
        own_j: energy of each path, shape (paths,).
        evenly_j: the same if idle power were scaled too, shape (paths,).
        above_j: the part of each replayed path that was scaled, before scaling, shape (paths,).
        gain: the factor of that scaling.
    """

    factor: float
    rest_j: float
    own_j: FloatArray
    evenly_j: FloatArray
    above_j: FloatArray
    gain: float

    @classmethod
    def of(cls, estimate: PathEstimate, corrected: _Corrected, total: WindowEnergy) -> _Scaled:
        """Scale the energy above idle, which is what clocks, caches and gaps change."""
        known, own_j = estimate.known, corrected.own_j
        rest_j = total.energy_j - corrected.outside_j - float(np.sum(own_j[~known]))
        factor = rest_j / estimate.replayed_j if estimate.replayed_j > 0 else 1.0
        evenly_j = np.where(known, factor * own_j, own_j)
        above_j = np.where(known, np.maximum(own_j - estimate.idle_j, 0.0), 0.0)
        base_j = float(np.sum(np.where(known, own_j - above_j, 0.0)))
        gain = (rest_j - base_j) / float(np.sum(above_j)) if np.any(above_j > 0) else 0.0
        if gain <= ROUNDING:
            # The measured energy is no more than idle energy by replay.
            return cls(factor, rest_j, evenly_j, evenly_j, np.where(known, own_j, 0.0), factor)
        scaled_j = np.where(known, own_j + (gain - 1.0) * above_j, own_j)
        return cls(factor, rest_j, scaled_j, evenly_j, above_j, gain)


def apply_closure(
    names: NameEstimate,
    paths: CallPaths,
    times: PathTimes,
    duration_s: float,
    total: WindowEnergy,
) -> tuple[PathEnergies, Closure]:
    """Share the energy of a run among call paths.

    The replayed and the guessed energies are corrected, each by its uncertainty, so that their sum
    is the measured energy.
    """
    estimate = PathEstimate.of(names, paths, times, duration_s, total)
    corrected = _Corrected.of(estimate, total)
    scaled = _Scaled.of(estimate, corrected, total)
    replayed_j = estimate.replayed_j
    single_var = _single_var(estimate, scaled)
    factor_std = float(np.sqrt(corrected.common_var)) / replayed_j if replayed_j > 0 else 0.0
    # Error common to all replayed paths: from the total, the guesses, and idle power.
    common_j = np.where(estimate.known, np.abs(scaled.own_j) * factor_std, 0.0)
    self_std = np.sqrt(single_var + common_j**2)
    inclusive_std = np.hypot(
        np.sqrt(paths.plus_children(single_var)), paths.plus_children(common_j)
    )
    # A part lies between zero and the total, so its deviation is at most half of that.
    most_std = total.energy_j / 2.0
    outside_std = np.hypot(np.sqrt(estimate.outside_var), estimate.idle_w_std * estimate.outside_s)
    energies = PathEnergies(
        energy_j=paths.plus_children(scaled.own_j),
        energy_j_std=np.minimum(inclusive_std, most_std),
        self_energy_j=scaled.own_j,
        self_energy_j_std=np.minimum(self_std, most_std),
        outside_j=corrected.outside_j
        if replayed_j > 0
        else total.energy_j - float(np.sum(scaled.own_j)),
        outside_j_std=float(outside_std),
    )
    if replayed_j > 0:
        sum_std = np.hypot(np.sqrt(np.sum(estimate.sum_var)) / replayed_j, estimate.drift_std)
        factor_std = float(np.hypot(factor_std, scaled.factor * sum_std))
    return energies, Closure(float(scaled.factor), factor_std, corrected.consistent)


def _single_var(estimate: PathEstimate, scaled: _Scaled) -> FloatArray:
    """Return the variance of each path's energy that it does not share with others."""
    known, self_s, rest_j = estimate.known, estimate.self_s, scaled.rest_j
    above_share = scaled.above_j / max(float(np.sum(scaled.above_j)), 1e-300)
    # Scaling to the sum removes the part of a path's error that the sum contains.
    scaled_var = estimate.own_var - 2.0 * above_share * estimate.sum_var
    scaled_var += above_share**2 * float(np.sum(estimate.sum_var))
    var = np.where(known, scaled.gain**2 * np.maximum(scaled_var, 0.0), estimate.guess_std_j**2)
    # Idle power may have changed with the rest: a uniform distribution in between.
    var += (scaled.evenly_j - scaled.own_j) ** 2 / 12.0
    # An error of replay in the sum may lie in any path.
    excess = max(0.0, abs(scaled.factor - 1.0) - CONSISTENT_STDS * estimate.mismatch_std)
    var += np.where(known, (excess * scaled.own_j) ** 2, 0.0)
    # An error of idle power moves energy between paths of high and low power.
    share = scaled.own_j / rest_j if rest_j > 0 else np.zeros(len(self_s))
    working_s = float(np.sum(self_s[known])) + estimate.outside_s
    moved_s = self_s - np.where(known, share, 0.0) * working_s
    return np.asarray(var + (estimate.idle_w_std * np.where(known, moved_s, self_s)) ** 2)
