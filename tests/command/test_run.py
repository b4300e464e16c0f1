import dataclasses

import numpy as np
import pytest

from pywatt.command.run import PEAK_INTERVAL_S, evaluate
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.info import SensorInfo

METER = SensorInfo("rapl:package-0", kind="counter", device="cpu", update_period_s=0.0)
ESTIMATE = SensorInfo(
    "cpu:estimated",
    kind="counter",
    device="cpu",
    estimated=True,
    update_period_s=0.0,
    note="from CPU time",
)


def counter(sensor, time_s, energy_j):
    return Trace(time_s=np.array(time_s), energy_j=np.array(energy_j), sensor=sensor)


def figures(trace, end_s):
    traces = {trace.sensor.name: trace}
    return evaluate(("work",), 0, traces, (trace.sensor,), 0.0, end_s)


def test_what_is_known_once_a_command_was_waited_for_is_counted_as_a_whole():
    late = counter(ESTIMATE, [0.0, 1.0, 2.0, 2.002], [0.0, 1.0, 2.0, 12.0])
    ran = figures(late, end_s=2.001)
    assert ran.energy_j == 12.0
    assert ran.energy_by_sensor == {"cpu:estimated": 12.0}
    assert ran.estimated
    assert ran.notes == ("cpu:estimated: from CPU time",)


def test_a_meter_is_read_to_the_end_and_no_further():
    ran = figures(counter(METER, [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 12.0]), end_s=2.5)
    assert ran.energy_j == pytest.approx(7.0)
    assert ran.power_w == pytest.approx(2.8)
    assert not ran.estimated


def test_peak_is_the_highest_mean_of_the_interval():
    time_s = np.arange(0.0, 4.01, 0.01)
    power_w = np.where((time_s >= 2.0) & (time_s < 2.0 + PEAK_INTERVAL_S), 300.0, 100.0)
    energy_j = np.concatenate(([0.0], np.cumsum(power_w[:-1] * 0.01)))
    ran = figures(counter(METER, time_s, energy_j), end_s=4.0)
    assert ran.peak_power_w == pytest.approx(300.0)
    assert ran.power_w == pytest.approx(125.0)
    assert ran.peak_interval_s == PEAK_INTERVAL_S


def test_a_shorter_spike_does_not_make_the_peak():
    time_s = np.arange(0.0, 2.01, 0.01)
    power_w = np.where(np.isclose(time_s, 1.0), 1000.0, 100.0)
    energy_j = np.concatenate(([0.0], np.cumsum(power_w[:-1] * 0.01)))
    ran = figures(counter(METER, time_s, energy_j), end_s=2.0)
    assert ran.peak_power_w == pytest.approx(100.0 + 900.0 * 0.01 / PEAK_INTERVAL_S)


def test_peak_of_a_counter_that_had_stood_for_a_while_when_it_was_first_read():
    # It moves by 10 J every 0.1 s, and was first read 0.09 s after a move, 0.01 s before the next.
    slow = dataclasses.replace(METER, update_period_s=0.1)
    moves_s = np.arange(0.01, 2.0, 0.1)
    often = Quality(
        asked_rate_hz=100.0,
        achieved_rate_hz=100.0,
        missed_deadlines=0,
        longest_gap_s=0.01,
        failed_readings=0,
        sampler_cpu_s=0.0,
    )
    trace = counter(slow, [0.0, *moves_s, 2.0], [*(10.0 * np.arange(21)), 200.0])
    ran = figures(dataclasses.replace(trace, quality=often), end_s=2.0)
    assert ran.quality == {"rapl:package-0": often}
    assert ran.peak_power_w == pytest.approx(100.0)


def test_a_short_run_has_no_peak():
    ran = figures(counter(METER, [0.0, 0.2, 0.4], [0.0, 20.0, 40.0]), end_s=0.4)
    assert ran.peak_power_w is None
    assert ran.energy_j == pytest.approx(40.0)


def test_without_readings_nothing_is_known():
    ran = evaluate(("work",), 3, {}, (METER,), 0.0, 2.0, notes=("lost",))
    assert (ran.energy_j, ran.energy_j_std, ran.power_w, ran.peak_power_w) == (None,) * 4
    assert ran.energy_by_sensor == {"rapl:package-0": None}
    assert (ran.exit_status, ran.duration_s, ran.notes) == (3, 2.0, ("lost",))
