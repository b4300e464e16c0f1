"""What goes wrong in measure_call."""

import functools
import threading

import pytest
from fakes.measured_calls import measured, simulated
from fakes.simulated_model import Kernel

import pywatt
from pywatt.renderers.call import render
from pywatt.spans import windows


class OurError(Exception):
    pass


@pytest.mark.parametrize("kind", [OurError, KeyboardInterrupt])
def test_an_exception_propagates_with_what_was_measured(gpus, kind):
    clock = simulated(gpus, "100/25 and counter")
    kernel, end_s = Kernel(gpus, 0.005, 500.0, clock), clock.now_s() + 4.0

    def call():
        if clock.now_s() > end_s:
            raise kind("enough")
        kernel(None)

    with pytest.raises(kind, match="enough") as caught:
        pywatt.measure_call(call, sensors="nvml:0", clock=clock, target_rel_std=1e-9)
    assert caught.value.partial.energy_j == pytest.approx(2.5, rel=0.01)
    assert "interrupted" in caught.value.partial.method
    assert not windows._active
    assert not any("sampl" in thread.name for thread in threading.enumerate())


def test_an_exception_in_the_first_call_has_nothing_measured():
    with pytest.raises(ZeroDivisionError) as caught:
        pywatt.measure_call(lambda: 1 / 0, sensors=pywatt.ScriptedSensor([1.0]))
    assert not hasattr(caught.value, "partial")


def test_what_is_not_callable_is_refused():
    with pytest.raises(pywatt.ArgumentError, match="function and its arguments separately, as in"):
        pywatt.measure_call(3)


def generator():
    yield 1


async def coroutine():
    pass


class Streams:
    def __call__(self):
        yield 1


@pytest.mark.parametrize("fn", [generator, coroutine, functools.partial(generator), Streams()])
def test_a_function_that_works_after_its_call_is_refused(fn):
    with pytest.raises(pywatt.ArgumentError, match="returns before its work is done"):
        pywatt.measure_call(fn, sensors=pywatt.ScriptedSensor([1.0]))


@pytest.mark.filterwarnings("error")
def test_a_meter_that_shows_no_power_ends_nothing():
    clock = pywatt.ScriptedClock(1.0)
    sensor = pywatt.ScriptedSensor([0.0])
    found = pywatt.measure_call(clock.advance, 0.003, sensors=sensor, clock=clock, budget_s=2.0)
    assert found.energy_j is None
    assert found.duration_s == pytest.approx(0.003)
    assert "no power at all" in found.notes[0]


@pytest.mark.parametrize(
    "options",
    [
        {"target_rel_std": 0.0},
        {"target_rel_std": 2},
        {"target_rel_std": float("nan")},
        {"budget_s": -1.0},
        {"budget_s": float("inf")},
        {"budget_s": "10"},
        {"budget_s": True},
        {"budget_s": 10**400},
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_call(options):
    called = []
    with pytest.raises(pywatt.ArgumentError, match=next(iter(options))):
        pywatt.measure_call(called.append, 1, **options)
    assert not called


def test_calls_that_take_no_time_on_their_clock_are_an_error():
    clock = pywatt.ScriptedClock(1.0)
    with pytest.raises(pywatt.ArgumentError, match="advance it inside the function"):
        pywatt.measure_call(int, sensors=pywatt.ScriptedSensor([1.0]), clock=clock)


def test_a_budget_that_is_too_short_is_noted(gpus):
    found = measured(gpus, "100/100", 0.005, 500.0, budget_s=0.5)
    assert found.blocks >= 1
    assert not found.target_reached
    assert "stopped at budget_s=" in found.method
    assert any("raise budget_s" in note for note in found.notes)


def test_a_call_longer_than_the_budget_is_made_once_after_the_warm_up(gpus):
    found = measured(gpus, "100/25 and counter", 3.0, 400.0, budget_s=1.0)
    assert found.calls == 1
    assert found.energy_j == pytest.approx(1200.0, rel=0.01)
    assert found.energy_j_std >= 0.02 * found.energy_j
    assert any("enough for 1 block only, too few" in note for note in found.notes)


def test_a_sensor_that_is_lost_gives_none(gpus):
    clock = simulated(gpus, "100/100")
    kernel = Kernel(gpus, 0.005, 500.0, clock)

    def lose():
        kernel(None)
        gpus.fail("nvmlDeviceGetFieldValues", 15)  # GPU_IS_LOST

    found = pywatt.measure_call(lose, sensors="nvml:0", clock=clock, budget_s=1.0)
    assert found.energy_j is None
    assert found.power_w is None
    assert found.energy_by_sensor == {"nvml:0": None}
    assert found.duration_s == pytest.approx(0.005)
    assert any("lost" in note for note in found.notes)
    assert str(found).split("\n\n")[0].split()[-2:] == ["ENERGY", "UNAVAILABLE"]
    assert "unavailable" in render(found, 80)
