"""Share by time: every moment of the window has the same power.

All that is left where a sensor cannot see the spans. The shares are those of the time, whatever the
modules really draw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution.cutting import Shape, self_energies
from pywatt.attribution.problem import Attributed, Case
from pywatt.attribution.result import Deviations, PathEnergies, PathTimes, WindowEnergy

FloatArray = npt.NDArray[np.float64]

# A module's power may lie anywhere between nothing and twice the modules' mean: a uniform
# distribution, whose standard deviation is 1/sqrt(3) of the mean. That mean is as much as if
# nothing flowed outside of them. A module that fills the window has the window's mean.
UNKNOWN_POWER_STD = 1.0 / np.sqrt(3.0)


def attribute(case: Case) -> Attributed:
    """Share the energy of the window among the spans by their time."""
    why = (
        "each module has the mean power and energy is shared by time: differences in power between "
        f"modules are not seen; {case.facts}"
    )
    return Attributed(_shared(case), case.total, "time", why)


def unknown_stds(times: PathTimes, total: WindowEnergy, window_s: float) -> Deviations:
    """Deviations of energies where nothing is known of the modules' powers but the total."""
    modules_s = float(np.sum(times.self_time_s))

    def std(time_s: FloatArray) -> FloatArray:
        share = np.clip(time_s / window_s, 0.0, 1.0) if window_s > 0 else np.ones_like(time_s)
        highest_j = total.energy_j * time_s / max(modules_s, 1e-300)
        unknown_j = highest_j * UNKNOWN_POWER_STD * np.sqrt(1.0 - share)
        std_j: FloatArray = np.hypot(unknown_j, share * total.energy_j_std)
        return std_j

    # What the modules did not draw flowed outside: the same error, the other way round.
    outside_s = max(0.0, window_s - modules_s)
    unknown_j = float(std(np.array([modules_s]))[0]) if outside_s > 0 else 0.0
    if modules_s <= 0:
        unknown_j = total.energy_j_std
    return Deviations(std(times.time_s), std(times.self_time_s), unknown_j)


def _shared(case: Case) -> PathEnergies:
    total_j = case.total.energy_j
    knots_s = np.array([case.start_s, case.end_s])
    shape = Shape(knots_s, None, np.array([0.0, total_j]), case.start_s, case.end_s)
    (own_j,) = self_energies(case.spans, shape)
    unknown = unknown_stds(case.times, case.total, case.end_s - case.start_s)
    return PathEnergies(
        energy_j=case.spans.paths.plus_children(own_j),
        energy_j_std=unknown.energy_j_std,
        self_energy_j=own_j,
        self_energy_j_std=unknown.self_energy_j_std,
        outside_j=total_j - float(np.sum(own_j)),
        outside_j_std=unknown.outside_j_std,
    )
