import asyncio
import threading
import weakref
from contextlib import suppress

import pytest

import pywatt
from pywatt import ArgumentError, ScriptedClock, ScriptedSensor
from pywatt.measurement.measure import Measurement


@pytest.fixture
def clock():
    return ScriptedClock(100.0)


def watts(clock, power_w=100.0, **options):
    return ScriptedSensor([power_w], clock=clock, **options)


def measure(clock, *sensors):
    return pywatt.measure(sensors=list(sensors) or watts(clock), clock=clock)


def exactly(energy_j):
    return pytest.approx(energy_j, rel=1e-12)


def test_a_hundred_watts_for_two_seconds_are_two_hundred_joules(clock):
    with measure(clock) as m:
        clock.advance(2.0)
    assert m.energy_j == exactly(200.0)
    assert m.energy_j_std == 0.0
    assert m.duration_s == 2.0
    assert m.power_w == exactly(100.0)
    assert m.energy_by_sensor == {"scripted": exactly(200.0)}
    assert not m.estimated
    assert m.notes == ()


def test_what_happens_outside_the_block_does_not_count(clock):
    sensor = ScriptedSensor([500.0, 100.0, 500.0], [0.0, 1.0, 3.0], clock=clock, origin_s=100.0)
    clock.advance(1.5)
    with measure(clock, sensor) as m:
        clock.advance(1.0)
    clock.advance(5.0)
    assert m.energy_j == exactly(100.0)
    assert m.duration_s == 1.0


def test_inner_blocks_are_part_of_outer_ones(clock):
    sensor = ScriptedSensor([100.0, 300.0], [0.0, 1.0], clock=clock)
    with measure(clock, sensor) as outer:
        clock.advance(0.5)
        with measure(clock, sensor) as first:
            clock.advance(0.25)
        clock.advance(0.75)
        with measure(clock, sensor) as second:
            clock.advance(1.0)
    assert first.energy_j == exactly(25.0)
    assert second.energy_j == exactly(300.0)
    assert outer.energy_j == pytest.approx(100.0 + 1.5 * 300.0, abs=0.2)  # one reading at the step


def test_one_object_can_be_entered_again_and_inside_itself(clock):
    block = measure(clock)
    with block as outer:
        clock.advance(1.0)
        with block as inner:
            clock.advance(1.0)
    with block as later:
        clock.advance(3.0)
    assert [m.energy_j for m in (outer, inner, later)] == [exactly(e) for e in (200, 100, 300)]


def test_threads_that_share_one_object_end_their_own_blocks():
    block = pywatt.measure(sensors=ScriptedSensor([100.0]))
    entered, left = threading.Event(), threading.Event()
    found = {}

    def other():
        with block as m:
            entered.set()
            left.wait(10)
        found["other"] = m

    thread = threading.Thread(target=other)
    with block as mine:
        thread.start()
        entered.wait(10)
    left.set()
    thread.join()
    assert mine is not found["other"]
    for m in (mine, found["other"]):
        assert m.energy_j == pytest.approx(100.0 * m.duration_s)


def test_a_block_that_raises_keeps_what_was_measured(clock):
    block = measure(clock)
    with block as m, suppress(KeyError), block as inner:
        clock.advance(1.0)
        raise KeyError
    clock.advance(1.0)
    assert m.energy_j == inner.energy_j == exactly(100.0)


def test_its_own_end_lets_exceptions_pass(clock):
    with pytest.raises(ZeroDivisionError), measure(clock):
        _ = 1 / 0


def test_an_empty_block_takes_no_energy(clock):
    with measure(clock) as m:
        pass
    assert (m.energy_j, m.duration_s, m.power_w) == (0.0, 0.0, None)
    assert "0 ± 0 J over 0 s (measured: scripted)" in str(m)


def test_a_block_may_begin_at_the_clock_s_zero():
    clock = ScriptedClock()
    with measure(clock) as m:
        pass
    clock.advance(1.0)
    assert m.duration_s == 0.0


