"""Running a model until its power is steady."""

import numpy as np
import pytest

import pywatt
from pywatt.profiling.warmup import MAX_WARMUP_S, STRETCH_S, warm_up
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.info import OpenSensor

PASS_S = 0.125  # a power of two: sums are exact


class Load:
    """Passes on a scripted clock, along which the power that a sensor shows changes."""

    def __init__(self, power_at, **sensor):
        self.clock = pywatt.ScriptedClock()
        times_s = np.arange(0.0, 20.0, 0.01)
        powers_w = [power_at(t) for t in times_s]
        core = pywatt.ScriptedSensor(powers_w, times_s.tolist(), clock=self.clock, **sensor)
        self.monitor = Monitor([OpenSensor(core, None)], rate_hz=100, clock=self.clock)
        self.passes = 0

    def run_pass(self):
        self.passes += 1
        self.clock.advance(PASS_S)

    def warm_up(self):
        return warm_up(self.run_pass, self.monitor)


def test_a_steady_power_takes_two_stretches():
    load = Load(lambda t: 300.0)
    assert load.warm_up() is None
    assert load.passes == round(2 * STRETCH_S / PASS_S)
    assert not load.monitor.running


def test_a_power_that_rises_is_waited_for():
    # 200 W to 300 W within a time constant of 1 s: 2 % in half a second are left after 2.5 s or so.
    load = Load(lambda t: 300.0 - 100.0 * np.exp(-t))
    assert load.warm_up() is None
    assert 2.0 < load.passes * PASS_S < 4.0


def test_a_power_that_never_stands_still_is_noted():
    load = Load(lambda t: 100.0 * 1.1**t)
    assert "not steady after 10 s" in load.warm_up()
    assert load.passes == round(MAX_WARMUP_S / PASS_S)


def test_an_estimate_follows_at_once():
    load = Load(lambda t: 100.0 * 1.1**t, estimated=True)
    assert load.warm_up() is None
    assert load.passes == 0


def test_a_clock_that_stands_still_ends_it():
    load = Load(lambda t: 300.0)
    assert warm_up(lambda: None, load.monitor) is None


def test_an_error_in_a_pass_propagates_and_stops_sampling():
    def fail():
        raise ValueError("no")

    load = Load(lambda t: 300.0)
    with pytest.raises(ValueError, match="no"):
        warm_up(fail, load.monitor)
    assert not load.monitor.running
