"""Slow meters: what is known at the moments when they show something new, and in between.

A meter shows the past. A counter that moves every 100 ms is known only at its moves; a power that
is published every 100 ms describes the time before it was published. A window's edges rarely fall
on a move, so what is assumed around each edge decides how good a short window can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import WindowEnergy
from pywatt.trace import Trace

FloatArray = npt.NDArray[np.float64]


def poll_period_s(trace: Trace) -> float:
    """Time between readings in s, as achieved."""
    if trace.quality is not None and trace.quality.achieved_rate_hz > 0:
        return 1.0 / trace.quality.achieved_rate_hz
    return trace.duration_s / max(1, len(trace) - 1)


def update_period_s(trace: Trace) -> float | None:
    """Time between fresh values of a trace in s; None where it moved too little to tell.

    The sensor's own word where it has one, else the time between changes. Fresh values that happen
    to repeat look like longer gaps, and a late reading makes one gap shorter and another longer,
    hence a low quantile.
    """
    polls_s = poll_period_s(trace)
    declared_s = trace.sensor.update_period_s
    if declared_s is not None:
        return max(declared_s, polls_s)
    if trace.quality is None:
        # Given by the user, not sampled: every reading counts as fresh.
        return polls_s
    gaps_s = np.diff(trace.changed_s)
    return (
        max(float(np.quantile(gaps_s, 0.1, method="lower")), polls_s) if len(gaps_s) >= 2 else None
    )


def is_fine(trace: Trace) -> bool:
    """Tell whether nearly every reading is fresh, so that the polled curve is the power's own."""
    period_s = update_period_s(trace)
    return period_s is not None and period_s <= 2.0 * poll_period_s(trace)


# How far behind a meter may be where nothing tells: NVML's power is published at least this often.
UNKNOWN_DELAY_S = 0.1

# How much a load varies is judged from so many intervals on its side of an edge: from the near ones
# where the load goes on across the edge, from all where it begins or ends there.
NEAR_INTERVALS = 4
WIDE_INTERVALS = 20

# No load is steadier than this, one standard deviation as a share of its power.
STEADY_STD = 0.005

# How likely the load changes at a window's edge itself: nearly always where one side's power is
# never seen on the other, since the user's work begins and ends there; else seldom.
PRIOR_DISTINCT = 0.95
PRIOR_ALIKE = 0.3


@dataclass(frozen=True, slots=True)
class _Level:
    """Power on one side of an edge in W.

    Attributes:
        power_w: mean over what is nearest to the edge.
        near_std_w: one standard deviation of the power over a part of an interval, close by.
        wide_std_w: the same over a longer time.
        low_w: lowest power seen on this side.
        high_w: highest power seen on this side.
    """

    power_w: float
    near_std_w: float
    wide_std_w: float
    low_w: float
    high_w: float

    @classmethod
    def steady(cls, power_w: float) -> _Level:
        """A power that was seen once."""
        std_w = STEADY_STD * abs(power_w)
        return cls(power_w, std_w, std_w, power_w, power_w)

    @classmethod
    def unknown_beside(cls, other: _Level | None) -> _Level:
        """A power of which only the other side of the edge is known: half of it, give or take."""
        half_w = 0.5 * other.power_w if other is not None else 0.0
        return cls(half_w, half_w, half_w, half_w, half_w)

    def holds(self, power_w: float) -> bool:
        """Tell whether such a power was seen on this side."""
        margin_w = 0.05 * self.high_w
        return self.low_w - margin_w <= power_w <= self.high_w + margin_w


