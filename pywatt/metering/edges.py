"""Split an interval at a window's edge: its energy is known, its distribution over time is not.

Explanations are weighted by how well they fit that energy; the difference between them is part of
the standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.metering.energies import WindowEnergy

FloatArray = npt.NDArray[np.float64]

# The energy of a repeating load does not drift from the line between two moments at which it is
# known: it swings around it. An interval's energy varies by the difference of two swings, and at an
# edge inside it the energy is off by one and half of two others: SWING_VAR of that variance. It
# takes SWING_SHARE of an interval to reach it.
SWING_VAR = 0.75
SWING_SHARE = 0.05

# No load is steadier than this, one standard deviation as a share of its power.
STEADY_STD = 0.005

# Probability that the load changes right at a window's edge: high if one side's power never occurs
# on the other, since the user's work begins and ends there; else low.
PRIOR_DISTINCT = 0.95
PRIOR_ALIKE = 0.3

# Probability that something short in a window's interval happened outside the window: a block often
# has work of its own just before it.
PRIOR_ELSEWHERE = 0.3

# Difference of a window's own power between its parts in two intervals, as a share of it.
OWN_SPREAD = 0.3

# No part of an interval has less than this share of its mean power: few devices idle below a tenth
# of their limit.
LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Level:
    """Power on one side of an edge in W.

    Attributes:
        power_w: mean in the interval nearest to the edge.
        near_std_w: one standard deviation of the power over part of an interval, near the edge.
        wide_std_w: the same over a longer time.
        low_w: lowest power on this side.
        high_w: highest power on this side.
    """

    power_w: float
    near_std_w: float
    wide_std_w: float
    low_w: float
    high_w: float

    @classmethod
    def steady(cls, power_w: float) -> Level:
        """Make a level from a single power."""
        std_w = STEADY_STD * abs(power_w)
        return cls(power_w, std_w, std_w, power_w, power_w)

    @classmethod
    def unknown_beside(cls, other: Level | None) -> Level:
        """Make a level if only the other side of the edge is known: half of its power, ± half."""
        half_w = 0.5 * other.power_w if other is not None else 0.0
        return cls(half_w, half_w, half_w, half_w, half_w)

    def holds(self, power_w: float) -> bool:
        """Return whether such a power occurred on this side."""
        margin_w = 0.05 * self.high_w
        return self.low_w - margin_w <= power_w <= self.high_w + margin_w


def part_of_interval(
    step_j: float, step_s: float, into_s: float, before: Level | None, after: Level | None
) -> tuple[float, float]:
    """Return the energy of the first `into_s` of an interval of known energy, and its deviation.

    Two explanations are weighted by how well they fit the known energy. Either the load changed at
    the edge itself, where the user's work begins or ends: then each side keeps its power, as far as
    it is steady. Or it stepped from one side's power to the other's at another moment, which then
    follows from the energy (subcell resolution, A. Harten, J. Comput. Phys. 83, 1989).
    """
    part_j, std_j = _first_part(step_j, step_s, into_s, before, after)
    return bounded(part_j, step_j, into_s / step_s), std_j


def bounded(energy_j: float, whole_j: float, share: float) -> float:
    """Limit the energy of a part of some intervals to what is possible, which only reduces errors.

    Power is not negative, a part is not more than the whole, and both sides have some energy.

    Args:
        energy_j: estimated energy of the part.
        whole_j: energy of the intervals.
        share: the part's share of their time.
    """
    least_j = LEAST_SHARE * max(whole_j, 0.0)
    return min(max(energy_j, least_j * share), whole_j - least_j * (1.0 - share))


def _first_part(
    step_j: float, step_s: float, into_s: float, before: Level | None, after: Level | None
) -> tuple[float, float]:
    """Do as `part_of_interval`, but not bounded by the interval's energy."""
    rest_s = step_s - into_s
    linear_j = step_j * into_s / step_s
    if before is None and after is None:
        return linear_j, abs(step_j) / 6.0
    before = before or Level.unknown_beside(after)
    after = after or Level.unknown_beside(before)
    distinct = not (before.holds(after.power_w) or after.holds(before.power_w))
    prior = PRIOR_DISTINCT if distinct else PRIOR_ALIKE
    # A load that continues across the edge varies equally on both sides, even if one shows little.
    alike_std_w = max(before.near_std_w, after.near_std_w)
    before_std_w = before.wide_std_w if distinct else alike_std_w
    after_std_w = after.wide_std_w if distinct else alike_std_w
    # What varies from interval to interval varies more over a part of one (white noise).
    first_var = before_std_w**2 * into_s * step_s
    rest_var = after_std_w**2 * rest_s * step_s
    var = first_var + rest_var
    missing_j = step_j - before.power_w * into_s - after.power_w * rest_s
    at_edge_j = before.power_w * into_s + (missing_j * first_var / var if var > 0 else 0.0)
    at_edge_var = first_var * rest_var / var if var > 0 else 0.0
    if not distinct:
        at_edge_var = max(at_edge_var, swing_var(alike_std_w, step_s, min(into_s, rest_s)))
    at_edge_fit = 0.0
    if var > 0:
        at_edge_fit = prior * np.exp(-(missing_j**2) / (2 * var)) / np.sqrt(2 * np.pi * var)

    change_w = before.power_w - after.power_w
    elsewhere_fit = 0.0
    elsewhere_j = linear_j
    if change_w != 0.0:
        switch_s = (step_j - after.power_w * step_s) / change_w
        if 0.0 <= switch_s <= step_s:
            elsewhere_fit = (1.0 - prior) / (abs(change_w) * step_s)
            elsewhere_j = before.power_w * min(into_s, switch_s)
            elsewhere_j += after.power_w * max(0.0, into_s - switch_s)
    if at_edge_fit + elsewhere_fit < 1e-12:
        # Something short happened in the interval, at an unknown time: spread it evenly.
        spread_w = abs(missing_j) / step_s + before_std_w + after_std_w
        return linear_j, float(spread_w * step_s / 4.0)
    share = at_edge_fit / (at_edge_fit + elsewhere_fit)
    part_j = share * at_edge_j + (1.0 - share) * elsewhere_j
    var_j = share * at_edge_var + (1.0 - share) * min(first_var, rest_var)
    var_j += share * (1.0 - share) * (at_edge_j - elsewhere_j) ** 2
    return float(part_j), float(np.sqrt(var_j))


