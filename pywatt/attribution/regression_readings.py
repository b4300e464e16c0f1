"""Readings of one run as mean powers of windows, and the powers that explain them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.regression_fit import PowerFit, fit_powers
from pywatt.errors import AttributionError
from pywatt.metering.exposure import Exposure
from pywatt.metering.sensor_model import SensorModel
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]

# The clocks of spans and readings may differ by this much beyond what the sensor model says.
MAX_CLOCK_ERROR_S = 0.003

# Fewer readings do not suffice for a fit.
MIN_READINGS = 8

# Random shifts of all update times, to see the effect of their uncertainty.
SHIFTS = 8

# Share of the mean power by which power may change at a window's edge, which is not known exactly.
EDGE_CONTRAST = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class WindowReadings:
    """Readings of a run: each is the mean power over a window that ends a delay before it.

    Attributes:
        time_s: when each was published, shape (readings,).
        window_s: averaging window of each.
        window_s_std: one standard deviation of it, an error that all share.
        reading_w: what was published, as power.
        low_s: smallest possible delay.
        high_s: largest.
        floor_w: smallest noise of a reading.
        timing_s: one standard deviation of `time_s`.
        trust: one over each reading's noise, relative to the others.
        level_w: power of each reading without slow changes.
    """

    time_s: FloatArray
    window_s: FloatArray
    window_s_std: float
    reading_w: FloatArray
    low_s: float
    high_s: float
    floor_w: float
    timing_s: FloatArray
    trust: FloatArray
    level_w: FloatArray

    @classmethod
    def of(cls, trace: Trace, model: SensorModel, start_s: float, end_s: float) -> WindowReadings:
        """Take the readings whose windows lie between start and end at all delays."""
        name = trace.sensor.name
        if model.updates is None or model.window_s is None:
            raise AttributionError(
                f"{name}: the averaging window of its readings is not known: characterize it with "
                "a known load first, or use another method"
            )
        updates = model.updates
        time_s, reading_w = updates.time_s, updates.reading
        window_s = np.full(len(time_s), model.window_s)
        if trace.power_w is None:
            window_s = np.diff(time_s)
            time_s, reading_w = time_s[1:], np.diff(reading_w) / window_s
        delay_s = model.delay_s or 0.0
        reach_s = MAX_CLOCK_ERROR_S + 2.0 * (model.delay_s_std or 0.0)
        inside = time_s - delay_s - reach_s - window_s >= start_s
        inside &= time_s - delay_s + reach_s <= end_s
        if np.count_nonzero(inside) < MIN_READINGS:
            raise AttributionError(
                f"{name}: {np.count_nonzero(inside)} readings within the window are too few for a "
                "regression: run for longer, or use another method"
            )
        time_s, window_s, reading_w = time_s[inside], window_s[inside], reading_w[inside]
        # A misplaced window causes noise, even if the readings happen to show none.
        timing_s = updates.time_s_std[-len(inside) :][inside]
        per_s = EDGE_CONTRAST * np.mean(np.abs(reading_w)) / np.mean(window_s)
        misplaced_w = per_s * np.median(timing_s)
        floor_w = float(np.hypot(misplaced_w, max(model.resolution, 1e-3) / np.sqrt(12.0)))
        return cls(
            time_s=time_s,
            window_s=window_s,
            window_s_std=model.window_s_std or 0.0,
            reading_w=reading_w,
            low_s=delay_s - reach_s,
            high_s=delay_s + reach_s,
            floor_w=floor_w,
            timing_s=timing_s,
            trust=np.ones(len(time_s)),
            level_w=np.full(len(time_s), np.mean(reading_w)),
        )

    def weighted(self, exposure: Exposure, delay_s: float, fit: PowerFit) -> WindowReadings:
        """Trust readings less that would differ if published a moment later.

        That moment is the uncertainty of each update time. The change that it makes to the
        reading, by the powers of a first fit, adds to the noise that all readings have.
        """
        reach_s = max(float(np.median(self.timing_s)), 1e-6)
        ahead, behind = (
            exposure.shares(self.time_s - delay_s + side * reach_s, self.window_s)
            for side in (1.0, -1.0)
        )
        moved_var = ((ahead - behind) @ fit.power_w * self.timing_s / (2.0 * reach_s)) ** 2
        common_var = float(np.mean(fit.residual_w**2 - moved_var))
        var = np.maximum(common_var, 0.25 * self.floor_w**2) + moved_var
        trust = np.exp(0.5 * np.mean(np.log(var))) / np.sqrt(var)
        # A slow change is proportional to what a reading would be without it.
        level_w = (ahead + behind) @ fit.power_w / 2.0
        return replace(self, trust=trust, level_w=level_w)

    def timing_covariance(self, exposure: Exposure, delay_s: float, wider_s: float) -> FloatArray:
        """Return the powers' covariance from uncertain update times, beside the noise these make.

        Wrong shares draw the powers together. Shifting the times once more by their uncertainty
        shows how far (J. Cook and L. Stefanski, J. Am. Stat. Assoc. 89, 1994).
        """
        random = np.random.default_rng(0)
        known_w = self.fit(exposure, delay_s, wider_s).power_w
        away_w = np.zeros(len(known_w))
        for _ in range(SHIFTS):
            moved_s = self.time_s + self.timing_s * random.standard_normal(len(self.time_s))
            moved = replace(self, time_s=moved_s).fit(exposure, delay_s, wider_s)
            away_w += (moved.power_w - known_w) / SHIFTS
        return np.outer(away_w, away_w)

    def trends(self) -> FloatArray:
        """Return the slow changes that the fit allows: linear and quadratic, of mean zero."""
        count = 2 if len(self.time_s) >= 40 else 1 if len(self.time_s) >= 20 else 0
        at = 2.0 * (self.time_s - self.time_s[0]) / np.ptp(self.time_s) - 1.0
        columns = np.column_stack([at, at**2 - 1.0 / 3.0])[:, :count]
        return np.asarray(columns - np.mean(columns, axis=0))

    def fit(self, exposure: Exposure, delay_s: float, wider_s: float) -> PowerFit:
        """Fit the powers of names, and outside last, for one delay and windows `wider_s` wider."""
        window_s = self.window_s + wider_s
        shares = exposure.shares(self.time_s - delay_s, window_s)
        trends_w = self.level_w[:, None] * self.trends()
        return fit_powers(shares, self.reading_w, trends_w, self.floor_w, self.trust)
