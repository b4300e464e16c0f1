"""What one source of power gave over a window: its energy, and the curve that spans are cut from.

A meter shows the past. A counter that moves every 100 ms is known only at its moves; a power that is
published every 100 ms describes the time before it was published. A window's edges rarely fall on a
move, so what happens around each edge decides how good a short window can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.sensors import SensorInfo
from pywatt.trace import Trace

FloatArray = npt.NDArray[np.float64]

# Energies of these may be added. Others lie inside them (core in package) or around them (psys, a
# superchip's module), and how exactly differs between machines: they are reported beside, and used
# for the total only where there is nothing else.
ADDED_DOMAINS = frozenset({"gpu", "package", "dram"})

# A busy machine can delay the reading at a window's edge by as much.
MAX_EDGE_GAP_S = 0.02


@dataclass(frozen=True, slots=True)
class Source:
    """One thing whose power is metered: its power trace, its energy counter, or both."""

    name: str
    power: Trace | None = None
    counter: Trace | None = None

    @property
    def info(self) -> SensorInfo:
        """The sensor that the total comes from."""
        trace = self.counter or self.power
        assert trace is not None
        return trace.sensor


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Energy of one window in J with one standard deviation."""

    energy_j: float
    energy_j_std: float


def sources_of(traces: Mapping[str, Trace], infos: Iterable[SensorInfo] = ()) -> tuple[Source, ...]:
    """Group traces into sources whose energies may be added: none of them contains another.

    Args:
        traces: traces by sensor name.
        infos: all sensors that were read, whether or not they gave a trace.
    """
    known = {info.name: info for info in infos} | {n: t.sensor for n, t in traces.items()}
    has_added = any(info.domain in ADDED_DOMAINS for info in known.values())
    grouped: dict[tuple[str, str], Source] = {}
    for name, trace in traces.items():
        info = trace.sensor
        if has_added and info.domain not in ADDED_DOMAINS:
            continue
        container = known.get(info.contained_in)
        if container is not None and container.domain in ADDED_DOMAINS:
            continue
        key = (info.source or name, info.domain)
        source = grouped.get(key, Source(key[0]))
        if info.kind == "counter":
            grouped[key] = Source(source.name, source.power, trace)
        else:
            grouped[key] = Source(source.name, trace, source.counter)
    return tuple(grouped.values())


def update_period_s(trace: Trace) -> float | None:
    """Time between fresh values of a trace in s; None where it moved too little to tell.

    The sensor's own word where it has one, else the typical time between changes. Readings that
    happen to repeat look like longer gaps, hence a low quantile.
    """
    polls_s = _poll_period_s(trace)
    declared = trace.sensor.update_period_s
    if declared is not None:
        return max(declared, polls_s)
    gaps_s = np.diff(trace.changed_s)
    if len(gaps_s) < 2:
        return polls_s if trace.quality is None and len(trace) > 1 else None
    return max(float(np.quantile(gaps_s, 0.25)), polls_s)


def _poll_period_s(trace: Trace) -> float:
    if trace.quality is not None and trace.quality.achieved_rate_hz > 0:
        return 1.0 / trace.quality.achieved_rate_hz
    return trace.duration_s / max(1, len(trace) - 1)


def is_fine(trace: Trace) -> bool:
    """Tell whether nearly every reading is fresh, so that the polled curve is the power's own."""
    period_s = update_period_s(trace)
    return period_s is not None and period_s <= 2.0 * _poll_period_s(trace)


def window_energy(source: Source, start_s: float, end_s: float) -> WindowEnergy | None:
    """Energy of the window [start_s, end_s]; None where the source cannot tell.

    The counter where it moved, else the power; readings from before and after the window are used
    for its edges. A source that did not read up to the edges (lost, or begun too late) cannot tell.
    """
    if source.counter is not None and _reaches(source.counter, start_s, end_s):
        curve = _counter_curve(source.counter, source.power)
        if curve is not None:
            return curve.window(start_s, end_s)
    if source.power is not None and _reaches(source.power, start_s, end_s):
        return _power_curve(source.power).window(start_s, end_s)
    return None


