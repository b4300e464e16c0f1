"""Powers of a run whose delay and window are not known exactly: means over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution.regression_fit import PowerFit
from pywatt.attribution.regression_readings import WindowReadings
from pywatt.metering.exposure import Exposure

FloatArray = npt.NDArray[np.float64]

# An unknown is tried at this many points, then again around the best, in this many rounds; the
# window up to this many of its standard deviations.
POINTS = 7
FIRST_DELAY_ROUNDS = 3
DELAY_ROUNDS = 4
WINDOW_ROUNDS = 2
WINDOW_STDS = 3.0


@dataclass(frozen=True, slots=True)
class _Weighted:
    """The fits for several values of an unknown, with the probability of each."""

    value: tuple[float, ...]
    weight: tuple[float, ...]
    fit: tuple[PowerFit, ...]

    @classmethod
    def over(
        cls,
        fit_at: Callable[[float], PowerFit],
        low: float,
        high: float,
        prior_std: float,
        rounds: int,
    ) -> _Weighted:
        """Fit a few values between low and high, then again around the most probable."""
        fits: dict[float, PowerFit] = {}
        first_low, first_high = low, high

        def log_probability(value: float) -> float:
            return fits[value].log_evidence - 0.5 * (value / prior_std) ** 2

        for _ in range(rounds):
            for value in np.linspace(low, high, POINTS).tolist():
                if value not in fits:
                    fits[value] = fit_at(value)
            best = max(fits, key=log_probability)
            reach = (high - low) / (POINTS - 1)
            low, high = max(best - reach, first_low), min(best + reach, first_high)
        values = sorted(fits)
        likely = np.array([log_probability(value) for value in values])
        # Autocorrelated errors count less: a fit is only as certain as its independent ones.
        independent = _independent_share(fits[best].residual_w)
        weight = np.exp(independent * (likely - np.max(likely))) * np.gradient(values)
        weight /= np.sum(weight)
        return cls(tuple(values), tuple(weight.tolist()), tuple(fits[value] for value in values))

    @property
    def mean(self) -> float:
        return float(np.dot(self.weight, self.value))

    @property
    def std(self) -> float:
        return float(np.sqrt(np.dot(self.weight, (np.array(self.value) - self.mean) ** 2)))

    @property
    def best(self) -> PowerFit:
        return self.fit[int(np.argmax(self.weight))]

    @property
    def power_w(self) -> FloatArray:
        return np.asarray(np.dot(self.weight, [fit.power_w for fit in self.fit]))

    @property
    def between(self) -> FloatArray:
        """Covariance of the powers since the value is unknown."""
        away_w = np.array([fit.power_w for fit in self.fit]) - self.power_w
        return np.asarray((away_w.T * np.array(self.weight)) @ away_w)

    @property
    def within(self) -> FloatArray:
        """Covariance of the powers if the value were known."""
        parts = [
            weight / _independent_share(fit.residual_w) * fit.covariance
            for weight, fit in zip(self.weight, self.fit, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0))


def _independent_share(residual: FloatArray) -> float:
    """Return the share of independent errors where each resembles the one before (AR(1))."""
    power = float(residual @ residual)
    alike = float(residual[1:] @ residual[:-1]) / power if power > 0 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    return (1.0 - alike) / (1.0 + alike)


@dataclass(frozen=True, slots=True, eq=False)
class Powers:
    """Powers of the names and outside last.

    Attributes:
        power_w: mean over all delays and windows, shape (names + 1,).
        covariance: its covariance.
        delay_s: delay, as fitted.
        delay_s_std: one standard deviation of it.
        relative: mean of the drift while each ran, about 1, shape (names + 1,).
        drift: change of all powers over the readings, as a share.
        best: the fit of the most probable delay and window.
    """

    power_w: FloatArray
    covariance: FloatArray
    delay_s: float
    delay_s_std: float
    relative: FloatArray
    drift: float
    best: PowerFit

    @classmethod
    def of(cls, readings: WindowReadings, exposure: Exposure) -> Powers:
        """Fit delay and window one after the other, and average over both."""
        wider_s, between = 0.0, np.zeros((1, 1))
        delays = _over_delays(readings, exposure, wider_s, FIRST_DELAY_ROUNDS)
        readings = readings.weighted(exposure, delays.mean, delays.best)
        std_s = min(readings.window_s_std, float(np.min(readings.window_s)) / 4.0)
        if std_s > 0:
            middle_s = delays.mean
            windows = _Weighted.over(
                # Wider on both sides: the fitted delay gives the middle of the window.
                lambda wider_s: readings.fit(exposure, middle_s - wider_s / 2.0, wider_s),
                -WINDOW_STDS * std_s,
                WINDOW_STDS * std_s,
                std_s,
                WINDOW_ROUNDS,
            )
            wider_s, between = windows.mean, windows.between
        delays = _over_delays(readings, exposure, wider_s, DELAY_ROUNDS)
        power_w, covariance = delays.power_w, delays.within + delays.between + between
        covariance += readings.timing_covariance(exposure, delays.mean, wider_s)
        if np.any(power_w < 0):
            power_w = _nonnegative(power_w, covariance)
        course = readings.trends() @ delays.best.trend
        shares = exposure.shares(readings.time_s - delays.mean, readings.window_s + wider_s)
        ran = np.sum(shares, axis=0)
        relative = 1.0 + (shares.T @ course) / np.where(ran > 0, ran, 1.0)
        drift = float(course[-1] - course[0])
        return cls(power_w, covariance, delays.mean, delays.std, relative, drift, delays.best)


def _over_delays(
    readings: WindowReadings, exposure: Exposure, wider_s: float, rounds: int
) -> _Weighted:
    """Fit all delays, which are equally likely beforehand."""
    return _Weighted.over(
        lambda delay_s: readings.fit(exposure, delay_s, wider_s),
        readings.low_s,
        readings.high_s,
        np.inf,
        rounds,
    )


def _nonnegative(power_w: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the most probable nonnegative powers of a normal distribution."""
    from scipy.optimize import nnls  # takes a moment to import, and few need it

    scale = 1e-9 * float(np.trace(covariance)) / len(power_w)
    root = np.linalg.cholesky(np.linalg.inv(covariance + scale * np.eye(len(power_w)))).T
    return np.asarray(nnls(root, root @ power_w)[0], dtype=np.float64)
