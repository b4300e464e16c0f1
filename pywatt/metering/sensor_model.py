"""How a sensor samples power: when readings are published, and which time each averages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt.metering.exposure import Exposure
from pywatt.metering.updates import UpdateTimes, update_times
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# Range of the search, in periods: windows up to the 1 s of NVML's averaged power at ten updates a
# second, and delays. Below zero a delay is one between the clocks of spans and sensor.
WINDOWS = (0.02, 15.0)
DELAYS = (-0.25, 1.0)
COARSE_STEP = 0.02
COARSE_WINDOWS = 32

# Refined by this factor, to this share of a period, with this many steps on each side of the best.
REFINE = 5
FINEST_STEP = 1e-3
FINE_STEPS = 16

# Most readings that window and delay are fitted to: more do not improve the fit.
MAX_READINGS = 600

# A known load has few names; with more, their powers explain any window.
MAX_NAMES = 32

# Largest standard deviation of window and delay: a share of the window plus one of a period.
MAX_STD_SHARE = 0.1
MAX_STD_PERIODS = 0.03

# A known load must explain this share of the readings' variance, or it is not what was running.
EXPLAINED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SensorModel:
    """How a sensor samples: a reading published at t averages [t - delay - window, t - delay].

    Attributes:
        updates: the readings and when they were published; None if that could not be determined.
        resolution: smallest step of a reading in W or J; 0 if there was no step.
        window_s: time that a reading averages; None if it could not be determined.
        window_s_std: one standard deviation of it; None likewise.
        delay_s: time from a window's end to publication; None if it could not be determined.
        delay_s_std: one standard deviation of it; None likewise.
        notes: what could not be determined, and what would determine it.
    """

    updates: UpdateTimes | None
    resolution: float
    window_s: float | None = None
    window_s_std: float | None = None
    delay_s: float | None = None
    delay_s_std: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def period_identified(self) -> bool:
        """Return whether the update period could be determined."""
        return self.updates is not None

    @property
    def window_identified(self) -> bool:
        """Return whether the averaging window could be determined."""
        return self.window_s is not None

    @property
    def delay_identified(self) -> bool:
        """Return whether the delay could be determined."""
        return self.delay_s is not None

    @property
    def period_s(self) -> float | None:
        """Mean time between updates."""
        return None if self.updates is None else self.updates.period_s

    @property
    def period_s_std(self) -> float | None:
        """One standard deviation of the mean time between updates."""
        return None if self.updates is None else self.updates.period_s_std

    @property
    def jitter_s(self) -> float | None:
        """Standard deviation of the time between two updates."""
        return None if self.updates is None else self.updates.jitter_s

    def in_trace(self, trace: Trace) -> SensorModel:
        """Return the same sensor with the update times of another trace."""
        return replace(self, updates=update_times(trace))

    @property
    def updates_s(self) -> FloatArray:
        """When readings were published, shape (n,)."""
        return np.zeros(0) if self.updates is None else self.updates.time_s


def characterize(trace: Trace, spans: Spans | None = None) -> SensorModel:
    """Determine how a sensor samples power, from its trace and, if given, a known load.

    Args:
        trace: readings of the sensor, polled several times as often as it publishes.
        spans: what ran meanwhile; spans of one name must have the same power. Without spans the
            averaging window and the delay stay unknown.
    """
    resolution = trace.sensor.resolution or _smallest_step(trace.run_value)
    updates = update_times(trace)
    if updates is None:
        note = (
            f"{trace.sensor.name}: could not determine the sensor's update times: too few values "
            "changed, or they changed about as often as they were read; run longer under a load "
            "that varies, or raise rate_hz"
        )
        return SensorModel(None, resolution, notes=(note,))
    model = SensorModel(updates, resolution)
    if trace.power_w is None:
        # A counter shows the energy up to a moment: there is no window.
        return replace(model, window_s=0.0, window_s_std=0.0)
    if spans is None:
        note = (
            f"{trace.sensor.name}: could not determine the averaging window from the trace alone: "
            "this takes a load whose changes are known"
        )
        return replace(model, notes=(note,))
    return _with_window(model, Exposure(spans), trace.sensor.name)


def _smallest_step(value: FloatArray) -> float:
    """Return the smallest difference between two values above single precision's rounding."""
    steps = np.diff(np.unique(value))
    steps = steps[steps > 1e-6 * np.max(np.abs(value))] if len(steps) else steps
    return float(np.min(steps)) if len(steps) else 0.0


