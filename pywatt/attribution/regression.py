"""Regression: the powers whose means over the sensor's windows best explain its readings.

Good for few and long modules, whose shares in the sensor's window change from reading to reading.
Useless for many short ones, and for a load in step with the sensor's updates: the uncertainties
then are wide, and the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution import by_time as time
from pywatt.attribution.problem import Attributed, Problem
from pywatt.attribution.regression_powers import Powers
from pywatt.attribution.regression_readings import WindowReadings
from pywatt.attribution.result import PathEnergies, PathTimes, fold_by_name
from pywatt.errors import AttributionError
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.exposure import Exposure
from pywatt.metering.sensor_model import SensorModel
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# Energy that may be on the wrong module in a reliable result, as a share of the modules' energy.
MAX_MISATTRIBUTED = 0.05

# Half of the modules' time must be in calls of at least this many timing uncertainties.
SHORTEST_CALL = 5.0

# Measured and fitted total may differ by this share without a note.
MAX_DISAGREEMENT = 0.03

# Mean of the absolute value of a normal error of standard deviation 1.
MEAN_ABSOLUTE = float(np.sqrt(2.0 / np.pi))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a regression is reliable, and why.

    Attributes:
        believable: whether the readings separate the modules.
        reason: why, or why not.
        readings: how many readings were used.
        misattributed: energy expected on the wrong module, as a share of the modules' energy.
        explained: share of the readings' variance that is predicted for each from the others.
        condition: largest over smallest influence of any mixture of powers on the readings.
        residual_w: standard deviation of the readings' residuals.
        delay_s: time from the end of a reading's window to its publication, as fitted.
        delay_s_std: one standard deviation of it.
        drift: change of all powers alike over the run, as a share.
        total_ratio: measured energy of the window over that of the regression; not 1 if counter and
            power disagree, or the power changed between readings.
        notes: what to know before relying on the energies.
    """

    believable: bool
    reason: str
    readings: int
    misattributed: float
    explained: float
    condition: float
    residual_w: float
    delay_s: float
    delay_s_std: float
    drift: float
    total_ratio: float
    notes: tuple[str, ...]


def attribute(problem: Problem) -> Attributed:
    """Share the energy by the powers that explain the readings, with a doubt if they hardly do.

    Energies in doubt have at least the deviations of a share by time.

    Raises:
        AttributionError: as `regress`, with what characterization could not determine.
    """
    model = problem.sensor_model
    if model.window_s is None and model.notes:
        raise AttributionError("; ".join(model.notes))
    energies, verdict = regress(
        problem.shape,
        model,
        problem.spans,
        problem.times,
        problem.start_s,
        problem.end_s,
        problem.total,
    )
    if not verdict.believable:
        energies = energies.widened_to(
            time.unknown_stds(problem.times, problem.total, problem.end_s - problem.start_s)
        )
    why = f"each module has the power that best explains {verdict.readings} readings"
    return Attributed(
        energies,
        problem.total,
        "regression",
        f"{why}; {verdict.reason}" if verdict.believable else why,
        doubt=None if verdict.believable else verdict.reason,
        conditioning=verdict.condition,
        notes=verdict.notes,
    )


