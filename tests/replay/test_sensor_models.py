"""Sensors whose averaging is known beforehand."""

import pytest
from fakes.simulated_model import FollowedClock, Passes, Verdict, kernels
from torch import nn

import pywatt
from pywatt.metering.sensor_model import SensorModel

KNOWN = SensorModel(
    *(None, 0.001), window_s=0.025, window_s_std=2e-4, delay_s=0.0, delay_s_std=2e-4
)


def test_a_known_sensor_need_not_be_probed(gpus):
    """Without a counter, finding how the sensor averages takes half of this budget."""
    gpus.configure(has_counter=0)
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock, seed=3)
    passes = Passes(model, 2.0)
    options = {"warmup": 0, "sensors": "nvml:0", "method": "replay", "clock": clock}
    profile = pywatt.profile(
        *(model, passes), **options, budget_s=4.0, sensor_models={"nvml:0": KNOWN}
    )
    verdict = Verdict.of(profile, passes)
    assert verdict.misattributed < 0.003, str(verdict)


def test_a_known_sensor_makes_regression_possible_for_many_modules(gpus):
    """A run of many modules does not determine how the sensor averages."""
    clock = FollowedClock(gpus)
    model = kernels(gpus, 40, clock=clock)
    options = {"warmup": 0, "sensors": "nvml:0", "method": "regression", "clock": clock}
    unknown = pywatt.profile(model, Passes(model, 3.0), **options)
    known = pywatt.profile(model, Passes(model, 3.0), **options, sensor_models={"nvml:0": KNOWN})
    assert unknown.method == "time"
    assert any("cannot determine window and delay" in note for note in unknown.notes)
    assert known.method == "regression"


def test_models_of_sensors_that_are_not_read_are_refused(gpus):
    known = SensorModel(None, 0.001)
    with pytest.raises(
        pywatt.ArgumentError, match="'nvml:7', which is not read: name one of nvml:0"
    ):
        pywatt.Profiler(nn.Identity(), sensors="nvml:0", sensor_models={"nvml:7": known})
    with pytest.raises(pywatt.ArgumentError, match=r"give a result of pywatt\.characterize"):
        pywatt.Profiler(nn.Identity(), sensors="nvml:0", sensor_models={"nvml:0": 0.025})