def _reaches(trace: Trace, start_s: float, end_s: float) -> bool:
    """Tell whether a trace was read up to a window's edges, give or take a few readings."""
    slack_s = max(MAX_EDGE_GAP_S, 5.0 * _poll_period_s(trace))
    return trace.start_s <= start_s + slack_s and trace.end_s >= end_s - slack_s


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Energy at the moments where it is known, and the power to go on with outside of them.

    `period_s` is the time between those moments where it matters, 0 where the curve is continuous.
    `timing_s` is how well the moments themselves are known (one standard deviation).
    """

    time_s: FloatArray
    energy_j: FloatArray
    before_w: float | None
    after_w: float | None
    period_s: float
    timing_s: float
    power_w: FloatArray | None = None

    def window(self, start_s: float, end_s: float) -> WindowEnergy:
        first_j, first_std = self._at(start_s)
        last_j, last_std = self._at(end_s)
        return WindowEnergy(last_j - first_j, float(np.hypot(first_std, last_std)))

    def _at(self, time_s: float) -> tuple[float, float]:
        """Energy up to a moment, and its standard deviation."""
        times, energies = self.time_s, self.energy_j
        slopes_w = np.diff(energies) / np.diff(times) if len(times) > 1 else np.zeros(0)
        if time_s < times[0] or len(times) == 1:
            power_w = self.before_w if self.before_w is not None else _first(slopes_w)
            return self._beyond(0, time_s, power_w)
        if time_s > times[-1]:
            power_w = self.after_w if self.after_w is not None else _first(slopes_w[::-1])
            return self._beyond(-1, time_s, power_w)
        k = min(int(np.searchsorted(times, time_s, side="right")) - 1, len(slopes_w) - 1)
        step_s = float(times[k + 1] - times[k])
        into_s = time_s - float(times[k])
        linear_j = float(energies[k]) + float(slopes_w[k]) * into_s
        timing_std = abs(float(slopes_w[k])) * self.timing_s
        if self.period_s == 0.0:
            return linear_j, timing_std
        a_w = float(slopes_w[k - 1]) if k > 0 else self.before_w
        b_w = float(slopes_w[k + 1]) if k + 1 < len(slopes_w) else self.after_w
        if a_w is None or b_w is None:
            spread_w = float(np.ptp(slopes_w)) if len(slopes_w) > 1 else abs(float(slopes_w[k]))
            return linear_j, float(np.hypot(timing_std, spread_w * step_s / 6.0))
        one_step_j = _one_step(float(energies[k + 1] - energies[k]), step_s, into_s, a_w, b_w)
        if one_step_j is None:
            # The mean lies outside its neighbors: something short happened, and nothing tells when.
            spread_w = max(abs(slopes_w[k] - a_w), abs(slopes_w[k] - b_w))
            return linear_j, float(np.hypot(timing_std, spread_w * step_s / 6.0))
        estimate_j = float(energies[k]) + one_step_j
        return estimate_j, float(np.hypot(timing_std, abs(estimate_j - linear_j) / 3.0))

    def _beyond(self, knot: int, time_s: float, power_w: float) -> tuple[float, float]:
        """Go on from the first or last known moment with a power seen near it."""
        away_s = time_s - float(self.time_s[knot])
        energy_j = float(self.energy_j[knot]) + power_w * away_s
        return energy_j, abs(power_w) * float(np.hypot(self.timing_s, 0.3 * away_s))


def _first(slopes_w: FloatArray) -> float:
    return float(slopes_w[0]) if len(slopes_w) else 0.0


def _one_step(
    energy_j: float, step_s: float, into_s: float, a_w: float, b_w: float
) -> float | None:
    """Energy of the first `into_s` of an interval whose power steps once, from a_w to b_w.

    The moment of the step follows from the interval's energy (subcell resolution, A. Harten,
    ENO schemes with subcell resolution, 1989). None where no such step can explain the energy.
    """
    mean_w = energy_j / step_s
    if not min(a_w, b_w) <= mean_w <= max(a_w, b_w) or abs(a_w - b_w) < 1e-3 * max(a_w, b_w):
        return None
    switch_s = (energy_j - b_w * step_s) / (a_w - b_w)
    return a_w * min(into_s, switch_s) + b_w * max(0.0, into_s - switch_s)


def _counter_curve(counter: Trace, power: Trace | None) -> _Curve | None:
    timing_s = _poll_period_s(counter) / np.sqrt(12.0)
    if is_fine(counter):
        return _Curve(counter.time_s, counter.energy_j, None, None, 0.0, timing_s)
    moves_s = counter.changed_s
    if len(moves_s) == 0:
        period_s = counter.sensor.update_period_s
        if period_s is None or counter.duration_s < 3.0 * period_s:
            return None
        return _Curve(counter.time_s, counter.energy_j, None, None, 0.0, timing_s)
    values_j = counter.run_value - counter.run_value[0]
    times_s = moves_s
    energy_j = values_j[1:]
    period_s = update_period_s(counter)
    if period_s is not None:
        # What the first reading showed was published one period before the first move.
        times_s = np.concatenate(([moves_s[0] - period_s], moves_s))
        energy_j = values_j
    before_w = after_w = None
    if power is not None:
        before_w = float(power.run_value[0])
        after_w = _power_at(power, float(moves_s[-1]))
    return _Curve(
        times_s, energy_j, before_w, after_w, period_s or counter.duration_s, float(timing_s)
    )


def _power_at(power: Trace, time_s: float) -> float:
    """The newest value published at `time_s`, or the first one after it if that is the last."""
    index = int(np.searchsorted(power.run_first_s, time_s, side="right"))
    return float(power.run_value[min(index, len(power.run_value) - 1)])


def _power_curve(power: Trace) -> _Curve:
    timing_s = float(_poll_period_s(power) / np.sqrt(12.0))
    period_s = update_period_s(power)
    if period_s is None or is_fine(power):
        return _Curve(power.time_s, power.energy_j, None, None, 0.0, timing_s)
    # A value describes the period before it appeared.
    times_s = np.concatenate((power.run_first_s - period_s, [power.end_s]))
    values_w = power.run_value
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(times_s) * values_w)))
    return _Curve(
        times_s,
        energy_j,
        float(values_w[0]),
        float(values_w[-1]),
        0.0,
        float(period_s / np.sqrt(12.0)),
    )
