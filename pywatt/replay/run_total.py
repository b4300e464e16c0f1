"""Energy of a run whose sensor saw only part of it: replay fitted to the readings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.attribution.result import PathTimes, fold_by_name
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.exposure import Exposure
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.updates import update_times
from pywatt.replay.path_estimate import NameEstimate, own_dynamic
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# Fewest readings, of the run alone, to estimate its total; and its smallest relative deviation.
LEAST_READINGS = 5
LEAST_STD = 0.002

# Largest share of the time for what was not replayed.
UNKNOWN_SHARE = 0.02


def fitted_total(
    power: Trace,
    model: SensorModel | None,
    names: NameEstimate,
    spans: Spans,
    start_s: float,
    end_s: float,
) -> WindowEnergy | None:
    """Fit the energy of the run [start_s, end_s], its modules' powers in proportion to replay's.

    A power that averages only part of the time misses what runs in between, and at the ends of a
    run it includes what was before or after. But replay predicts each reading from the modules in
    its averaging window, up to one common factor, and that is fitted.

    Args:
        power: the sensor's trace.
        model: how the sensor averages.
        names: energies of names by replay.
        spans: what ran.
        start_s: start of the run.
        end_s: end of it.

    Returns:
        The energy; None if the averaging window is unknown, modules that took much of the time were
        not replayed, or there are too few readings.
    """
    updates = update_times(power)
    if updates is None or model is None or not model.window_s:
        return None
    ends_s = updates.time_s - (model.delay_s or 0.0)
    inside = (ends_s - model.window_s >= start_s) & (ends_s <= end_s)
    if np.count_nonzero(inside) < LEAST_READINGS:
        return None
    times = PathTimes.of(spans)
    mean_w = max(0.0, float(np.mean(updates.reading[inside])) - names.idle_w)
    dynamic_j, _, known = own_dynamic(names, spans.paths, times, mean_w)
    unknown_s = float(np.sum(times.self_time_s[~known]))
    if unknown_s > UNKNOWN_SHARE * (end_s - start_s):
        return None
    count = len(spans.names)
    own_s = fold_by_name(spans.paths, times.self_time_s, count)
    own_j = fold_by_name(spans.paths, dynamic_j, count)
    own_w = np.divide(own_j, own_s, where=own_s > 0, out=np.zeros(count))
    shares = Exposure(spans).shares(ends_s[inside], model.window_s)[:, :-1]
    predicted_w, read_w = shares @ own_w, updates.reading[inside] - names.idle_w
    squares = float(predicted_w @ predicted_w)
    if squares <= 0:
        return None
    factor = float(predicted_w @ read_w) / squares
    left_w = read_w - factor * predicted_w
    # Overlapping windows repeat the same information.
    overlap = max(1.0, model.window_s / (model.period_s or model.window_s))
    factor_std = np.sqrt(overlap * float(np.mean(left_w**2)) / squares)
    duration_s = end_s - start_s
    above_j = float(np.sum(own_j))
    energy_j = names.idle_w * duration_s + factor * above_j
    std_j = np.hypot(factor_std * above_j, names.idle_w_std * duration_s)
    return WindowEnergy(energy_j, float(np.hypot(std_j, LEAST_STD * energy_j)))
