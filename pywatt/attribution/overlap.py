"""Overlap: each span has the energy that flowed between its beginning and its end.

Right where the sensor is finer than the spans. Each edge of a span is known only to the time that
the sensor lags behind, so energy leaks to the neighbor, in every call the same way. How much is
seen by leaving readings out: with twice the period twice as much leaks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution import by_time as time
from pywatt.attribution.cutting import Shape, self_energies
from pywatt.attribution.problem import Attributed, Case
from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.metering.energy_curve import is_fine, update_period_s
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]


# A span is resolved where it lasts at least so many update periods of the sensor: then its two
# edges are off by at most a half of it.
RESOLVED_PERIODS = 2.0


def attribute(case: Case) -> Attributed:
    """Cut the finest trace along the spans, and scale it to the measured energy of the window.

    Calls that the sensor does not resolve get readings that are mostly others': their deviations
    are at least those of not knowing their power.
    """
    resolved_s = case.resolved_s or case.finest.duration_s
    cut = _cut(case, resolved_s)
    calls = np.maximum(case.times.calls, 1.0)
    energies = cut.no_surer_than(
        time.unknown_stds(case.times, case.total, case.end_s - case.start_s),
        inclusive=case.times.time_s < resolved_s * calls,
        own=case.times.self_time_s < resolved_s * calls,
        outside=case.call_s < resolved_s,
    )
    unseen = case.resolved_s is None or case.call_s < RESOLVED_PERIODS * resolved_s
    why = f"each call has the energy that was read between its start and end; {case.facts}"
    return Attributed(energies, case.total, "overlap", why, doubt=case.facts if unseen else None)


def _cut(case: Case, period_s: float) -> PathEnergies:
    """Energies whose edges are known to the update period."""
    trace, spans, times, total = case.finest, case.spans, case.times, case.total
    start_s, end_s = case.start_s, case.end_s
    inside_s = max(start_s, trace.start_s), min(end_s, trace.end_s)
    shape = Shape(trace.time_s, trace.power_w, trace.energy_j, *inside_s)
    seen_j = float(shape.integrate(np.array([start_s]), np.array([end_s]))[0])
    scale = total.energy_j / seen_j if seen_j != 0 else 0.0
    knots = _every_second_update(trace, period_s)
    coarse = Shape(trace.time_s[knots], None, trace.energy_j[knots], *inside_s)
    own_j, own_of_coarse_j = (own * scale for own in self_energies(spans, shape, coarse))
    inclusive_j = spans.paths.plus_children(own_j)
    outside_j = total.energy_j - float(np.sum(own_j))

    leak_j = own_of_coarse_j - own_j
    lag_j = _module_spread_w(own_j, times) * _lag_s(case, period_s)
    noise_j = _reading_spread_w(trace, start_s, end_s) * scale * period_s / np.sqrt(12.0)
    edges = 2.0 * times.calls
    own_edges = edges.copy()
    nested = spans.paths.nearest >= 0
    np.add.at(own_edges, spans.paths.nearest[nested], edges[nested])
    outer_edges = np.array([np.sum(edges[~nested])])
    relative_std = total.energy_j_std / abs(total.energy_j) if total.energy_j != 0 else 0.0

    def std(edges: FloatArray, leak_j: FloatArray, energy_j: FloatArray) -> FloatArray:
        edges_j = np.hypot(np.hypot(leak_j, edges * lag_j), np.sqrt(edges) * noise_j)
        std_j: FloatArray = np.hypot(edges_j, np.abs(energy_j) * relative_std)
        return std_j

    return PathEnergies(
        energy_j=inclusive_j,
        energy_j_std=std(edges, spans.paths.plus_children(leak_j), inclusive_j),
        self_energy_j=own_j,
        self_energy_j_std=std(own_edges, leak_j, own_j),
        outside_j=outside_j,
        outside_j_std=float(std(outer_edges, np.array([np.sum(leak_j)]), np.array([outside_j]))[0]),
    )


def _every_second_update(trace: Trace, period_s: float) -> npt.NDArray[np.int_]:
    """Readings that are twice the sensor's period apart, and the last."""
    last = len(trace) - 1
    polls = period_s * last / trace.duration_s if trace.duration_s > 0 else 1.0
    return np.append(np.arange(0, last, max(2, round(2 * polls))), last)


def _lag_s(case: Case, period_s: float) -> float:
    """Time by which the sensor shows an edge late in the mean.

    Not at all where every reading is fresh. Where a reading is shown until the next, an edge shows
    half a period late, and half the time later that the reading is the mean of.
    """
    if is_fine(case.finest):
        return 0.0
    period_s = update_period_s(case.finest) or period_s
    if case.finest is not case.shape:
        return period_s / 2.0
    window_s = case.sensor_model.window_s
    # A sensor whose window is not known may average all the time since its last update.
    return (period_s + (period_s if window_s is None else window_s)) / 2.0


def _module_spread_w(own_j: FloatArray, times: PathTimes) -> float:
    """Standard deviation of the power between modules, by time: what leaks over an edge."""
    ran = times.self_time_s > 0
    if not np.any(ran):
        return 0.0
    weight = times.self_time_s[ran]
    power_w = own_j[ran] / weight
    mean_w = np.average(power_w, weights=weight)
    return float(np.sqrt(np.average((power_w - mean_w) ** 2, weights=weight)))


def _reading_spread_w(trace: Trace, start_s: float, end_s: float) -> float:
    """Standard deviation of the power between readings: what an edge catches by chance."""
    first, last = np.searchsorted(trace.time_s, (start_s, end_s))
    inside = slice(max(0, int(first) - 1), int(last) + 1)
    if trace.power_w is not None:
        power_w, weight_s = trace.power_w[inside], None
    else:
        # By time: two readings that happen to lie close together tell little of the power.
        weight_s = np.diff(trace.time_s[inside])
        power_w = np.diff(trace.energy_j[inside]) / weight_s
    if len(power_w) < 2:
        return 0.0
    mean_w = np.average(power_w, weights=weight_s)
    return float(np.sqrt(np.average((power_w - mean_w) ** 2, weights=weight_s)))
