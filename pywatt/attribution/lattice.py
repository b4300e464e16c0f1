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

    The sensor's own word where it has one, else the typical time between changes. Readings that
    happen to repeat look like longer gaps, hence a low quantile.
    """
    polls_s = poll_period_s(trace)
    declared_s = trace.sensor.update_period_s
    if declared_s is not None:
        return max(declared_s, polls_s)
    if trace.quality is None:
        # Given by the user, not sampled: every reading counts as fresh.
        return polls_s
    gaps_s = np.diff(trace.changed_s)
    return max(float(np.quantile(gaps_s, 0.25)), polls_s) if len(gaps_s) >= 2 else None


def is_fine(trace: Trace) -> bool:
    """Tell whether nearly every reading is fresh, so that the polled curve is the power's own."""
    period_s = update_period_s(trace)
    return period_s is not None and period_s <= 2.0 * poll_period_s(trace)


@dataclass(frozen=True, slots=True, eq=False)
class LatticeCurve:
    """Energy at the moments where it is known, and what is assumed in between and beyond.

    Attributes:
        time_s: the moments, growing, at least two.
        energy_j: energy up to each.
        before_w: power before the first moment; None where nothing tells.
        after_w: power after the last moment; None where nothing tells.
        timing_s: how well the moments are known, one standard deviation.
    """

    time_s: FloatArray
    energy_j: FloatArray
    before_w: float | None
    after_w: float | None
    timing_s: float

    def window(self, start_s: float, end_s: float) -> WindowEnergy:
        """Energy of a window, with the standard deviation that its two edges have."""
        first_j, first_std = self._at(start_s)
        last_j, last_std = self._at(end_s)
        return WindowEnergy(last_j - first_j, float(np.hypot(first_std, last_std)))

    def _slope_w(self, k: int) -> float | None:
        """Mean power between moments k and k + 1; beyond the ends what is known there."""
        if k < 0:
            return self.before_w
        if k >= len(self.time_s) - 1:
            return self.after_w
        step_s = self.time_s[k + 1] - self.time_s[k]
        return float((self.energy_j[k + 1] - self.energy_j[k]) / step_s)

    def _at(self, time_s: float) -> tuple[float, float]:
        """Energy up to a moment, and its standard deviation."""
        last = len(self.time_s) - 1
        if time_s < self.time_s[0]:
            return self._beyond(0, time_s, self._slope_w(-1), self._slope_w(0))
        if time_s > self.time_s[last]:
            return self._beyond(last, time_s, self._slope_w(last), self._slope_w(last - 1))
        k = min(int(np.searchsorted(self.time_s, time_s, side="right")) - 1, last - 1)
        step_s = float(self.time_s[k + 1] - self.time_s[k])
        into_s = time_s - float(self.time_s[k])
        mean_w = self._slope_w(k)
        assert mean_w is not None
        before_j = float(self.energy_j[k])
        linear_j = before_j + mean_w * into_s
        timing_std = abs(mean_w) * self.timing_s
        a_w, b_w = self._slope_w(k - 1), self._slope_w(k + 1)
        if a_w is not None and b_w is not None:
            one_step_j = _one_step(mean_w, step_s, into_s, a_w, b_w)
            if one_step_j is not None:
                doubt_j = abs(before_j + one_step_j - linear_j) / 3.0
                return before_j + one_step_j, float(np.hypot(timing_std, doubt_j))
        # Nothing tells when within the interval the power changed: spread it evenly.
        neighbors = [w for w in (a_w, b_w) if w is not None]
        spread_w = max((abs(mean_w - w) for w in neighbors), default=abs(mean_w))
        return linear_j, float(np.hypot(timing_std, spread_w * step_s / 6.0))

    def _beyond(
        self, knot: int, time_s: float, power_w: float | None, nearest_w: float | None
    ) -> tuple[float, float]:
        """Go on from the first or last known moment with a power seen near it."""
        away_s = time_s - float(self.time_s[knot])
        going_on_w = power_w if power_w is not None else (nearest_w or 0.0)
        change_w = abs(going_on_w - nearest_w) if nearest_w is not None else abs(going_on_w)
        doubt_w = max(change_w, 0.3 * abs(going_on_w))
        std_j = float(np.hypot(abs(going_on_w) * self.timing_s, doubt_w * away_s / np.sqrt(3.0)))
        return float(self.energy_j[knot]) + going_on_w * away_s, std_j


def _one_step(mean_w: float, step_s: float, into_s: float, a_w: float, b_w: float) -> float | None:
    """Energy of the first `into_s` of an interval whose power steps once, from a_w to b_w.

    The moment of the step follows from the interval's mean (subcell resolution, A. Harten, ENO
    schemes with subcell resolution, J. Comput. Phys. 83, 1989). None where no such step can explain
    the mean.
    """
    if not min(a_w, b_w) <= mean_w <= max(a_w, b_w) or abs(a_w - b_w) < 1e-3 * max(a_w, b_w):
        return None
    switch_s = (mean_w - b_w) * step_s / (a_w - b_w)
    return a_w * min(into_s, switch_s) + b_w * max(0.0, into_s - switch_s)


def counter_curve(counter: Trace, power: Trace | None) -> LatticeCurve | None:
    """What a slow counter tells, with the power beside it for the time before its first move.

    None where the counter never moved and nothing says that it should have.
    """
    timing_s = poll_period_s(counter) / np.sqrt(12.0)
    moves_s = counter.changed_s
    period_s = update_period_s(counter)
    if len(moves_s) == 0:
        declared_s = counter.sensor.update_period_s
        if declared_s is None or counter.duration_s < 3.0 * declared_s:
            return None
        ends_s = counter.time_s[[0, -1]]
        return LatticeCurve(ends_s, np.zeros(2), None, None, timing_s)
    if period_s is None:
        # One or two moves: nothing says how long before them the first reading was published.
        period_s = float(moves_s[-1] - counter.start_s) / len(moves_s)
    # What the first reading showed was published one period before the first move.
    times_s = np.concatenate(([moves_s[0] - period_s], moves_s))
    energy_j = counter.run_value - counter.run_value[0]
    before_w = after_w = None
    if power is not None:
        before_w = float(power.run_value[0])
        after_w = _power_at(power, float(moves_s[-1]))
    return LatticeCurve(times_s, energy_j, before_w, after_w, float(timing_s))


def power_curve(power: Trace) -> LatticeCurve | None:
    """What a slow power sensor tells: a value describes the period before it appeared.

    None where it moved too little to tell its period.
    """
    period_s = update_period_s(power)
    if period_s is None:
        return None
    times_s = np.concatenate((power.run_first_s - period_s, [power.end_s]))
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(times_s) * power.run_value)))
    before_w, after_w = float(power.run_value[0]), float(power.run_value[-1])
    return LatticeCurve(times_s, energy_j, before_w, after_w, period_s / np.sqrt(12.0))


def _power_at(power: Trace, time_s: float) -> float:
    """The first value published after `time_s`, which describes the time around it, or the last."""
    index = int(np.searchsorted(power.run_first_s, time_s, side="right"))
    return float(power.run_value[min(index, len(power.run_value) - 1)])