@dataclass(frozen=True, slots=True, eq=False)
class LatticeCurve:
    """Energy at the moments where it is known, and what is assumed in between and beyond.

    Attributes:
        time_s: the moments, growing, at least two.
        energy_j: energy up to each.
        timing_s: how well the moments are known, one standard deviation.
        unseen_std_w: standard deviation of the mean power of one interval; 0 for a counter.
        reading_s: when power was read beside; empty where it was not.
        reading_w: what was read then.
    """

    time_s: FloatArray
    energy_j: FloatArray
    timing_s: float
    unseen_std_w: float
    reading_s: FloatArray
    reading_w: FloatArray

    def window(self, start_s: float, end_s: float) -> WindowEnergy:
        """Energy of a window, with the standard deviation that its two edges have."""
        first_j, first_std = self._at(start_s)
        last_j, last_std = self._at(end_s)
        edges_std = float(np.hypot(first_std, last_std))
        # Intervals whose mean is not known exactly err independently of one another.
        step_s = float(np.median(np.diff(self.time_s)))
        unseen_std = self.unseen_std_w * float(np.sqrt(max(0.0, end_s - start_s) * step_s))
        return WindowEnergy(last_j - first_j, float(np.hypot(edges_std, unseen_std)))

    def _at(self, time_s: float) -> tuple[float, float]:
        """Energy up to a moment, and its standard deviation."""
        last = len(self.time_s) - 1
        if time_s < self.time_s[0]:
            return self._beyond(0, time_s, self._before(0) or self._after(-1))
        if time_s > self.time_s[last]:
            return self._beyond(last, time_s, self._after(last - 1) or self._before(last))
        k = min(int(np.searchsorted(self.time_s, time_s, side="right")) - 1, last - 1)
        step_s = float(self.time_s[k + 1] - self.time_s[k])
        into_s = time_s - float(self.time_s[k])
        step_j = float(self.energy_j[k + 1] - self.energy_j[k])
        part_j, part_std = _part_of_interval(
            step_j, step_s, into_s, self._before(k), self._after(k)
        )
        timing_std = abs(step_j / step_s) * self.timing_s
        return float(self.energy_j[k]) + part_j, float(np.hypot(part_std, timing_std))

    def _before(self, k: int) -> _Level | None:
        """Power just before interval k."""
        if k > 0:
            return self._level(np.arange(k - 1, max(-1, k - 1 - WIDE_INTERVALS), -1))
        # Nothing moved before: what the power sensor showed first was published before the start.
        return _Level.steady(float(self.reading_w[0])) if len(self.reading_w) else None

    def _after(self, k: int) -> _Level | None:
        """Power just after interval k."""
        intervals = len(self.time_s) - 1
        if k + 1 < intervals:
            return self._level(np.arange(k + 1, min(intervals, k + 1 + WIDE_INTERVALS)))
        index = int(np.searchsorted(self.reading_s, self.time_s[-1], side="right"))
        return _Level.steady(float(self.reading_w[index])) if index < len(self.reading_w) else None

    def _level(self, intervals: npt.NDArray[np.int_]) -> _Level:
        """Power of the first of these intervals, the nearest, and how much it varies over them."""
        steps_s = self.time_s[intervals + 1] - self.time_s[intervals]
        powers_w = (self.energy_j[intervals + 1] - self.energy_j[intervals]) / steps_s
        power_w = float(powers_w[0])
        near_std_w = self._spread_w(intervals[:NEAR_INTERVALS], powers_w[:NEAR_INTERVALS])
        wide_std_w = self._spread_w(intervals, powers_w)
        seen_w = np.concatenate((powers_w, self._readings_in(intervals)))
        least_w = STEADY_STD * abs(power_w)
        return _Level(
            power_w,
            max(near_std_w, least_w),
            max(wide_std_w, least_w),
            float(np.min(seen_w)),
            float(np.max(seen_w)),
        )

    def _spread_w(self, intervals: npt.NDArray[np.int_], powers_w: FloatArray) -> float:
        """Standard deviation of the power over less than an interval.

        A load that keeps the sensor's own period looks steady to it; that it is not shows where the
        readings, which see a part of each period, differ from the counter's mean.
        """
        readings_w = self._readings_in(intervals)
        spread_w = float(np.std(powers_w))
        if len(readings_w) == 0:
            return spread_w
        hidden_w = abs(float(np.mean(readings_w)) - float(np.mean(powers_w)))
        return max(spread_w, float(np.std(readings_w)), hidden_w)

    def _readings_in(self, intervals: npt.NDArray[np.int_]) -> FloatArray:
        """What the power sensor showed at the end of each interval, so far as it had begun."""
        index = np.searchsorted(self.reading_s, self.time_s[intervals + 1], side="right") - 1
        return self.reading_w[index[index > 0]]

    def _beyond(self, knot: int, time_s: float, level: _Level | None) -> tuple[float, float]:
        """Go on from the first or last known moment with a power seen near it."""
        away_s = time_s - float(self.time_s[knot])
        near = level or _Level.steady(0.0)
        doubt_w = max(near.wide_std_w, 0.3 * abs(near.power_w))
        std_j = float(np.hypot(near.power_w * self.timing_s, doubt_w * away_s))
        return float(self.energy_j[knot]) + near.power_w * away_s, std_j


