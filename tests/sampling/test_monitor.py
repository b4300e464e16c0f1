import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import pywatt
from pywatt import Monitor, ScriptedClock, ScriptedSensor
from pywatt.sensors.info import OpenSensor


def monitor(*sensors, **options):
    return Monitor([OpenSensor(sensor, None) for sensor in sensors], **options)


def test_traces_are_exact_on_a_scripted_clock():
    clock = ScriptedClock(10.0)
    sensor = ScriptedSensor([100.0, 300.0], [0.0, 1.0], clock=clock)
    with monitor(sensor, clock=clock, rate_hz=100.0) as m:
        clock.advance(2.0)
    trace = m.traces["scripted"]
    assert (trace.start_s, trace.end_s) == (10.0, 12.0)
    assert trace.run_value.tolist() == [100.0, 300.0]
    assert trace.changed_s.tolist() == [11.0]
    assert trace.integrate(10.0, 10.5) == pytest.approx(50.0, rel=1e-12)
    assert trace.ended is None


def test_traces_can_be_read_while_it_runs():
    clock = ScriptedClock()
    with monitor(ScriptedSensor([100.0], clock=clock), clock=clock) as m:
        for seconds in (1.0, 2.0, 3.0):
            clock.advance(1.0)
            trace = m.traces["scripted"]
            assert trace.end_s == seconds
            assert trace.integrate(0.0, seconds) == pytest.approx(100.0 * seconds, rel=1e-12)
        assert m.running
    assert not m.running


def test_starting_twice_and_stopping_twice_change_nothing():
    clock = ScriptedClock()
    m = monitor(ScriptedSensor([100.0], clock=clock), clock=clock)
    m.stop()
    m.wait()
    with m, m:
        clock.advance(1.0)
    clock.advance(1.0)
    m.stop()
    m.stop()
    m.wait()
    assert m.traces["scripted"].end_s == 1.0


def test_it_runs_once():
    m = monitor(ScriptedSensor([100.0]))
    with m:
        pass
    with pytest.raises(pywatt.ArgumentError, match="make a new one"), m:
        pass


def test_it_can_be_deleted_while_it_runs():
    m = monitor(ScriptedSensor([100.0]))
    m.__enter__()
    assert len(_sampler_threads()) == 1
    del m
    assert _sampler_threads() == []


def test_without_sensors_there_are_no_traces():
    with Monitor([]) as m:
        assert not m.running
    m.wait()
    assert m.traces == {}


def test_several_sensors_have_a_trace_each_in_one_thread():
    clock = ScriptedClock()
    sensors = [ScriptedSensor([float(i)], name=f"s{i}", clock=clock) for i in range(5)]
    with monitor(*sensors, clock=clock) as m:
        clock.advance(1.0)
        assert len(_sampler_threads()) == 1
    assert {name: float(t.energy_j[-1]) for name, t in m.traces.items()} == pytest.approx(
        {f"s{i}": float(i) for i in range(5)}, rel=1e-12
    )


def test_sampling_after_the_end_goes_on_by_itself_and_is_waited_for():
    sensor = ScriptedSensor([100.0], period_s=0.04)  # watched for 2.5 periods more
    with monitor(sensor) as m:
        end_s = m.clock.now_s()
        m.stop_after(end_s)
        assert m.running
        m.wait()
        assert not m.running
    assert m.traces["scripted"].end_s == pytest.approx(end_s + 0.1, abs=0.05)
    assert m.traces["scripted"].end_s >= end_s + 0.1


def test_waiting_for_a_thread_that_a_driver_holds_ends():
    sensor = ScriptedSensor([100.0], period_s=0.04)
    with monitor(sensor) as m:
        sensor.hang()
        m.stop_after(m.clock.now_s())
        began_s = time.monotonic()
        m.wait()
        took_s = time.monotonic() - began_s
    traces, notes = m.read()
    sensor.release()
    assert 2.0 <= took_s < 3.5
    assert "its driver hangs" in traces["scripted"].ended
    (note,) = notes
    assert note.startswith("the trace of scripted ended early, ")
    assert "a read of scripted did not return within 2 s of the stop" in note


@pytest.mark.alone
def test_a_busy_python_thread_does_not_hold_the_sampler_up():
    """The benchmark asserts 99 %; here other processes may take the processor away."""
    ended = threading.Event()

    def busy() -> None:
        while not ended.is_set():
            sum(range(1000))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with monitor(ScriptedSensor([100.0])) as m:
            # This thread holds the GIL as well, without a pause in which others could run.
            until_s = time.monotonic() + 1.0
            while time.monotonic() < until_s:
                np.arange(10).sum()
    finally:
        ended.set()
        thread.join()
    quality = m.traces["scripted"].quality
    assert quality.achieved_rate_hz > 900.0
    assert 0 < quality.sampler_cpu_s < 0.25


def _sampler_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended meanwhile
            names.append((task / "comm").read_text().strip())
    return [name for name in names if name == "pywatt-sampler"]
