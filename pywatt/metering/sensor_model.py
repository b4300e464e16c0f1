"""What a sensor's readings mean: when they are published, and which time each is the mean of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt.metering.exposure import Exposure
from pywatt.metering.updates import UpdateLattice, update_lattice
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# What is tried, in periods: windows up to the 1 s of NVML's averaged power at ten updates a second,
# and delays. A delay below zero is one between the clocks of spans and sensor.
WINDOWS = (0.02, 15.0)
DELAYS = (-0.25, 1.0)
COARSE_STEP = 0.02
COARSE_WINDOWS = 32

# Refined by this factor, to this share of a period, with so many steps to either side of the best.
REFINE = 5
FINEST_STEP = 1e-3
FINE_STEPS = 16

# Readings that window and delay are fitted to, at most: more add nothing to what can be told.
MAX_READINGS = 600

# A known load has a few names; with more, their powers explain any window.
MAX_NAMES = 32

# A window is told if it is known to a tenth of itself and this share of a period; a delay likewise.
TOLD_SHARE = 0.1
TOLD_PERIODS = 0.03

# A known load must explain so much of the readings' variance, or it is not what was running.
EXPLAINED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SensorModel:
    """How a sensor sees: a reading published at t is the mean of [t - delay - window, t - delay].

    Attributes:
        lattice: the readings and when they were published; None where that could not be told.
        resolution: smallest step of a reading in W or J; 0 where no step was seen.
        window_s: time that a reading is the mean of; None where it could not be told.
        window_s_std: one standard deviation of it; None likewise.
        delay_s: time from a window's end to publication; None where it could not be told.
        delay_s_std: one standard deviation of it; None likewise.
        notes: what could not be told, and what would tell it.
    """

    lattice: UpdateLattice | None
    resolution: float
    window_s: float | None = None
    window_s_std: float | None = None
    delay_s: float | None = None
    delay_s_std: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def period_identified(self) -> bool:
        """Whether the update period could be told."""
        return self.lattice is not None

    @property
    def window_identified(self) -> bool:
        """Whether the averaging window could be told."""
        return self.window_s is not None

    @property
    def delay_identified(self) -> bool:
        """Whether the delay could be told."""
        return self.delay_s is not None

    @property
    def period_s(self) -> float | None:
        """Mean time between updates."""
        return None if self.lattice is None else self.lattice.period_s

    @property
    def period_s_std(self) -> float | None:
        """One standard deviation of the mean time between updates."""
        return None if self.lattice is None else self.lattice.period_s_std

    @property
    def jitter_s(self) -> float | None:
        """Standard deviation of the time between two updates."""
        return None if self.lattice is None else self.lattice.jitter_s

    def in_trace(self, trace: Trace) -> SensorModel:
        """The same sensor in other readings, whose instants are their own."""
        return replace(self, lattice=update_lattice(trace))

    @property
    def updates_s(self) -> FloatArray:
        """When readings were published, shape (n,)."""
        return np.zeros(0) if self.lattice is None else self.lattice.time_s


def characterize(trace: Trace, spans: Spans | None = None) -> SensorModel:
    """Find out how a sensor sees, from its trace and perhaps a load that is known.

    Args:
        trace: readings of the sensor, polled several times as often as it publishes.
        spans: what ran meanwhile; the power must be the same in all spans of a name. Without it the
            averaging window and the delay stay unknown.
    """
    resolution = trace.sensor.resolution or _smallest_step(trace.run_value)
    lattice = update_lattice(trace)
    if lattice is None:
        note = (
            f"{trace.sensor.name}: when readings are published cannot be told: too few values "
            "changed, or they changed about as often as they were read; read it for longer under a "
            "load that varies, or more often"
        )
        return SensorModel(None, resolution, notes=(note,))
    model = SensorModel(lattice, resolution)
    if trace.power_w is None:
        # What a counter shows is the energy up to a moment: there is no window.
        return replace(model, window_s=0.0, window_s_std=0.0)
    if spans is None:
        note = (
            f"{trace.sensor.name}: the time that a reading is the mean of cannot be told from a "
            "trace alone; it takes a load whose changes are known"
        )
        return replace(model, notes=(note,))
    return _with_window(model, Exposure(spans), trace.sensor.name)


def _smallest_step(value: FloatArray) -> float:
    """Smallest difference between two values beyond what single precision leaves."""
    steps = np.diff(np.unique(value))
    steps = steps[steps > 1e-6 * np.max(np.abs(value))] if len(steps) else steps
    return float(np.min(steps)) if len(steps) else 0.0


def _with_window(model: SensorModel, exposure: Exposure, name: str) -> SensorModel:
    """Add window and delay, so far as the known load tells them."""
    lattice = model.lattice
    assert lattice is not None
    period_s = lattice.period_s
    # Readings of before and after the load tell its idle power, a window's length of them will do.
    near = (lattice.time_s > exposure.start_s - 2 * period_s) & (
        lattice.time_s < exposure.end_s + WINDOWS[1] * period_s
    )
    time_s, reading = lattice.time_s[near][:MAX_READINGS], lattice.reading[near][:MAX_READINGS]
    unknowns = exposure.names + 3
    if len(reading) < 2 * unknowns or exposure.names > MAX_NAMES:
        note = (
            f"{name}: {len(reading)} readings cannot tell window and delay beside "
            f"{exposure.names} powers; a load of a few powers that runs for long enough can"
        )
        return replace(model, notes=(note,))
    fit = _search(exposure, time_s, reading, period_s, model.resolution)
    # Edges are known no better than the instants they are counted from.
    timing_s = float(np.median(lattice.time_s_std))
    window_std = float(np.hypot(fit.window_s_std, timing_s))
    delay_std = float(np.hypot(fit.delay_s_std, timing_s))
    notes = []
    window_told = delay_told = fit.explained >= EXPLAINED
    if not window_told:
        notes.append(
            f"{name}: the load explains {fit.explained:.0%} of how the readings vary, too little "
            "to tell window and delay from; it is not constant, or keeps the sensor's own period"
        )
    else:
        told_s = TOLD_PERIODS * period_s + TOLD_SHARE * fit.window_s
        window_told = window_std <= told_s and fit.window_s < 0.95 * WINDOWS[1] * period_s
        delay_told = window_told and delay_std <= told_s
        if not delay_told:
            notes.append(
                f"{name}: the readings fit windows of {fit.window_s * 1e3:.3g} ± "
                f"{window_std * 1e3:.2g} ms and delays of {fit.delay_s * 1e3:.3g} ± "
                f"{delay_std * 1e3:.2g} ms alike; more changes of the load, at other phases "
                "of the sensor's period, would tell"
            )
    return replace(
        model,
        window_s=fit.window_s if window_told else None,
        window_s_std=window_std if window_told else None,
        delay_s=fit.delay_s if delay_told else None,
        delay_s_std=delay_std if delay_told else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _WindowFit:
    """Window and delay as the readings tell them, and the share of their variance explained."""

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
    standard deviations. Errors that follow one another count less (effective number of readings).
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
        # Windows may be spaced unevenly: each stands for the stretch around it.
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
    """Windows to try first, in steps: evenly in their logarithm, but at least five a period."""
    short = np.geomspace(WINDOWS[0], 1.0, COARSE_WINDOWS)
    windows = np.concatenate((short, np.arange(1.0, WINDOWS[1], 0.2)))
    return np.unique(np.round(windows / COARSE_STEP)).astype(np.int64)


def _around(center_s: float, half_s: float, step_s: float) -> npt.NDArray[np.int64]:
    """Whole numbers of steps around a center, evenly spaced, not more than some dozens."""
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
    """Residual sum of squares of each window and delay (in steps), and the best's residuals."""
    # Edges of all windows at all delays lie on one grid of moments before each update.
    shifts = np.unique(np.concatenate((delays, np.add.outer(delays, windows).ravel())))
    until_s = {int(shift): exposure.until(time_s - shift * step_s).T for shift in shifts}
    from scipy.optimize import nnls  # takes a moment to import, and few need it

    squares = np.empty((len(windows), len(delays)))
    best, least = reading, np.inf
    for i, window in enumerate(windows):
        for j, delay in enumerate(delays):
            ran = (until_s[int(delay)] - until_s[int(delay + window)]) / (window * step_s)
            shares = np.column_stack((ran, 1.0 - np.sum(ran, axis=1)))
            # A longer window with powers below zero can look like a shorter one.
            residual = reading - shares @ nnls(shares, reading)[0]
            squares[i, j] = residual @ residual
            if squares[i, j] < least:
                best, least = residual, squares[i, j]
    return squares, best


def _independent(residual: FloatArray) -> float:
    """Number of independent errors among those that follow one another (AR(1))."""
    centered = residual - np.mean(residual)
    power = float(centered @ centered)
    alike = float(centered[1:] @ centered[:-1]) / power if power > 0 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    return len(residual) * (1.0 - alike) / (1.0 + alike)


def _moments(weight: npt.NDArray[Any], at_s: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation; no finer than the grid."""
    mean_s = float(weight @ at_s)
    step_s = float(np.min(np.diff(at_s))) if len(at_s) > 1 else 0.0
    var = float(weight @ (at_s - mean_s) ** 2)
    return mean_s, float(np.sqrt(var + step_s**2 / 12.0))