def _with_window(model: SensorModel, exposure: Exposure, name: str) -> SensorModel:
    """Add window and delay, if the known load determines them."""
    updates = model.updates
    assert updates is not None
    period_s = updates.period_s
    # Readings before and after the load show idle power; a window's length of them is enough.
    near = (updates.time_s > exposure.start_s - 2 * period_s) & (
        updates.time_s < exposure.end_s + WINDOWS[1] * period_s
    )
    time_s, reading = updates.time_s[near][:MAX_READINGS], updates.reading[near][:MAX_READINGS]
    unknowns = exposure.names + 3
    if len(reading) < 2 * unknowns or exposure.names > MAX_NAMES:
        note = (
            f"{name}: {len(reading)} readings cannot determine window and delay beside "
            f"{exposure.names} powers; run a load of a few powers for longer"
        )
        return replace(model, notes=(note,))
    fit = _search(exposure, time_s, reading, period_s, model.resolution)
    # Edges are known no better than the update times they are counted from.
    timing_s = float(np.median(updates.time_s_std))
    window_std = float(np.hypot(fit.window_s_std, timing_s))
    delay_std = float(np.hypot(fit.delay_s_std, timing_s))
    notes = []
    window_known = delay_known = fit.explained >= EXPLAINED
    if not window_known:
        notes.append(
            f"{name}: the load explains {fit.explained:.0%} of the readings' variance, too little "
            "to determine window and delay; it is not constant, or repeats at the sensor's update "
            "rate"
        )
    else:
        max_std_s = MAX_STD_PERIODS * period_s + MAX_STD_SHARE * fit.window_s
        window_known = window_std <= max_std_s and fit.window_s < 0.95 * WINDOWS[1] * period_s
        delay_known = window_known and delay_std <= max_std_s
        if not delay_known:
            notes.append(
                f"{name}: the readings fit windows of {fit.window_s * 1e3:.3g} ± "
                f"{window_std * 1e3:.2g} ms and delays of {fit.delay_s * 1e3:.3g} ± "
                f"{delay_std * 1e3:.2g} ms equally well; change the load more often, at other "
                "phases of the sensor's period"
            )
    return replace(
        model,
        window_s=fit.window_s if window_known else None,
        window_s_std=window_std if window_known else None,
        delay_s=fit.delay_s if delay_known else None,
        delay_s_std=delay_std if delay_known else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _WindowFit:
    """Window and delay fitted to the readings, and the share of their variance explained."""

    window_s: float
    window_s_std: float
    delay_s: float
    delay_s_std: float
    explained: float


def _search(
    exposure: Exposure, time_s: FloatArray, reading: FloatArray, period_s: float, resolution: float
) -> _WindowFit:
    """Regress readings on shares of boxcars over a grid of windows and delays; refine the best.

    The likelihood of normal errors with unknown variance, summed over the grid, gives means and
    standard deviations. Correlated errors count less (effective number of readings).
    """
    step_s = COARSE_STEP * period_s
    delays = np.arange(round(DELAYS[0] / COARSE_STEP), round(DELAYS[1] / COARSE_STEP) + 1)
    windows = _coarse_windows()
    floor = len(reading) * (max(resolution, 1e-6 * float(np.ptp(reading))) ** 2) / 12.0
    variance = float(np.sum((reading - np.mean(reading)) ** 2))
    while True:
        squares, residual = _grid(exposure, time_s, reading, step_s, windows, delays)
        squares += floor
        row, column = np.unravel_index(np.argmin(squares), squares.shape)
        weight = -0.5 * _independent(residual) * np.log(squares / squares[row, column])
        # Windows may be spaced unevenly: each is weighted by its spacing.
        weight = np.exp(weight) * np.gradient(windows.astype(np.float64))[:, None]
        weight /= np.sum(weight)
        window_s, window_std = _moments(weight @ np.ones(len(delays)), windows * step_s)
        delay_s, delay_std = _moments(np.ones(len(windows)) @ weight, delays * step_s)
        left = float(squares[row, column]) / variance if variance > 0 else 1.0
        beside = windows[min(row + 1, len(windows) - 1)] - windows[max(row - 1, 0)]
        half_window_s = max(beside * step_s, 4 * window_std)
        half_delay_s = max(2 * (delays[1] - delays[0]) * step_s, 4 * delay_std)
        finer_s = step_s / REFINE
        if finer_s < FINEST_STEP * period_s or max(half_window_s, half_delay_s) > 2 * period_s:
            return _WindowFit(window_s, window_std, delay_s, delay_std, max(0.0, 1.0 - left))
        windows = _around(windows[row] * step_s, half_window_s, finer_s)
        windows = windows[windows > 0]
        delays = _around(delays[column] * step_s, half_delay_s, finer_s)
        step_s = finer_s


def _coarse_windows() -> npt.NDArray[np.int64]:
    """Return the first windows to try, in steps: logarithmic, but at least five per period."""
    short = np.geomspace(WINDOWS[0], 1.0, COARSE_WINDOWS)
    windows = np.concatenate((short, np.arange(1.0, WINDOWS[1], 0.2)))
    return np.unique(np.round(windows / COARSE_STEP)).astype(np.int64)


def _around(center_s: float, half_s: float, step_s: float) -> npt.NDArray[np.int64]:
    """Return whole numbers of steps around a center, evenly spaced, a few dozen at most."""
    center, half = round(center_s / step_s), max(2, round(half_s / step_s))
    stride = max(1, half // FINE_STEPS)
    return center + stride * np.arange(-(half // stride), half // stride + 1)


def _grid(
    exposure: Exposure,
    time_s: FloatArray,
    reading: FloatArray,
    step_s: float,
    windows: npt.NDArray[np.int64],
    delays: npt.NDArray[np.int64],
) -> tuple[FloatArray, FloatArray]:
    """Return residual sums of squares per window and delay, in steps, and the best's residuals."""
    # Edges of all windows at all delays lie on one grid of moments before each update.
    shifts = np.unique(np.concatenate((delays, np.add.outer(delays, windows).ravel())))
    until_s = {int(shift): exposure.until(time_s - shift * step_s).T for shift in shifts}
    from scipy.optimize import nnls  # slow to import, and rarely needed

    squares = np.empty((len(windows), len(delays)))
    best, least = reading, np.inf
    for i, window in enumerate(windows):
        for j, delay in enumerate(delays):
            ran = (until_s[int(delay)] - until_s[int(delay + window)]) / (window * step_s)
            shares = np.column_stack((ran, 1.0 - np.sum(ran, axis=1)))
            # A longer window with negative powers can look like a shorter one.
            residual = reading - shares @ nnls(shares, reading)[0]
            squares[i, j] = residual @ residual
            if squares[i, j] < least:
                best, least = residual, squares[i, j]
    return squares, best


def _independent(residual: FloatArray) -> float:
    """Return the number of independent errors among autocorrelated ones (AR(1))."""
    centered = residual - np.mean(residual)
    power = float(centered @ centered)
    alike = float(centered[1:] @ centered[:-1]) / power if power > 0 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    return len(residual) * (1.0 - alike) / (1.0 + alike)


def _moments(weight: npt.NDArray[Any], at_s: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the mean and standard deviation, no finer than the grid."""
    mean_s = float(weight @ at_s)
    step_s = float(np.min(np.diff(at_s))) if len(at_s) > 1 else 0.0
    var = float(weight @ (at_s - mean_s) ** 2)
    return mean_s, float(np.sqrt(var + step_s**2 / 12.0))
