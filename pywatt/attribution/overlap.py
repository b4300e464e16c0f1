"""Overlap: each span has the energy that flowed between its beginning and its end.

Right where the sensor is finer than the spans. Each edge of a span is known only to the sensor's
update period, so energy leaks to the neighbor, in every call the same way.
"""

from __future__ import annotations

import numpy as np

from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.attribution.sharing import Shape, self_energies
from pywatt.attribution.source import WindowEnergy
from pywatt.spans import Spans
from pywatt.trace import Trace


def attribute(
    trace: Trace,
    period_s: float,
    spans: Spans,
    times: PathTimes,
    start_s: float,
    end_s: float,
    total: WindowEnergy,
) -> PathEnergies:
    """Cut the trace along the spans, and scale it to the measured energy of the window.

    Args:
        trace: a trace that covers the window.
        period_s: update period of its sensor.
        spans: what ran.
        times: the spans' calls and times by path.
        start_s: beginning of the window.
        end_s: end of the window.
        total: measured energy of the window.
    """
    shape = Shape(trace.time_s, trace.power_w, trace.energy_j)
    seen_j = float(shape.integrate(np.array([start_s]), np.array([end_s]))[0])
    scale = total.energy_j / seen_j if seen_j > 0 else 0.0
    own_j = self_energies(shape, spans) * scale
    inclusive_j = spans.paths.plus_children(own_j)
    outside_j = total.energy_j - float(np.sum(own_j))

    edge_j = _power_spread_w(trace, start_s, end_s) * scale * period_s / np.sqrt(12.0)
    edges = 2.0 * times.calls
    own_edges = edges.copy()
    nested = spans.paths.nearest >= 0
    np.add.at(own_edges, spans.paths.nearest[nested], edges[nested])
    top_edges = float(np.sum(edges[~nested]))
    relative_std = total.energy_j_std / total.energy_j if total.energy_j > 0 else 0.0

    return PathEnergies(
        energy_j=inclusive_j,
        energy_j_std=np.hypot(edges * edge_j, inclusive_j * relative_std),
        self_energy_j=own_j,
        self_energy_j_std=np.hypot(own_edges * edge_j, own_j * relative_std),
        outside_j=outside_j,
        outside_j_std=float(np.hypot(top_edges * edge_j, outside_j * relative_std)),
    )


def _power_spread_w(trace: Trace, start_s: float, end_s: float) -> float:
    """Standard deviation of the power over the window: what an edge in the wrong place moves."""
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
