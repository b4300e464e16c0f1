"""Trace: made from arrays, written and read back, copied; and the other results that are copied."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from fakes.profiles import profile
from hypothesis import given
from hypothesis import strategies as st

import pywatt
from pywatt import ArgumentError, Quality, SensorInfo, Trace
from pywatt.metering.energies import SpanEnergy, WindowEnergy
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.info import OpenSensor
from pywatt.spans.columns import Span

ARRAYS = ("time_s", "power_w", "energy_j", "run_first_s", "run_last_s", "run_value")
QUALITY = Quality(1000.0, 999.5, 1, 0.0021, 2, 0.004)


def columns(trace):
    return {
        name: None if getattr(trace, name) is None else getattr(trace, name).tolist()
        for name in ARRAYS
    }


def test_power_is_integrated_by_the_trapezoid_rule():
    trace = Trace(time_s=[10.0, 11.0, 13.0, 13.5], power_w=[100.0, 100.0, 200.0, 0.0])
    assert trace.energy_j.tolist() == [0.0, 100.0, 400.0, 450.0]
    assert (len(trace), trace.start_s, trace.end_s, trace.duration_s) == (4, 10.0, 13.5, 3.5)
    assert (trace.sensor.name, trace.sensor.kind) == ("given", "power")
    assert (trace.quality, trace.ended) == (None, None)


def test_a_counter_begins_at_zero_and_keeps_what_the_meter_showed():
    trace = Trace(time_s=[0, 1, 2, 3], energy_j=[500.0, 500.0, 520.0, 525.0])
    assert trace.energy_j.tolist() == [0.0, 0.0, 20.0, 25.0]
    assert trace.run_value.tolist() == [500.0, 520.0, 525.0]
    assert trace.power_w is None
    assert trace.sensor.kind == "counter"


def test_the_kind_of_the_sensor_is_that_of_the_readings():
    info = SensorInfo("mine", kind="counter", device="cuda:0")
    trace = Trace(time_s=[0, 1], power_w=[5, 5], sensor=info)
    assert trace.sensor == SensorInfo("mine", kind="power", device="cuda:0")


def test_runs_are_the_distinct_values_in_a_row():
    trace = Trace(time_s=[0, 1, 2, 3, 4, 5], power_w=[7.0, 7.0, 9.0, 7.0, 7.0, 7.0])
    assert trace.run_first_s.tolist() == [0.0, 2.0, 3.0]
    assert trace.run_last_s.tolist() == [1.0, 2.0, 5.0]
    assert trace.run_value.tolist() == [7.0, 9.0, 7.0]
    assert trace.changed_s.tolist() == [2.0, 3.0]


def test_a_constant_trace_never_changed():
    trace = Trace(time_s=[0, 1, 2], power_w=[7.0, 7.0, 7.0])
    assert trace.changed_s.tolist() == []
    assert trace.run_last_s.tolist() == [2.0]


def test_one_reading_is_a_trace_without_length():
    trace = Trace(time_s=[3.0], power_w=[50.0])
    assert trace.energy_j.tolist() == [0.0]
    assert trace.duration_s == 0.0
    assert trace.covers(3.0, 3.0)
    assert not trace.covers(3.0, 3.1)


TWO = {"time_s": [0, 1], "power_w": [5, 5]}
RUN = {"run_first_s": [0], "run_last_s": [1], "run_value": [5]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time_s": [0, 1]}, "a trace needs power_w .* or energy_j"),
        ({"time_s": [], "power_w": []}, r"time_s must be .* not of shape \(0,\)"),
        ({"time_s": 3.0, "power_w": 5.0}, r"time_s must be .* not of shape \(\)"),
        ({"time_s": [[0, 1]], "power_w": [[5, 5]]}, r"time_s must be .* not of shape \(1, 2\)"),
        ({"time_s": [1, 0], "power_w": [5, 5]}, "time_s must increase"),
        ({"time_s": [1, 1], "power_w": [5, 5]}, "time_s must increase"),
        ({"time_s": [0, math.nan], "power_w": [5, 5]}, "time_s holds a value that is not finite"),
        ({"time_s": [0, math.inf], "power_w": [5, 5]}, "time_s holds a value that is not finite"),
        ({"time_s": ["a", "b"], "power_w": [5, 5]}, "time_s must be a list of numbers"),
        ({"time_s": [0, 1], "power_w": [5, None]}, "power_w holds a value that is not finite"),
        ({"time_s": [0, 1], "power_w": [5, math.inf]}, "power_w holds a value that is not finite"),
        ({"time_s": [0, 1], "power_w": [5, [5]]}, "power_w must be a list of numbers"),
        ({"time_s": [0, 1], "power_w": object()}, "power_w must be a list of numbers"),
        ({"time_s": [0, 1], "power_w": [5]}, "power_w has 1 values, but must have 2"),
        ({"time_s": [0, 1], "energy_j": [5]}, "energy_j has 1 values, but must have 2"),
        ({"time_s": [0, 1], "energy_j": [5, 4]}, "energy_j must not fall"),
        (TWO | {"energy_j": [0, 5, 10]}, "energy_j has 3 values, but must have 2"),
        (TWO | {"run_value": [5]}, "must be given together"),
        (TWO | RUN | {"run_value": None}, "must be given together"),
        (TWO | RUN | {"run_last_s": [0, 1]}, "run_last_s has 2 values, but must have 1"),
        (TWO | RUN | {"run_value": [math.nan]}, "run_value holds a value that is not finite"),
    ],
)
def test_bad_arrays_are_refused(fields, message):
    with pytest.raises(ArgumentError, match=message):
        Trace(**fields)


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=20, unique=True).map(sorted),
    st.floats(-1e9, 1e9),
    st.booleans(),
)
def test_a_trace_survives_json(time_s, first, is_counter):
    values = first + np.round(np.cumsum(np.linspace(0, 3, len(time_s))))
    trace = Trace(
        time_s=time_s,
        **{"energy_j" if is_counter else "power_w": values},
        sensor=SensorInfo("nvml:0", domain="gpu", update_period_s=0.1, note="µ"),
        quality=QUALITY,
        ended="the device was lost",
    )
    again = Trace.from_dict(json.loads(json.dumps(trace.to_dict(), allow_nan=False)))
    assert columns(again) == columns(trace)
    assert (again.sensor, again.quality, again.ended) == (trace.sensor, QUALITY, trace.ended)


def sampled():
    clock = pywatt.ScriptedClock()
    sensor = pywatt.ScriptedSensor([100.0, 300.0], [0.0, 1.0], clock=clock)
    with Monitor([OpenSensor(sensor, "cpu")], rate_hz=10, clock=clock) as monitor:
        clock.advance(2.0)
    return monitor.traces["scripted"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Trace(time_s=[0, 1], power_w=[5, 5]),
        lambda: Trace(time_s=np.arange(2.0), power_w=np.ones(2), energy_j=np.arange(2.0)),
        lambda: Trace(time_s=[0, 1], energy_j=np.array([5.0, 6.0])),
        lambda: Trace.from_dict(Trace(time_s=[0, 1], energy_j=[5, 5]).to_dict()),
        sampled,
    ],
)
def test_a_trace_cannot_be_changed(make):
    trace = make()
    for name in ARRAYS:
        if getattr(trace, name) is not None:
            with pytest.raises(ValueError, match="read-only"):
                getattr(trace, name)[0] = 1.0
        with pytest.raises(AttributeError):
            setattr(trace, name, np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        trace.changed_s[...] = 1.0


def test_arrays_that_are_given_stay_writable():
    time_s, power_w = np.arange(3.0), np.ones(3)
    Trace(time_s=time_s, power_w=power_w)
    assert time_s.flags.writeable
    assert power_w.flags.writeable


COPIES = {
    "pickle": lambda original: pickle.loads(pickle.dumps(original)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("make", [sampled, lambda: Trace(time_s=[0, 1], energy_j=[5, 6])])
def test_traces_can_be_copied(make, how):
    trace = make()
    again = COPIES[how](trace)
    assert columns(again) == columns(trace)
    assert (again.sensor, again.quality) == (trace.sensor, trace.quality)
    assert again.integrate(0.5, 0.75) == trace.integrate(0.5, 0.75)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "result",
    [
        profile(outside_j_std=0.1),
        profile(outside_j_std=0.1).layers[0],
        SensorInfo("cpu:estimated", estimated=True, reading_cost_s=1e-6),
        QUALITY,
        Span("inner", 1.0, 2.0, Span("outer", 0.0, 3.0)),
        SpanEnergy("prefill", 2, 1.0, 50.0, None),
        WindowEnergy(50.0, 0.5),
    ],
    ids=lambda result: type(result).__name__,
)
def test_results_can_be_copied(result, how):
    again = COPIES[how](result)
    assert type(again) is type(result)
    assert again == result
    assert again is not result


def test_a_copied_profile_has_its_readings():
    again = pickle.loads(pickle.dumps(profile(outside_j_std=0.1)))
    assert columns(again.traces["nvml:0"]) == columns(profile(outside_j_std=0.1).traces["nvml:0"])
