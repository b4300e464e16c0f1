"""A million windows on a million samples: `Trace.integrate` and vectorized numpy."""

from __future__ import annotations

import numpy as np
from comparison import Row, Target, check, interleaved, median_ratio, show_s, timed

from pywatt import Trace

WINDOW_S = 0.1


def with_numpy(trace: Trace, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """Interpolate the cumulative trapezoid at both edges, found by searchsorted."""
    time_s, power_w, energy_j = trace.time_s, trace.power_w, trace.energy_j
    assert power_w is not None
    half_slope = np.append(np.diff(power_w) / (2 * np.diff(time_s)), 0.0)

    def until(edge_s: np.ndarray) -> np.ndarray:
        index = np.searchsorted(time_s, edge_s, side="right") - 1
        since_s = edge_s - time_s[index]
        return energy_j[index] + since_s * (power_w[index] + since_s * half_slope[index])

    return until(end_s) - until(start_s)


def measure(*, quick: bool) -> list[Row]:
    samples, rounds = (20_000, 1) if quick else (1_000_000, 5)
    random = np.random.default_rng(0)
    steady_s = np.arange(samples) * 1e-3
    # A sampler's readings are sometimes late, by less than a period.
    jittered_s = steady_s + random.uniform(0.0, 0.9e-3, samples)
    rows = []
    for spacing, time_s in (("steady", steady_s), ("jittered", jittered_s)):
        trace = Trace(time_s, power_w=random.uniform(60.0, 700.0, samples))
        for order in ("sorted", "random"):
            start_s = random.uniform(time_s[0], time_s[-1] - WINDOW_S, samples)
            if order == "sorted":
                start_s.sort()
            rows.append(
                compare(trace, start_s, start_s + WINDOW_S, rounds, f"{order} windows, {spacing}")
            )
    return rows


def compare(trace: Trace, start_s: np.ndarray, end_s: np.ndarray, rounds: int, what: str) -> Row:
    # Relative to a window's own energy of some 40 J, not to the running total it is taken from.
    check(
        np.allclose(
            trace.integrate(start_s, end_s), with_numpy(trace, start_s, end_s), rtol=1e-9, atol=0
        ),
        f"integrate and numpy differ by more than 1e-9: {what}",
    )
    ours_s, numpy_s = interleaved(
        rounds,
        lambda: timed(lambda: trace.integrate(start_s, end_s)),
        lambda: timed(lambda: with_numpy(trace, start_s, end_s)),
    )
    return Row(
        f"integrate {len(start_s):,} {what} samples; other: numpy",
        show_s(float(np.median(ours_s))),
        show_s(float(np.median(numpy_s))),
        median_ratio(ours_s, numpy_s),
        Target(median_ratio(numpy_s, ours_s), ">=", 5.0, ">= 5× as fast"),
    )
