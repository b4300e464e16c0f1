"""Window energies from meters that publish every 100 ms, over random phases of a known load."""

import numpy as np
import pytest
from fakes.polled_meter import POLL_S, meter, pattern, polled

from pywatt.metering.source import Source, window_energy

TRIALS = 100

LOADS = {
    "constant": [(1.0, 300.0)],
    "90 % of 1 s": [(0.9, 300.0), (0.1, 100.0)],
    "90 % of 130 ms": [(0.117, 300.0), (0.013, 100.0)],
    "90 % of 100 ms": [(0.09, 300.0), (0.01, 100.0)],
    "square of 52 ms": [(0.026, 650.0), (0.026, 200.0)],
    "square of 370 ms": [(0.185, 650.0), (0.185, 200.0)],
    "square of 1 s": [(0.5, 650.0), (0.5, 200.0)],
}


def trials(steps, *, goes_on, **meter_options):
    """Relative errors, and errors over stated standard deviations, of windows of 2 to 2.5 s."""
    random = np.random.default_rng(1)
    relative, deviations = [], []
    for _ in range(TRIALS):
        start_s, end_s = 1.0, 3.0 + 0.5 * random.random()
        first_s = -5.0 - random.random() if goes_on else start_s
        last_s = end_s + 5.0 if goes_on else end_s
        load = pattern(steps, first_s, last_s, idle_after=not goes_on)
        source = meter(load, start_s, end_s, random, **meter_options)
        found = window_energy(source, start_s, end_s)
        truth_j = load.energy_j(end_s) - load.energy_j(start_s)
        relative.append((found.energy_j - truth_j) / truth_j)
        # The meter shows whole millijoules.
        deviations.append(abs(found.energy_j - truth_j) / np.hypot(found.energy_j_std, 1e-3))
    return np.abs(relative), np.array(deviations)


@pytest.mark.parametrize("name", LOADS)
def test_work_between_idle_is_within_one_percent_and_its_deviation_is_honest(name):
    relative, deviations = trials(LOADS[name], goes_on=False)
    assert np.max(relative) < 0.01
    assert np.mean(deviations < 2) >= 0.88


@pytest.mark.parametrize("name", LOADS)
def test_work_that_goes_on_at_both_edges_is_within_one_percent_mostly(name):
    relative, _ = trials(LOADS[name], goes_on=True)
    assert np.median(relative) < 0.005
    # A square wave of 370 ms across the edges is the worst: 1.2 % at the 95th percentile.
    assert np.quantile(relative, 0.95) < (0.015 if name == "square of 370 ms" else 0.01)


def test_a_faster_counter_is_better_than_one_percent_at_its_worst():
    relative, _ = trials(LOADS["square of 370 ms"], goes_on=True, counter_s=0.02)
    assert np.max(relative) < 0.005


def test_a_counter_that_never_changed_has_no_energy():
    time_s = np.arange(0.0, 0.05, POLL_S)
    still = Source("nvml:0", counter=polled(time_s, np.full(len(time_s), 5.0), "counter"))
    assert window_energy(still, 0.01, 0.04) is None
