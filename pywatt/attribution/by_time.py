"""Share by time: every moment of the window has the same power.

The fallback if the sensor cannot resolve the spans. The shares are those of the time, whatever the
modules really draw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution.cutting import Curve, self_energies
from pywatt.attribution.problem import Attributed, Problem
from pywatt.attribution.result import Deviations, PathEnergies, PathTimes
from pywatt.metering.energies import WindowEnergy

FloatArray = npt.NDArray[np.float64]

# A module's power may lie anywhere between nothing and twice the modules' mean: a uniform
# distribution, whose standard deviation is 1/sqrt(3) of the mean. That mean assumes that all
# energy is theirs. A module that fills the window has the window's mean.
UNKNOWN_POWER_STD = 1.0 / np.sqrt(3.0)


def attribute(problem: Problem) -> Attributed:
    """Share the energy of the window among the spans by their time."""
    why = f"energy is split by run time, as if all layers had the same power; {problem.facts}"
    return Attributed(_shared(problem), problem.total, "time", why)


def unknown_stds(times: PathTimes, total: WindowEnergy, window_s: float) -> Deviations:
    """Return the deviations of energies if only the total is known of the modules' powers."""
    modules_s = float(np.sum(times.self_time_s))

    def std(time_s: FloatArray) -> FloatArray:
        share = np.clip(time_s / window_s, 0.0, 1.0) if window_s > 0 else np.ones_like(time_s)
        highest_j = total.energy_j * time_s / max(modules_s, 1e-300)
        unknown_j = highest_j * UNKNOWN_POWER_STD * np.sqrt(1.0 - share)
        std_j: FloatArray = np.hypot(unknown_j, share * total.energy_j_std)
        return std_j

    # What the modules did not draw was drawn outside: the same error with the other sign.
    outside_s = max(0.0, window_s - modules_s)
    unknown_j = float(std(np.array([modules_s]))[0]) if outside_s > 0 else 0.0
    if modules_s <= 0:
        unknown_j = total.energy_j_std
    return Deviations(std(times.time_s), std(times.self_time_s), unknown_j)


def _shared(problem: Problem) -> PathEnergies:
    total_j = problem.total.energy_j
    edges_s = np.array([problem.start_s, problem.end_s])
    curve = Curve(edges_s, None, np.array([0.0, total_j]), problem.start_s, problem.end_s)
    (own_j,) = self_energies(problem.spans, curve)
    unknown = unknown_stds(problem.times, problem.total, problem.end_s - problem.start_s)
    return PathEnergies(
        energy_j=problem.spans.paths.plus_children(own_j),
        energy_j_std=unknown.energy_j_std,
        self_energy_j=own_j,
        self_energy_j_std=unknown.self_energy_j_std,
        outside_j=total_j - float(np.sum(own_j)),
        outside_j_std=unknown.outside_j_std,
    )