def _part_of_interval(
    step_j: float, step_s: float, into_s: float, before: _Level | None, after: _Level | None
) -> tuple[float, float]:
    """Energy of the first `into_s` of an interval whose whole energy is known; and its deviation.

    Two explanations are weighed by how well they fit the known energy. Either the load changed at
    the edge itself, since that is where the user's work begins and ends: then both sides go on as
    they were seen, each as far as it is steady. Or it stepped from one side's power to the other's
    at another moment, which then follows from the energy (subcell resolution, A. Harten, J. Comput.
    Phys. 83, 1989).
    """
    rest_s = step_s - into_s
    linear_j = step_j * into_s / step_s
    if before is None and after is None:
        return linear_j, abs(step_j) / 6.0
    before = before or _Level.unknown_beside(after)
    after = after or _Level.unknown_beside(before)
    distinct = not (before.holds(after.power_w) or after.holds(before.power_w))
    prior = PRIOR_DISTINCT if distinct else PRIOR_ALIKE
    # A load that goes on across the edge varies on both sides alike, though one may show little.
    alike_std_w = max(before.near_std_w, after.near_std_w)
    before_std_w = before.wide_std_w if distinct else alike_std_w
    after_std_w = after.wide_std_w if distinct else alike_std_w
    first_var = (before_std_w * into_s) ** 2
    rest_var = (after_std_w * rest_s) ** 2
    var = first_var + rest_var
    missing_j = step_j - before.power_w * into_s - after.power_w * rest_s
    at_edge_j = before.power_w * into_s + (missing_j * first_var / var if var > 0 else 0.0)
    at_edge_var = first_var * rest_var / var if var > 0 else 0.0
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
        # Something short happened in the interval, and nothing tells when: spread it evenly.
        spread_w = abs(missing_j) / step_s + before_std_w + after_std_w
        return linear_j, float(spread_w * step_s / 4.0)
    share = at_edge_fit / (at_edge_fit + elsewhere_fit)
    part_j = share * at_edge_j + (1.0 - share) * elsewhere_j
    var_j = share * at_edge_var + (1.0 - share) * min(first_var, rest_var)
    var_j += share * (1.0 - share) * (at_edge_j - elsewhere_j) ** 2
    return float(part_j), float(np.sqrt(var_j))


def counter_curve(counter: Trace, power: Trace | None) -> LatticeCurve | None:
    """What a slow counter tells, with the power that was read beside it.

    None where the counter never moved and nothing says that it should have.
    """
    timing_s = float(poll_period_s(counter) / np.sqrt(12.0))
    reading_s = power.run_first_s if power is not None else np.zeros(0)
    reading_w = power.run_value if power is not None else np.zeros(0)
    moves_s = counter.changed_s
    if len(moves_s) == 0:
        declared_s = counter.sensor.update_period_s
        if declared_s is None or counter.duration_s < 3.0 * declared_s:
            return None
        ends_s = counter.time_s[[0, -1]]
        return LatticeCurve(ends_s, np.zeros(2), timing_s, 0.0, reading_s, reading_w)
    period_s = update_period_s(counter)
    if period_s is None:
        # One or two moves: nothing says how long before them the first reading was published.
        period_s = float(moves_s[-1] - counter.start_s) / len(moves_s)
    # What the first reading showed was published one period before the first move.
    times_s = np.concatenate(([moves_s[0] - period_s], moves_s))
    energy_j = counter.run_value - counter.run_value[0]
    return LatticeCurve(times_s, energy_j, timing_s, 0.0, reading_s, reading_w)


def power_curve(power: Trace) -> LatticeCurve | None:
    """What a slow power sensor tells: a value describes the period before it appeared.

    None where it moved too little to tell its period.
    """
    period_s = update_period_s(power)
    if period_s is None:
        return None
    if power.sensor.update_period_s is None and power.quality is not None:
        # A steady load shows the same value many times, so that its changes are rarer than updates.
        period_s = min(period_s, max(UNKNOWN_DELAY_S, poll_period_s(power)))
    # A value that is shown for several periods was published as often: the load was steady then.
    begins_s = np.append(power.run_first_s - period_s, power.end_s)
    periods = np.maximum(1, np.rint(np.diff(begins_s) / period_s).astype(int))
    first = np.concatenate(([0], np.cumsum(periods)))
    times_s = np.interp(np.arange(first[-1] + 1), first, begins_s)
    values_w = np.repeat(power.run_value, periods)
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(times_s) * values_w)))
    # How much of each period a value is the mean of is not known: it may be a small part.
    mean_w = np.average(values_w, weights=np.diff(times_s))
    unseen_w = np.sqrt(np.average((values_w - mean_w) ** 2, weights=np.diff(times_s)))
    timing_s = float(period_s / np.sqrt(12.0))
    return LatticeCurve(
        times_s, energy_j, timing_s, float(unseen_w), power.run_first_s, power.run_value
    )
