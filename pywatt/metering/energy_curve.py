"""Energy from slow meters: known at their updates, estimated in between.

A meter shows the past. A counter that updates every 100 ms is known only at its updates; a power
published every 100 ms describes the time before. A window's edges rarely fall on an update, so the
assumptions around each edge limit the accuracy of a short window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.metering.aliasing import aliased_stretches, without_aliasing
from pywatt.metering.change_instants import ChangeInstants
from pywatt.metering.edges import STEADY_STD, Level, bounded, part_of_interval, short_window
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.freshness import poll_period_s, update_period_s
from pywatt.metering.undersampling import Undersampling
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]

# Delay of a meter, if unknown: NVML's power is published at least this often.
UNKNOWN_DELAY_S = 0.1

# A load's variation is estimated from this many intervals on its side of an edge: the near ones if
# it continues across the edge, all if it begins or ends there.
NEAR_INTERVALS = 4
WIDE_INTERVALS = 20

# Idle around a quiet window is estimated from this many intervals on either side.
QUIET_INTERVALS = 4

# All of a quiet window must be included: an update is nearly always within this many standard
# deviations of its time, and a counter may not yet show all that it has counted by then.
SURE_STDS = 4.0
COUNTING_S = 0.003


@dataclass(frozen=True, slots=True, eq=False)
class EnergyCurve:
    """Energy at the times where it is known, estimated in between and beyond.

    Attributes:
        time_s: the times, increasing, at least two.
        timing_s: one standard deviation of each.
        energy_j: energy up to each.
        step_s: typical time from one to the next.
        undersampling: what a power sensor missed in the intervals; None for a counter.
        resolution_j: smallest step of the energy.
        reading_s: when power was read as well; empty if it was not.
        reading_w: what was read then.
        instants: refines the times in place around a moment; None: they stay.
    """

    time_s: FloatArray
    timing_s: FloatArray
    energy_j: FloatArray
    step_s: float
    undersampling: Undersampling | None
    resolution_j: float
    reading_s: FloatArray
    reading_w: FloatArray
    instants: ChangeInstants | None = None

    def window(self, start_s: float, end_s: float, *, quiet: bool = False) -> WindowEnergy:
        """Return the energy of a window, with the standard deviation due to its two edges.

        Args:
            start_s: its start.
            end_s: its end.
            quiet: there was only steady idle around it, for some intervals on either side.
        """
        if end_s <= start_s:
            return WindowEnergy(0.0, 0.0)
        if self.instants is not None:
            self.instants.sharpen(start_s)
            self.instants.sharpen(end_s)
        first, last = self._interval(start_s), self._interval(end_s)
        if start_s < self.time_s[0] or end_s > self.time_s[-1]:
            found = self._between_edges(start_s, end_s, 0, self._intervals)
        elif quiet and (wide := self._touched(start_s, end_s)) is not None:
            found = self._across(start_s, end_s, *wide)
        elif last - first <= 1:
            found = self._short(start_s, end_s, first, last)
        else:
            found = self._between_edges(start_s, end_s, first, last)
        missed_j = 0.0
        if self.undersampling is not None:
            missed_j = self.undersampling.std_j(found.energy_j, end_s - start_s)
        resolution_std = self.resolution_j / np.sqrt(6.0)
        std_j = np.hypot(found.energy_j_std, np.hypot(missed_j, resolution_std))
        return WindowEnergy(found.energy_j, float(std_j))

    @property
    def _intervals(self) -> int:
        return len(self.time_s) - 1

    def _interval(self, time_s: float) -> int:
        """Return the interval that contains a moment; the first or the last for one beyond."""
        k = int(np.searchsorted(self.time_s, time_s, side="right")) - 1
        return min(max(k, 0), self._intervals - 1)

    def _between_edges(self, start_s: float, end_s: float, first: int, last: int) -> WindowEnergy:
        """Return the energy of a window of several intervals, whose edges are independent."""
        first_j, first_std = self._at(start_s, 0, last)
        last_j, last_std = self._at(end_s, first + 1, self._intervals)
        return WindowEnergy(last_j - first_j, float(np.hypot(first_std, last_std)))

    def _short(self, start_s: float, end_s: float, first: int, last: int) -> WindowEnergy:
        """Return the energy of a window without a whole interval inside."""
        times_s = self.time_s[first : last + 2]
        edges_s = np.clip(times_s, start_s, end_s)
        interval_j = np.diff(self.energy_j[first : last + 2])
        found = short_window(
            (start_s - times_s[0], times_s[-1] - end_s),
            np.diff(edges_s),
            interval_j,
            self._before(first, 0),
            self._after(last, self._intervals),
        )
        around_w = np.max(interval_j / np.diff(times_s))
        timing_std = around_w * np.linalg.norm(self.timing_s[first : last + 2])
        return WindowEnergy(found.energy_j, float(np.hypot(found.energy_j_std, timing_std)))

    def _touched(self, start_s: float, end_s: float) -> tuple[int, int] | None:
        """Return the first and last interval a window may touch; None if too few are around it."""
        first, last = self._interval(start_s), self._interval(end_s)
        margin_s = COUNTING_S + SURE_STDS * float(np.max(self.timing_s[first : last + 2]))
        first, last = self._interval(start_s - margin_s), self._interval(end_s + margin_s)
        around = min(first, self._intervals - 1 - last)
        return (first, last) if around >= QUIET_INTERVALS else None

    def _across(self, start_s: float, end_s: float, first: int, last: int) -> WindowEnergy:
        """Return the energy of all intervals that a window touches, less idle in the rest of them.

        Idle power drifts: in part of an interval it is known from whole intervals only.
        """
        outside_s = np.array([start_s - self.time_s[first], self.time_s[last + 1] - end_s])
        after = last + 1 + np.arange(QUIET_INTERVALS)
        idle_w = self._powers_w(np.array([first - 1 - np.arange(QUIET_INTERVALS), after]))
        level_w = np.mean(idle_w, axis=1)
        spread_var = np.sum((idle_w - level_w[:, None]) ** 2) / (2 * (QUIET_INTERVALS - 1))
        var = spread_var * np.sum(outside_s * self.step_s + outside_s**2 / QUIET_INTERVALS)
        timing_j = level_w * self.timing_s[[first, last + 1]]
        whole_j = float(self.energy_j[last + 1] - self.energy_j[first])
        std_j = float(np.sqrt(var + timing_j @ timing_j))
        share = (end_s - start_s) / float(self.time_s[last + 1] - self.time_s[first])
        energy_j = bounded(whole_j - float(level_w @ outside_s), whole_j, share)
        return WindowEnergy(energy_j, std_j)

    def _at(self, time_s: float, since: int, until: int) -> tuple[float, float]:
        """Return the energy up to a moment, and its deviation, from intervals in [since, until)."""
        last = self._intervals
        if time_s < self.time_s[0]:
            return self._beyond(0, time_s, self._before(0, 0) or self._after(-1, last))
        if time_s > self.time_s[last]:
            return self._beyond(last, time_s, self._after(last - 1, last) or self._before(last, 0))
        k = self._interval(time_s)
        step_s = float(self.time_s[k + 1] - self.time_s[k])
        into_s = time_s - float(self.time_s[k])
        step_j = float(self.energy_j[k + 1] - self.energy_j[k])
        part_j, part_std = part_of_interval(
            step_j, step_s, into_s, self._before(k, since), self._after(k, until)
        )
        # The later the interval is assumed to have begun, the less of it is before the moment.
        timing_s = float(np.hypot(*self.timing_s[k : k + 2]))
        timing_std = abs(step_j / step_s) * timing_s
        return float(self.energy_j[k]) + part_j, float(np.hypot(part_std, timing_std))

    def _before(self, k: int, since: int) -> Level | None:
        """Return the power just before interval k."""
        if k > since:
            return self._level(np.arange(k - 1, max(since - 1, k - 1 - WIDE_INTERVALS), -1))
        # No update before: the power sensor's first reading was published before the start.
        return Level.steady(float(self.reading_w[0])) if len(self.reading_w) else None

    def _after(self, k: int, until: int) -> Level | None:
        """Return the power just after interval k."""
        if k + 1 < until:
            return self._level(np.arange(k + 1, min(until, k + 1 + WIDE_INTERVALS)))
        index = int(np.searchsorted(self.reading_s, self.time_s[-1], side="right"))
        return Level.steady(float(self.reading_w[index])) if index < len(self.reading_w) else None

    def _powers_w(self, intervals: npt.NDArray[np.int_]) -> FloatArray:
        """Return the mean power of each interval."""
        steps_s = self.time_s[intervals + 1] - self.time_s[intervals]
        powers_w: FloatArray = (self.energy_j[intervals + 1] - self.energy_j[intervals]) / steps_s
        return powers_w

    def _level(self, intervals: npt.NDArray[np.int_]) -> Level:
        """Return the power of the first, nearest interval, and how much it varies over all."""
        powers_w = self._powers_w(intervals)
        power_w = float(powers_w[0])
        near_std_w = self._spread_w(intervals[:NEAR_INTERVALS], powers_w[:NEAR_INTERVALS])
        wide_std_w = self._spread_w(intervals, powers_w)
        seen_w = np.concatenate((powers_w, self._readings_in(intervals)))
        least_w = STEADY_STD * abs(power_w)
        return Level(
            power_w,
            max(near_std_w, least_w),
            max(wide_std_w, least_w),
            float(np.min(seen_w)),
            float(np.max(seen_w)),
        )

    def _spread_w(self, intervals: npt.NDArray[np.int_], powers_w: FloatArray) -> float:
        """Return the standard deviation of the power over less than an interval.

        A load that repeats at the sensor's update rate looks steady. It is not if the readings,
        which cover part of each period, differ from the counter's mean.
        """
        readings_w = self._readings_in(intervals)
        spread_w = float(np.std(powers_w))
        if len(readings_w) == 0:
            return spread_w
        hidden_w = abs(float(np.mean(readings_w)) - float(np.mean(powers_w)))
        return max(spread_w, float(np.std(readings_w)), hidden_w)

    def _readings_in(self, intervals: npt.NDArray[np.int_]) -> FloatArray:
        """Return what the power sensor showed at the end of each interval, if it had begun.

        Its first reading was published earlier, and counts only if it lasted for an interval.
        """
        index = np.searchsorted(self.reading_s, self.time_s[intervals + 1], side="right") - 1
        if len(self.reading_s) > 0:
            index[(index == 0) & (self.time_s[intervals] < self.reading_s[0])] = -1
        shown_w: FloatArray = self.reading_w[index[index >= 0]]
        return shown_w

    def _beyond(self, k: int, time_s: float, level: Level | None) -> tuple[float, float]:
        """Extrapolate from time k, the first or the last, with the power near it."""
        away_s = time_s - float(self.time_s[k])
        near = level or Level.steady(0.0)
        doubt_w = max(near.wide_std_w, 0.3 * abs(near.power_w))
        std_j = float(np.hypot(near.power_w * self.timing_s[k], doubt_w * away_s))
        return float(self.energy_j[k]) + near.power_w * away_s, std_j


def counter_curve(counter: Trace, power: Trace | None) -> EnergyCurve | None:
    """Return the energy curve of a slow counter, with the power that was read as well.

    None if the counter never changed and need not have.
    """
    reading_s = power.run_first_s if power is not None else np.zeros(0)
    reading_w = power.run_value if power is not None else np.zeros(0)
    resolution_j = counter.sensor.resolution
    moves = len(counter.changed_s)
    if moves == 0:
        declared_s = counter.sensor.update_period_s
        if declared_s is None or counter.duration_s < 3.0 * declared_s:
            return None
        ends_s, none = counter.time_s[[0, -1]], np.zeros(2)
        return EnergyCurve(
            ends_s, none, none, counter.duration_s, None, resolution_j, reading_s, reading_w
        )
    # One or two updates do not show how long before them the first reading was published.
    period_s = update_period_s(counter) or float(counter.changed_s[-1] - counter.start_s) / moves
    instants = ChangeInstants(counter, period_s)
    return EnergyCurve(
        instants.time_s,
        instants.std_s,
        counter.run_value - counter.run_value[0],
        period_s,
        None,
        resolution_j,
        reading_s,
        reading_w,
        instants,
    )


def power_curve(power: Trace) -> EnergyCurve | None:
    """Return the energy curve of a slow power sensor, whose values each describe the period before.

    None if it changed too little to show its period.
    """
    period_s = update_period_s(power)
    if period_s is None:
        return None
    if power.sensor.update_period_s is None and power.quality is not None:
        # Under a steady load values repeat, so that changes are rarer than updates.
        period_s = min(period_s, max(UNKNOWN_DELAY_S, poll_period_s(power)))
    # A value shown for several periods was published that often: the load was steady then.
    begins_s = np.append(power.run_first_s - period_s, power.end_s)
    periods = np.maximum(1, np.rint(np.diff(begins_s) / period_s).astype(int))
    first = np.concatenate(([0], np.cumsum(periods)))
    times_s = np.interp(np.arange(first[-1] + 1), first, begins_s)
    values_w = np.repeat(power.run_value, periods)
    found = aliased_stretches(values_w, np.diff(times_s))
    power_w = without_aliasing(values_w, found)
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(times_s) * power_w)))
    return EnergyCurve(
        times_s,
        np.full(len(times_s), period_s / np.sqrt(12.0)),
        energy_j,
        period_s,
        Undersampling.of(power, values_w, np.diff(times_s), found),
        0.0,
        power.run_first_s,
        power.run_value,
    )
