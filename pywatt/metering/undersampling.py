"""What a slow power sensor misses: a reading may average only a small part of its period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.metering.aliasing import AliasedStretch, stretches
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]

# If no limit of the device is known, its power is at most this many times the lowest reading: a
# device with a power sensor seldom idles below a tenth of its limit.
MOST_TIMES = 10.0

# Probability that readings that rise and fall evenly are not aliased: a load may do so by itself.
PRIOR_SLOW = 0.2


def most_power_w(power: Trace) -> float:
    """Return the most power that a device may draw between readings: its limit, or a guess."""
    limit_w = power.sensor.power_limit_w
    if limit_w is None:
        limit_w = MOST_TIMES * float(np.min(power.run_value))
    return max(limit_w, float(np.max(power.run_value)))


def any_power_std_w(power_w: float, most_w: float) -> float:
    """Return the RMS difference of a power from one that may be anything up to `most_w`."""
    if most_w <= 0.0:
        return 0.0
    below_w = min(max(power_w, 0.0), most_w)
    return float(np.sqrt((below_w**3 + (most_w - below_w) ** 3) / (3.0 * most_w)))


@dataclass(frozen=True, slots=True, eq=False)
class Undersampling:
    """Power that the readings of a sensor may have missed.

    Attributes:
        step_s: time from one reading to the next.
        std_w: standard deviation of the readings over the trace.
        most_w: most power that there may have been.
        gradual_j: energy of the gradual changes in the readings, up to each of them; shape
            (readings + 1,). Aliased stretches count by the probability that they are not aliased.
        aliased: where the mean of the readings is used as the power.
    """

    step_s: float
    std_w: float
    most_w: float
    gradual_j: FloatArray
    aliased: tuple[AliasedStretch, ...]

    @classmethod
    def of(
        cls,
        power: Trace,
        reading_w: FloatArray,
        duration_s: FloatArray,
        aliased: tuple[AliasedStretch, ...],
    ) -> Undersampling:
        """Make it from consecutive readings.

        Args:
            power: their trace.
            reading_w: the readings, shape (readings,).
            duration_s: the time that each reading covers, of the same shape.
            aliased: where the mean of the readings is used as the power.
        """
        mean_w = np.average(reading_w, weights=duration_s)
        std_w = float(np.sqrt(np.average((reading_w - mean_w) ** 2, weights=duration_s)))
        # A sudden change is the load's; gradual changes on either side are relative to their mean.
        stretch = stretches(reading_w)
        stretch_s = np.bincount(stretch, duration_s)
        stretch_w = np.bincount(stretch, reading_w * duration_s) / stretch_s
        gradual_w = reading_w - stretch_w[stretch]
        for one in aliased:
            around_w = reading_w[one.first : one.end] - one.mean_w
            gradual_w[one.first : one.end] = np.sqrt(PRIOR_SLOW) * around_w
        gradual_j = np.concatenate(([0.0], np.cumsum(gradual_w * duration_s)))
        step_s = float(np.mean(duration_s))
        return cls(step_s, std_w, most_power_w(power), gradual_j, aliased)

    def std_j(self, energy_j: float, duration_s: float) -> float:
        """Return the standard deviation of a window's energy due to times between readings.

        The power then differs from the readings as these differ from one another: independently;
        or, if a load repeats nearly at the sensor's update rate, for as long as the readings stay
        above or below their mean. Such aliasing looks like a gradual change, although the load does
        not change at all. A window shorter than a step may be missed entirely.
        """
        apart_j = self.std_w * float(np.sqrt(duration_s * self.step_s))
        if duration_s < self.step_s:
            any_w = any_power_std_w(energy_j / duration_s, self.most_w)
            return max(apart_j, any_w * duration_s)
        steps = min(round(duration_s / self.step_s), len(self.gradual_j) - 1)
        gradual_j = self.gradual_j[steps:] - self.gradual_j[:-steps]
        return float(np.hypot(apart_j, np.sqrt(np.mean(gradual_j**2))))
