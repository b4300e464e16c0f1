"""What a slow power sensor did not see: a value may be the mean of a small part of its period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.metering.aliasing import Beat, stretches
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]

# Where no limit of the device is known, its power is at most so many times the least that was seen:
# what has a power sensor seldom idles below a tenth of its limit.
MOST_TIMES = 10.0

# How likely readings that rise and fall evenly are no beat: a load may do so by itself.
PRIOR_SLOW = 0.2


def most_power_w(power: Trace) -> float:
    """Most power that a device may have drawn while no reading saw it: its limit, or a guess."""
    limit_w = power.sensor.power_limit_w
    if limit_w is None:
        limit_w = MOST_TIMES * float(np.min(power.run_value))
    return max(limit_w, float(np.max(power.run_value)))


def any_power_std_w(power_w: float, most_w: float) -> float:
    """How far a power lies from one that may be anything up to `most_w`, as root mean square."""
    if most_w <= 0.0:
        return 0.0
    below_w = min(max(power_w, 0.0), most_w)
    return float(np.sqrt((below_w**3 + (most_w - below_w) ** 3) / (3.0 * most_w)))


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """What there may have been beside the readings of a power sensor.

    Attributes:
        step_s: time from one reading to the next.
        std_w: standard deviation of what was read over the trace.
        most_w: most power that there may have been.
        gradual_j: energy of what changed gradually in the readings, up to each of them; shape
            (readings + 1,). What is taken to be a beat counts by how likely it is none.
        beats: where the mean of the readings is taken for the power.
    """

    step_s: float
    std_w: float
    most_w: float
    gradual_j: FloatArray
    beats: tuple[Beat, ...]

    @classmethod
    def of(
        cls,
        power: Trace,
        reading_w: FloatArray,
        duration_s: FloatArray,
        beats: tuple[Beat, ...],
    ) -> Unseen:
        """Make it of readings in a row, each of which stands for some time.

        Args:
            power: where they come from.
            reading_w: the readings, shape (readings,).
            duration_s: time that each of them stands for, of the same shape.
            beats: where the mean of the readings is taken for the power.
        """
        mean_w = np.average(reading_w, weights=duration_s)
        std_w = float(np.sqrt(np.average((reading_w - mean_w) ** 2, weights=duration_s)))
        # A sudden change is the load's; what is gradual on either side of it goes by its own mean.
        stretch = stretches(reading_w)
        stretch_s = np.bincount(stretch, duration_s)
        stretch_w = np.bincount(stretch, reading_w * duration_s) / stretch_s
        gradual_w = reading_w - stretch_w[stretch]
        for beat in beats:
            around_w = reading_w[beat.first : beat.end] - beat.mean_w
            gradual_w[beat.first : beat.end] = np.sqrt(PRIOR_SLOW) * around_w
        gradual_j = np.concatenate(([0.0], np.cumsum(gradual_w * duration_s)))
        step_s = float(np.mean(duration_s))
        return cls(step_s, std_w, most_power_w(power), gradual_j, beats)

    def std_j(self, energy_j: float, duration_s: float) -> float:
        """Standard deviation of a window's energy from what no reading saw.

        The parts that are not seen differ from the readings as these differ from one another: each
        by itself; or, where a load repeats nearly as often as the sensor publishes, for as long as
        the readings stay above or below their mean. Such a beat shows as a gradual change, which is
        then no change of the load at all. A window shorter than a step may not be seen at all.
        """
        apart_j = self.std_w * float(np.sqrt(duration_s * self.step_s))
        if duration_s < self.step_s:
            any_w = any_power_std_w(energy_j / duration_s, self.most_w)
            return max(apart_j, any_w * duration_s)
        steps = min(round(duration_s / self.step_s), len(self.gradual_j) - 1)
        beat_j = self.gradual_j[steps:] - self.gradual_j[:-steps]
        return float(np.hypot(apart_j, np.sqrt(np.mean(beat_j**2))))
