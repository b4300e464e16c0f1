"""Fit a long averaging window, known roughly from the probe, to all blocks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pywatt.metering.sensor_model import SensorModel
from pywatt.repetition.blocks import Block

FloatArray = npt.NDArray[np.float64]

# Step for the curvature of the sum of squares at its minimum, as a share of a period.
CURVATURE_STEP = 0.02


def fit_averaging(model: SensorModel, blocks: Sequence[Block]) -> SensorModel:
    """Fit window and delay so that each kind of call has the same energy in all of its blocks.

    Readings of a window longer than their period cover several blocks each. That makes them
    sensitive to the window, and leaves too few that cover one block alone. Returns the model
    unchanged if the window is not longer, or not known.
    """
    updates, window_s = model.updates, model.window_s
    if updates is None or window_s is None or window_s <= updates.period_s:
        return model
    from scipy.optimize import minimize  # takes a moment to import, and few need it

    sums = _RunningSums(blocks)
    period_s = updates.period_s
    first_s = sums.start_s + 1.5 * window_s
    used = (updates.time_s > first_s) & (updates.time_s < sums.end_s)
    time_s, reading = updates.time_s[used], updates.reading[used]
    free = len(time_s) - sums.count - 3
    if free < sums.count:
        return model

    def squares(at: FloatArray) -> float:
        window, delay = float(at[0]) * period_s, float(at[1]) * period_s
        if not 0.0 < window < 1.5 * window_s:
            return float("inf")
        shares = sums.until(time_s - delay) - sums.until(time_s - delay - window)
        design = np.column_stack((shares / window, np.ones(len(time_s))))
        residual = reading - design @ np.linalg.lstsq(design, reading, rcond=None)[0]
        return float(residual @ residual)

    start = np.array([window_s, model.delay_s or 0.0]) / period_s
    simplex = start + np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.15]])
    options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-9, "maxfev": 150}
    best = minimize(squares, start, method="Nelder-Mead", options=options)
    stds = []
    for step in CURVATURE_STEP * np.eye(2):
        curved = squares(best.x + step) + squares(best.x - step) - 2.0 * best.fun
        stds.append(CURVATURE_STEP * np.sqrt(2.0 * best.fun / free / max(curved, 1e-30)))
    timing_s = float(np.median(updates.time_s_std))
    return replace(
        model,
        window_s=float(best.x[0]) * period_s,
        window_s_std=float(np.hypot(stds[0] * period_s, timing_s)),
        delay_s=float(best.x[1]) * period_s,
        delay_s_std=float(np.hypot(stds[1] * period_s, timing_s)),
    )


class _RunningSums:
    """Calls of each kind up to any moment, and passes likewise."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        kinds = sorted({block.kind for block in blocks})
        self.count = len(kinds)
        self.start_s = min(block.start_s for block in blocks)
        self.end_s = max(block.end_s for block in blocks)
        self._curves: list[tuple[FloatArray, FloatArray]] = []
        for kind in kinds:
            mine = [block for block in blocks if block.kind == kind]
            before = np.cumsum([0.0, *(block.calls for block in mine)])
            mark_s = np.concatenate([block.mark_s for block in mine])
            done = np.concatenate([b + block.done for b, block in zip(before, mine, strict=False)])
            self._curves.append((mark_s, done))

    def until(self, time_s: FloatArray) -> FloatArray:
        """Return the calls up to each moment, shape (moments, kinds)."""
        return np.column_stack([np.interp(time_s, *curve) for curve in self._curves])
