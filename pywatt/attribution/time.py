"""Share by time: every moment of the window has the same power.

All that is left where a sensor cannot see the spans. The shares are those of the time, whatever the
modules really draw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathEnergies, PathTimes, WindowEnergy
from pywatt.attribution.sharing import Shape, self_energies
from pywatt.spans import Spans

FloatArray = npt.NDArray[np.float64]

# A module's power may lie anywhere between nothing and twice the mean: a uniform distribution,
# whose standard deviation is 1/sqrt(3) of the mean. A module that fills the window has the mean.
UNKNOWN_POWER_STD = 1.0 / np.sqrt(3.0)


def attribute(
    spans: Spans, times: PathTimes, start_s: float, end_s: float, total: WindowEnergy
) -> PathEnergies:
    """Share the energy of the window [start_s, end_s] among the spans by their time."""
    knots_s = np.array([start_s, end_s])
    shape = Shape(knots_s, None, np.array([0.0, total.energy_j]), start_s, end_s)
    (own_j,) = self_energies(spans, shape)
    inclusive_j = spans.paths.plus_children(own_j)
    outside_j = total.energy_j - float(np.sum(own_j))

    def std(energy_j: FloatArray) -> FloatArray:
        share = np.clip(energy_j / total.energy_j, 0.0, 1.0) if total.energy_j > 0 else 0 * energy_j
        unknown_j = energy_j * UNKNOWN_POWER_STD * np.sqrt(1.0 - share)
        std_j: FloatArray = np.hypot(unknown_j, share * total.energy_j_std)
        return std_j

    return PathEnergies(
        energy_j=inclusive_j,
        energy_j_std=std(inclusive_j),
        self_energy_j=own_j,
        self_energy_j_std=std(own_j),
        outside_j=outside_j,
        outside_j_std=float(std(np.array([outside_j]))[0]),
    )