def swing_var(std_w: float, step_s: float, away_s: float) -> float:
    """Return the variance of the energy up to a moment within an interval, if the load continues.

    Args:
        std_w: one standard deviation of the power of an interval.
        step_s: length of the interval.
        away_s: from the moment to the nearer end of the interval.
    """
    reached = min(1.0, away_s / (SWING_SHARE * step_s))
    return SWING_VAR * (std_w * step_s) ** 2 * reached


def short_window(
    outside_s: tuple[float, float],
    inside_s: FloatArray,
    interval_j: FloatArray,
    before: Level | None,
    after: Level | None,
) -> WindowEnergy:
    """Return the energy of a window without a whole interval inside, touching one or two of them.

    Three explanations are weighted: the load around the window continues through it; the window has
    a power of its own, of any size; or the difference happened at any one moment of the intervals,
    not necessarily inside the window.

    Args:
        outside_s: time of the intervals before the window, and after it.
        inside_s: the window's time in each interval, shape (intervals,), one or two.
        interval_j: energy of each interval, shape (intervals,).
        before: power before these intervals.
        after: power after them.
    """
    if before is None and after is None:
        before = after = Level.steady(float(np.sum(interval_j) / (sum(outside_s) + sum(inside_s))))
    before = before or Level.unknown_beside(after)
    after = after or Level.unknown_beside(before)
    # Cells: before the window, its part in each interval, after it.
    cell_s = np.concatenate(([outside_s[0]], inside_s, [outside_s[1]]))
    inside = np.concatenate(([0.0], np.ones(len(inside_s)), [0.0]))
    owner = np.concatenate(([0], np.arange(len(inside_s)), [len(inside_s) - 1]))
    in_interval = (owner == np.arange(len(inside_s))[:, None]).astype(np.float64)
    middle_w = (before.power_w + after.power_w) / 2.0
    mean_j = cell_s * np.concatenate(
        ([before.power_w], np.full(len(inside_s), middle_w), [after.power_w])
    )
    alike_std_w = max(before.near_std_w, after.near_std_w)
    # What varies from interval to interval varies more over a part of one (white noise).
    interval_s = float(np.sum(cell_s)) / len(inside_s)
    goes_on = np.diag(alike_std_w**2 * cell_s * interval_s)
    around = np.diag(
        (np.array([before.wide_std_w, *0.0 * inside_s, after.wide_std_w]) * cell_s) ** 2
    )
    # A window's own power may be anything up to a few times the power around it.
    gap_j = interval_j - in_interval @ mean_j
    any_w = max(before.high_w, after.high_w, float(np.sum(np.abs(gap_j)) / np.sum(inside_s)))
    within_s = inside * cell_s
    own = around + any_w**2 * (np.outer(within_s, within_s) + OWN_SPREAD**2 * np.diag(within_s**2))
    short_j = float(np.sum(np.abs(gap_j)))
    anywhere = goes_on + np.diag(short_j**2 * cell_s / np.sum(cell_s))

    alike = before.holds(after.power_w) or after.holds(before.power_w)
    differs = PRIOR_ALIKE if alike else PRIOR_DISTINCT
    through = _given_intervals(goes_on, mean_j, in_interval, interval_j, inside)
    itself = _given_intervals(own, mean_j, in_interval, interval_j, inside)
    elsewhere = _given_intervals(anywhere, mean_j, in_interval, interval_j, inside)
    # `elsewhere` has no likelihood of its own: it shares the weight of `itself`.
    swings = sum(
        swing_var(alike_std_w, interval_s, min(outside, inside_s[k]))
        for outside, k in zip(outside_s, (0, -1), strict=True)
    )
    through = through[0], max(through[1], swings), through[2]
    log = np.array([np.log(1.0 - differs) + through[2], np.log(differs) + itself[2]])
    weight = np.exp(log - np.max(log))
    weight /= np.sum(weight)
    shares = (weight[0], weight[1] * (1.0 - PRIOR_ELSEWHERE), weight[1] * PRIOR_ELSEWHERE)
    found = list(zip(shares, (through, itself, elsewhere), strict=True))
    energy_j = sum(share * each[0] for share, each in found)
    var = sum(share * (each[1] + (each[0] - energy_j) ** 2) for share, each in found)
    share = float(np.sum(inside_s) / np.sum(cell_s))
    energy_j = bounded(float(energy_j), float(np.sum(interval_j)), share)
    return WindowEnergy(energy_j, float(np.sqrt(var)))


def _given_intervals(
    cov: FloatArray,
    mean_j: FloatArray,
    in_interval: FloatArray,
    interval_j: FloatArray,
    inside: FloatArray,
) -> tuple[float, float, float]:
    """Return a window's energy and variance given the intervals' energies, and log-likelihood.

    Cells are normal with the given mean and covariance; the intervals are sums of them.
    """
    gap_j = interval_j - in_interval @ mean_j
    shared = cov @ in_interval.T
    sums = in_interval @ shared + 1e-12 * np.eye(len(interval_j))  # a microjoule: below any meter
    gain = np.linalg.solve(sums, shared.T).T
    energy_j = float(inside @ (mean_j + gain @ gap_j))
    var = max(0.0, float(inside @ (cov - gain @ shared.T) @ inside))
    _, log_size = np.linalg.slogdet(sums)
    fit = -0.5 * float(gap_j @ np.linalg.solve(sums, gap_j) + log_size)
    return energy_j, var, fit
