"""Which steps are traced, and how often sensors are read."""

import pytest

import pywatt
from pywatt.sensors.selection import select
from pywatt.training.profiler import default_rate_hz
from pywatt.training.sampling import StepSampling


def test_few_steps_are_traced_of_many():
    sampling = StepSampling()
    steps, traced_steps, asked = [], 0, 0
    while len(steps) < 20_000:
        traced, until = sampling.choose()
        asked += 1
        steps += [traced] * until
        traced_steps += traced
        sampling.add(0.013 if traced else 0.010 * until, until, traced=traced)
    assert steps[:8] == [False, True, True, True, True, True, False, False]
    assert not any(steps[6:25])
    cost = 0.003 * traced_steps / (0.010 * len(steps))
    assert 0.0007 < cost < 0.0011
    assert asked < len(steps) / 12  # at most one in twenty is traced


def test_a_step_longer_than_all_before_is_checked_soon():
    sampling = StepSampling()
    for _ in range(20):
        traced, until = sampling.choose()
        sampling.add(1e-6 * until, until, traced=traced)
    _, until = sampling.choose()
    assert 1 < until <= 1000
    sampling.add(5.0 * until, until, traced=False)
    assert sampling.choose()[1] == 1


@pytest.mark.parametrize(
    ("sensors", "rate_hz"),
    [
        (["cpu:estimated"], 25.0),
        ([pywatt.ScriptedSensor([50.0], period_s=0.1)], 200.0),
        (["cpu:estimated", pywatt.ScriptedSensor([50.0], period_s=0.1)], 200.0),
    ],
)
def test_a_sensor_that_updates_at_its_own_times_is_read_more_often(sensors, rate_hz):
    assert default_rate_hz(select(sensors).sensors) == rate_hz