def test_figures_and_traces_can_be_read_inside_the_block(clock):
    with measure(clock) as m:
        clock.advance(1.0)
        assert m.energy_j == exactly(100.0)
        assert m.duration_s == 1.0
        assert m.traces["scripted"].end_s == 101.0
        clock.advance(1.0)
        assert m.energy_j == exactly(200.0)
        assert m.traces["scripted"].end_s == 102.0


def test_readings_and_their_quality_are_there(clock):
    with measure(clock) as m:
        clock.advance(2.0)
    trace = m.traces["scripted"]
    assert trace.quality.asked_rate_hz == 1000.0
    assert trace.quality.achieved_rate_hz == pytest.approx(1000.0)
    assert trace.quality.missed_deadlines == trace.quality.failed_readings == 0


def test_windows_are_listed_by_name(clock):
    with pywatt.window("before"):
        clock.advance(1.0)
    with measure(clock) as m:
        for _ in range(2):
            with pywatt.window("prefill"):
                clock.advance(0.5)
        with pywatt.window("decode"):
            clock.advance(2.0)
            with pywatt.window("decode"):  # counted once
                clock.advance(1.0)
    prefill, decode = m.windows
    assert (prefill.name, prefill.calls, prefill.time_s) == ("prefill", 2, exactly(1.0))
    assert prefill.energy_j == exactly(100.0)
    assert (decode.name, decode.calls, decode.energy_j) == ("decode", 1, exactly(300.0))


def test_a_window_needs_a_name():
    with pytest.raises(ArgumentError, match="prefill"), pywatt.window(""):
        pass


def test_it_reads_as_one_line(clock):
    with measure(clock, watts(clock, name="meter")) as m:
        clock.advance(2.0)
    assert str(m) == "200 ± 0 J over 2 s, 100 W (measured: meter)"
    assert repr(m) == f"<Measurement {m}>"


def test_an_estimate_says_so_in_every_form(clock):
    with measure(
        clock, watts(clock), watts(clock, name="guess", domain="dram", estimated=True)
    ) as m:
        clock.advance(2.0)
    assert m.estimated
    assert str(m) == "400 ± 0 J over 2 s, 200 W (estimated: scripted, guess)"
    assert m.traces["guess"].sensor.origin == "estimated"


def test_before_it_begins_it_says_so(clock):
    m = Measurement(pywatt.Monitor([], clock=clock), ())
    assert repr(m) == "<Measurement, not begun>"
    assert m.duration_s == 0.0
    with pytest.raises(pywatt.PywattError, match="not begun"):
        _ = m.energy_j


def test_every_call_of_a_decorated_function_is_measured(clock):
    @measure(clock)
    def work(seconds: float) -> str:
        """Work."""
        clock.advance(seconds)
        return "done"

    assert work.__name__ == "work"
    assert work.__doc__ == "Work."
    assert work.measurement is None
    assert work(2.0) == "done"
    first = work.measurement
    assert work(seconds=1.0) == "done"
    assert first.energy_j == exactly(200.0)
    assert work.measurement.energy_j == exactly(100.0)


def test_a_decorated_function_s_exception_passes_through(clock):
    @measure(clock)
    def fail():
        clock.advance(1.0)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fail()
    assert fail.measurement.energy_j == exactly(100.0)


def test_a_decorated_function_may_call_itself(clock):
    found = []

    @measure(clock)
    def countdown(n: int) -> None:
        clock.advance(1.0)
        if n:
            countdown(n - 1)
            found.append(countdown.measurement.energy_j)

    countdown(2)
    found.append(countdown.measurement.energy_j)
    assert found == [exactly(100.0), exactly(200.0), exactly(300.0)]


def test_a_decorated_function_may_run_in_several_threads():
    inside = threading.Barrier(4)
    found = []

    @pywatt.measure(sensors=ScriptedSensor([100.0]))
    def together() -> None:
        inside.wait(10)

    def run() -> None:
        together()
        found.append(together.measurement)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for m in found:
        assert m.duration_s > 0
        assert m.energy_j == pytest.approx(100.0 * m.duration_s)


