"""Energy of a run from a power that its sensor saw in part: replay fitted to the readings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathTimes, WindowEnergy, fold_by_name
from pywatt.metering.exposure import Exposure
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.updates import update_lattice
from pywatt.replay.path_estimate import NameEnergies, own_dynamic
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# Readings that see the run alone, at least, to stand for all of it; and how well at best.
LEAST_READINGS = 5
LEAST_STD = 0.002

# What was not replayed may take this share of the time.
UNKNOWN_SHARE = 0.02


def fitted_total(
    power: Trace,
    model: SensorModel | None,
    names: NameEnergies,
    spans: Spans,
    start_s: float,
    end_s: float,
) -> WindowEnergy | None:
    """Energy of the run [start_s, end_s] if each module drew in proportion to what replay tells.

    A power that is the mean of a part of the time tells nothing of what ran in between, and at the
    ends of a run it also holds what was before or after. But what it must have shown while these
    modules ran, one after the other, is known from replay but for one factor, and that is fitted.

    Args:
        power: the sensor's trace.
        model: how it averages.
        names: what replay tells of each name.
        spans: what ran.
        start_s: beginning of the run.
        end_s: end of it.

    Returns:
        The energy; None where the averaging window is not known, some module was not replayed that
        took much of the time, or there are too few readings.
    """
    lattice = update_lattice(power)
    if lattice is None or model is None or not model.window_s:
        return None
    ends_s = lattice.time_s - (model.delay_s or 0.0)
    inside = (ends_s - model.window_s >= start_s) & (ends_s <= end_s)
    if np.count_nonzero(inside) < LEAST_READINGS:
        return None
    times = PathTimes.of(spans)
    mean_w = max(0.0, float(np.mean(lattice.reading[inside])) - names.idle_w)
    dynamic_j, _, known = own_dynamic(names, spans.paths, times, mean_w)
    unknown_s = float(np.sum(times.self_time_s[~known]))
    if unknown_s > UNKNOWN_SHARE * (end_s - start_s):
        return None
    count = len(spans.names)
    own_s = fold_by_name(spans.paths, times.self_time_s, count)
    own_j = fold_by_name(spans.paths, dynamic_j, count)
    own_w = np.divide(own_j, own_s, where=own_s > 0, out=np.zeros(count))
    shares = Exposure(spans).shares(ends_s[inside], model.window_s)[:, :-1]
    told_w, read_w = shares @ own_w, lattice.reading[inside] - names.idle_w
    squares = float(told_w @ told_w)
    if squares <= 0:
        return None
    factor = float(told_w @ read_w) / squares
    left_w = read_w - factor * told_w
    # Windows that overlap tell the same again.
    again = max(1.0, model.window_s / (model.period_s or model.window_s))
    factor_std = np.sqrt(again * float(np.mean(left_w**2)) / squares)
    duration_s = end_s - start_s
    above_j = float(np.sum(own_j))
    energy_j = names.idle_w * duration_s + factor * above_j
    std_j = np.hypot(factor_std * above_j, names.idle_w_std * duration_s)
    return WindowEnergy(energy_j, float(np.hypot(std_j, LEAST_STD * energy_j)))