def regress(
    trace: Trace,
    model: SensorModel,
    spans: Spans,
    times: PathTimes,
    start_s: float,
    end_s: float,
    total: WindowEnergy,
) -> tuple[PathEnergies, Verdict]:
    """Share the energy of the window [start_s, end_s] by the powers that explain the readings.

    Args:
        trace: power, or a counter where there is none.
        model: how the trace's sensor samples power.
        spans: what ran; the power of a name is taken to be the same in all its spans.
        times: the spans' calls and times by path.
        start_s: beginning of the window.
        end_s: end of the window.
        total: measured energy of the window.

    Raises:
        AttributionError: the update times or the averaging window are not known, or there are too
            few readings.
    """
    exposure = Exposure(spans)
    readings = WindowReadings.of(trace, model, start_s, end_s)
    powers = Powers.of(readings, exposure)
    self_s = fold_by_name(spans.paths, times.self_time_s, len(spans.names))
    outside_s = max(0.0, (end_s - start_s) - float(np.sum(self_s)))
    energies = _Energies.of(powers, np.append(self_s, outside_s), total)
    return _by_path(energies, spans, times, self_s), _judge(
        readings, powers, energies, exposure, times
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Energies:
    """Energies of the names and outside last, scaled to the measured total.

    Attributes:
        energy_j: the energies.
        apart_j_std: one standard deviation of each if the total were exact, whose own error all
            names share.
        covariance: of the energies, the total's error in it.
        total_ratio: the total over what the powers add up to.
    """

    energy_j: FloatArray
    apart_j_std: FloatArray
    covariance: FloatArray
    total_ratio: float

    @classmethod
    def of(cls, powers: Powers, time_s: FloatArray, total: WindowEnergy) -> _Energies:
        """Scale powers times time to the total, which removes an error that all share."""
        per_watt = time_s * powers.relative
        found_j = powers.power_w * per_watt
        sum_j = float(np.sum(found_j))
        if sum_j <= 0:
            raise AttributionError("the readings hold no energy to share among the modules")
        ratio = float(total.energy_j) / sum_j
        energy_j = ratio * found_j
        scaling = np.eye(len(found_j)) - np.outer(found_j / sum_j, np.ones(len(found_j)))
        scaling *= ratio * per_watt[None, :]
        apart = scaling @ powers.covariance @ scaling.T
        shared = np.outer(found_j, found_j) * (total.energy_j_std / sum_j) ** 2
        return cls(energy_j, np.sqrt(np.diag(apart)), apart + shared, ratio)


def _by_path(
    energies: _Energies, spans: Spans, times: PathTimes, self_s: FloatArray
) -> PathEnergies:
    """Give each path its share of its name's energy, by own time."""
    paths = spans.paths
    own_share = times.self_time_s / np.where(self_s > 0, self_s, 1.0)[paths.name]
    own = np.zeros((len(paths), len(spans.names)))
    own[np.arange(len(paths)), paths.name] = own_share
    inclusive = paths.plus_children(own)
    energy_j, covariance = energies.energy_j[:-1], energies.covariance[:-1, :-1]
    variance = np.sum((inclusive @ covariance) * inclusive, axis=1)
    return PathEnergies(
        energy_j=inclusive @ energy_j,
        energy_j_std=np.sqrt(np.maximum(variance, 0.0)),
        self_energy_j=own @ energy_j,
        self_energy_j_std=own_share * np.sqrt(np.diag(covariance))[paths.name],
        outside_j=float(energies.energy_j[-1]),
        outside_j_std=float(np.sqrt(energies.covariance[-1, -1])),
    )


def _judge(
    readings: WindowReadings,
    powers: Powers,
    energies: _Energies,
    exposure: Exposure,
    times: PathTimes,
) -> Verdict:
    """Decide whether the modules' energies are reliable, and why not."""
    modules_j = float(np.sum(energies.energy_j[:-1]))
    misattributed = 1.0
    if modules_j > 0:
        misattributed = MEAN_ABSOLUTE * float(np.sum(energies.apart_j_std[:-1])) / modules_j
    timing_s = float(np.median(readings.timing_s))
    timing_s = float(np.hypot(np.hypot(timing_s, powers.delay_s_std), readings.window_s_std))
    short = _share_in_short_calls(times, SHORTEST_CALL * timing_s)
    window_ms = 1e3 * float(np.median(readings.window_s))
    doubts = []
    if exposure.concurrent:
        doubts.append("modules ran in several threads at once, which readings cannot separate")
    if misattributed > MAX_MISATTRIBUTED:
        doubts.append(
            f"{len(readings.time_s)} readings cannot separate the modules: their shares of the "
            f"sensor's window of {window_ms:.3g} ms hardly change from reading to reading, as with "
            "many short modules or a load in step with the sensor's updates"
        )
    if short > 0.5:
        doubts.append(
            f"{short:.0%} of the modules' time is in calls shorter than {SHORTEST_CALL:.0f} times "
            f"the {timing_s * 1e3:.2g} ms to which the sensor's averaging windows are known"
        )
    notes = []
    if abs(energies.total_ratio - 1.0) > MAX_DISAGREEMENT:
        notes.append(
            f"the measured total is {energies.total_ratio:.2f} times what the powers add up to: "
            "counter and power disagree, or the power changed between readings"
        )
    sure = f"{misattributed:.1%} of the modules' energy is expected on the wrong module"
    return Verdict(
        believable=not doubts,
        reason="; ".join(doubts) or sure,
        readings=len(readings.time_s),
        misattributed=misattributed,
        explained=powers.best.explained,
        condition=powers.best.condition,
        residual_w=float(np.std(powers.best.residual_w)),
        delay_s=powers.delay_s,
        delay_s_std=powers.delay_s_std,
        drift=powers.drift,
        total_ratio=energies.total_ratio,
        notes=tuple(notes),
    )


def _share_in_short_calls(times: PathTimes, shorter_s: float) -> float:
    """Return the share of own time in calls whose own time is shorter on average."""
    each_s = times.self_time_s / np.maximum(times.calls, 1.0)
    return float(np.sum(times.self_time_s[each_s < shorter_s]) / np.sum(times.self_time_s))