def test_a_decorated_method_gets_its_object(clock):
    class Model:
        @measure(clock)
        def forward(self, x):
            clock.advance(1.0)
            return self, x

    model = Model()
    assert model.forward(3) == (model, 3)
    assert Model.forward.measurement.energy_j == exactly(100.0)


def generator():
    yield 1


async def coroutine():
    await asyncio.sleep(0)


async def asynchronous_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, coroutine, asynchronous_generator])
def test_a_function_that_works_after_its_call_cannot_be_decorated(clock, function):
    with pytest.raises(ArgumentError, match=f"{function.__name__} returns before its work is done"):
        measure(clock)(function)


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ("nvml:99", "'nvml:99'"),
        ("meter", "there is no sensor 'meter' here; those that can be read: .*cpu:estimated"),
        ([], "no sensor was given"),
        (None, "not NoneType"),
        (5, "not int"),
        ([5], "not int"),
    ],
)
def test_sensors_that_are_not_there_are_refused_before_the_block(sensors, message):
    with pytest.raises(pywatt.PywattError, match=message):
        pywatt.measure(sensors=sensors)


def test_two_sensors_of_one_name_are_refused(clock):
    with pytest.raises(ArgumentError, match="two sensors are called 'scripted'"):
        measure(clock, watts(clock), watts(clock))


def test_one_sensor_given_twice_is_read_once(clock):
    sensor = watts(clock)
    with measure(clock, sensor, sensor) as m:
        clock.advance(1.0)
    assert m.energy_j == exactly(100.0)


@pytest.mark.parametrize("rate_hz", [0, -1, 0.5, 1e9, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused_before_the_block(clock, rate_hz):
    with pytest.raises(ArgumentError, match="1 to 10000 Hz"):
        pywatt.measure(sensors=watts(clock), rate_hz=rate_hz, clock=clock)


def test_sensors_are_chosen_by_name_and_object(clock):
    with pywatt.measure(sensors=["cpu:estimated", watts(clock, domain="gpu")], clock=clock) as m:
        clock.advance(1.0)
    assert set(m.traces) == {"cpu:estimated", "scripted"}
    assert m.estimated


@pytest.mark.parametrize(
    ("domains", "total_w"),
    [
        ([("package", ""), ("core", "package"), ("uncore", "package")], 1.0),
        ([("package", ""), ("dram", ""), ("core", "package")], 1.0 + 10.0),
        ([("package", ""), ("psys", "")], 1.0),
        ([("gpu", "module"), ("module", "")], 1.0),
        ([("gpu", "module"), ("module", ""), ("package", "")], 1.0 + 100.0),
        ([("psys", "")], 1.0),
        ([("core", ""), ("uncore", "")], 1.0 + 10.0),
        ([("module", ""), ("memory", "module")], 1.0),
    ],
)
def test_no_domain_is_added_to_one_that_contains_it(clock, domains, total_w):
    """Sensor i has 10**i W, so the total shows which were added."""
    sensors = [
        watts(clock, 10.0**i, name=domain, domain=domain, contained_in=container)
        for i, (domain, container) in enumerate(domains)
    ]
    with measure(clock, *sensors) as m:
        clock.advance(1.0)
    assert m.energy_j == exactly(total_w)
    assert m.energy_by_sensor == {d: exactly(10.0**i) for i, (d, _) in enumerate(domains)}


def test_an_estimate_is_not_added_to_a_meter_of_the_same(clock):
    meter = watts(clock, 100.0, name="meter")
    estimate = watts(clock, 7.0, name="guess", estimated=True)
    with measure(clock, meter, estimate) as m:
        clock.advance(1.0)
    assert m.energy_j == exactly(100.0)
    assert m.energy_by_sensor == {"meter": exactly(100.0), "guess": exactly(7.0)}
    assert not m.estimated


def test_a_measurement_that_is_dropped_inside_its_block_ends(clock):
    m = measure(clock).__enter__()
    with pywatt.window("before"):
        pass
    monitor = weakref.ref(m._monitor)
    del m
    assert monitor() is None
    with pywatt.window("after"):
        pass
