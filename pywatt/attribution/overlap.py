"""Overlap: each span has the energy that was read between its start and its end.

Right if the sensor is faster than the spans. Since the sensor lags, each edge of a span is late and
energy leaks to the neighbor, in the same direction in every call. Leaving out readings shows how
much: at twice the period twice as much leaks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution import by_time as time
from pywatt.attribution.cutting import Curve, self_energies
from pywatt.attribution.problem import Attributed, Problem
from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.metering.freshness import is_fine, update_period_s
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]


# A span is resolved if it lasts at least this many update periods of the sensor: then its two
# edges are off by at most half of it.
RESOLVED_PERIODS = 2.0


def attribute(problem: Problem) -> Attributed:
    """Cut the finest trace along the spans, and scale it to the measured energy of the window.

    Calls that the sensor does not resolve get readings that are mostly others': their deviations
    are at least those of an unknown power.
    """
    resolved_s = problem.resolved_s or problem.finest.duration_s
    cut = _cut(problem, resolved_s)
    calls = np.maximum(problem.times.calls, 1.0)
    energies = cut.widened_to(
        time.unknown_stds(problem.times, problem.total, problem.end_s - problem.start_s),
        inclusive=problem.times.time_s < resolved_s * calls,
        own=problem.times.self_time_s < resolved_s * calls,
        outside=problem.call_s < resolved_s,
    )
    unresolved = problem.resolved_s is None or problem.call_s < RESOLVED_PERIODS * resolved_s
    why = f"each call has the energy that was read between its start and end; {problem.facts}"
    return Attributed(
        energies, problem.total, "overlap", why, doubt=problem.facts if unresolved else None
    )


def _cut(problem: Problem, period_s: float) -> PathEnergies:
    """Cut the finest trace; the edges are known to one update period."""
    trace, spans, times, total = problem.finest, problem.spans, problem.times, problem.total
    start_s, end_s = problem.start_s, problem.end_s
    inside_s = max(start_s, trace.start_s), min(end_s, trace.end_s)
    fine = Curve(trace.time_s, trace.power_w, trace.energy_j, *inside_s)
    read_j = float(fine.integrate(np.array([start_s]), np.array([end_s]))[0])
    scale = total.energy_j / read_j if read_j != 0 else 0.0
    kept = _every_second_update(trace, period_s)
    coarse = Curve(trace.time_s[kept], None, trace.energy_j[kept], *inside_s)
    own_j, own_of_coarse_j = (own * scale for own in self_energies(spans, fine, coarse))
    inclusive_j = spans.paths.plus_children(own_j)
    outside_j = total.energy_j - float(np.sum(own_j))

    leak_j = own_of_coarse_j - own_j
    lag_j = _module_spread_w(own_j, times) * _lag_s(problem, period_s)
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
    """Return the indices of readings twice the sensor's period apart, and of the last."""
    last = len(trace) - 1
    polls = period_s * last / trace.duration_s if trace.duration_s > 0 else 1.0
    return np.append(np.arange(0, last, max(2, round(2 * polls))), last)


def _lag_s(problem: Problem, period_s: float) -> float:
    """Return the mean delay with which the sensor shows an edge.

    Zero if every reading is fresh. Otherwise half a period, since a reading is shown until the
    next, and half of the averaging window.
    """
    if is_fine(problem.finest):
        return 0.0
    period_s = update_period_s(problem.finest) or period_s
    if problem.finest is not problem.shape:
        return period_s / 2.0
    window_s = problem.sensor_model.window_s
    # A sensor whose window is not known may average all the time since its last update.
    return (period_s + (period_s if window_s is None else window_s)) / 2.0


def _module_spread_w(own_j: FloatArray, times: PathTimes) -> float:
    """Return the power's standard deviation between modules, by time: what leaks over an edge."""
    ran = times.self_time_s > 0
    if not np.any(ran):
        return 0.0
    weight = times.self_time_s[ran]
    power_w = own_j[ran] / weight
    mean_w = np.average(power_w, weights=weight)
    return float(np.sqrt(np.average((power_w - mean_w) ** 2, weights=weight)))


def _reading_spread_w(trace: Trace, start_s: float, end_s: float) -> float:
    """Return the power's standard deviation between readings: what an edge gets by chance."""
    first, last = np.searchsorted(trace.time_s, (start_s, end_s))
    inside = slice(max(0, int(first) - 1), int(last) + 1)
    if trace.power_w is not None:
        power_w, weight_s = trace.power_w[inside], None
    else:
        # By time: the power between two readings that happen to be close is uncertain.
        weight_s = np.diff(trace.time_s[inside])
        power_w = np.diff(trace.energy_j[inside]) / weight_s
    if len(power_w) < 2:
        return 0.0
    mean_w = np.average(power_w, weights=weight_s)
    return float(np.sqrt(np.average((power_w - mean_w) ** 2, weights=weight_s)))
