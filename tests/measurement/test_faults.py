"""Faults while measuring, of sensors and of the process: the run continues, and notes say why."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest
from fakes.simulated_nvml import environment

import pywatt
from pywatt import ScriptedClock, ScriptedSensor

LOST = float("inf")
FAILED = float("nan")


@pytest.fixture
def clock():
    return ScriptedClock(100.0)


def readings(values, **options):
    return ScriptedSensor.from_readings(values, **options)


def measure(clock, *sensors, rate_hz=10.0):
    return pywatt.measure(sensors=sensors, clock=clock, rate_hz=rate_hz)


def test_passing_errors_are_counted_and_bridged(clock):
    sensor = readings([100.0, FAILED, FAILED, 100.0, FAILED, 100.0])
    with measure(clock, sensor) as m:
        clock.advance(1.0)
    quality = m.traces["scripted"].quality
    assert quality.failed_readings == 3
    assert quality.longest_gap_s == pytest.approx(0.3)
    assert m.energy_j == pytest.approx(100.0)
    assert not any("ended" in note for note in m.notes)


def test_a_lost_device_ends_its_own_trace_only(clock):
    lost = readings([100.0, 100.0, 100.0, LOST], name="lost", domain="gpu")
    healthy = ScriptedSensor([50.0], name="healthy", clock=clock)
    done = []
    with measure(clock, lost, healthy) as m:
        clock.advance(2.0)
        done.append("the block went on")
    assert done
    assert m.energy_by_sensor == {"lost": None, "healthy": pytest.approx(100.0)}
    assert (m.energy_j, m.energy_j_std, m.power_w) == (None, None, None)
    assert m.traces["lost"].end_s == pytest.approx(100.2)
    assert m.notes[0] == (
        "the trace of lost ended early, 0.2 s after it began: "
        "lost: the script says that the device is lost"
    )
    assert str(m).startswith("energy unavailable over 2 s: the trace of lost ended early")


def test_a_window_before_the_loss_is_known(clock):
    lost = readings([100.0] * 15 + [LOST])
    with measure(clock, lost) as m:
        with pywatt.window("early"):
            clock.advance(1.0)
        with pywatt.window("late"):
            clock.advance(1.0)
    early, late = m.windows
    assert early.energy_j == pytest.approx(100.0)
    assert late.energy_j is None


@pytest.mark.parametrize("value", [FAILED, LOST])
def test_a_sensor_that_never_gives_a_reading_makes_the_sum_unknown(clock, value):
    silent = readings([value], name="silent", domain="gpu")
    healthy = ScriptedSensor([50.0], name="healthy", clock=clock)
    with measure(clock, silent, healthy) as m:
        clock.advance(2.0)
    assert m.energy_by_sensor == {"silent": None, "healthy": pytest.approx(100.0)}
    assert m.energy_j is None
    (note,) = m.notes
    assert note.startswith("silent gave no reading: ")
    assert ("reads failed" in note) == (value is FAILED)


def test_errors_that_do_not_pass_are_noted(clock):
    sensor = readings([100.0] * 5 + [FAILED], domain="gpu")
    with measure(clock, sensor) as m:
        clock.advance(2.0)
    assert m.energy_j is None
    note = m.notes[0]
    assert note.startswith("the energy of scripted is not known: its readings do not reach")
    # Of 20 in 2 s and two more until a slow sensor would have shown the end, five succeeded.
    assert note.endswith("(19 reads failed)")
    assert note in str(m)


def test_a_counter_that_stands_still_is_noted(clock):
    with measure(clock, readings([7.0], kind="counter")) as m:
        clock.advance(2.0)
    assert m.energy_j is None
    assert m.notes == (
        "the energy of scripted is not known: its counter did not move: measure for longer",
    )


def test_a_silent_sensor_inside_another_does_not_matter(clock):
    silent = readings([LOST], name="core", domain="core", contained_in="healthy")
    healthy = ScriptedSensor([50.0], name="healthy", clock=clock)
    with measure(clock, silent, healthy) as m:
        clock.advance(2.0)
    assert m.energy_j == pytest.approx(100.0)


def test_a_gpu_that_falls_off_the_bus_does_not_disturb_the_other(gpus):
    gpus.reset(2)
    for device in range(2):
        gpus.configure(device, counter_period_s=0.02)
    with pywatt.measure(sensors=["nvml:0", "nvml:1"]) as m:
        time.sleep(0.3)
        gpus.fail("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_GPU_IS_LOST, device=1)
        time.sleep(0.3)
    assert m.energy_j is None
    assert m.energy_by_sensor["nvml:0"] == pytest.approx(60.0 * m.duration_s, rel=0.05)
    assert m.energy_by_sensor["nvml:1"] is None
    for name, note in zip(("nvml:1", "nvml:1/energy"), m.notes[-2:], strict=True):
        assert note.startswith(f"the trace of {name} ended early, 0.3")
        assert "GPU is lost" in note
        assert "dmesg" in note


def test_passing_errors_of_a_driver_are_counted(gpus):
    with pywatt.measure(sensors="nvml:0") as m:
        gpus.fail("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_TIMEOUT, times=5)
        time.sleep(0.3)
    assert {t.quality.failed_readings for t in m.traces.values()} == {5}
    assert m.energy_j == pytest.approx(60.0 * m.duration_s, rel=0.05)


def test_a_driver_that_hangs_holds_up_neither_the_block_nor_the_figures(gpus):
    gpus.reset(1)
    with pywatt.measure(sensors="nvml:0") as m:
        time.sleep(0.1)
        gpus.hang()
        time.sleep(0.1)
        leaving_s = time.monotonic()
    left_s = time.monotonic()
    energy_j = m.energy_j
    told_s = time.monotonic()
    gpus.hang(False)
    assert left_s - leaving_s < 0.5
    assert told_s - left_s < 3.5
    assert energy_j is None
    assert "a read of nvml:0 did not return within 2 s of the stop" in m.notes[-1]


def test_a_sensor_that_hangs_at_the_end_holds_up_a_block_for_two_seconds_at_most():
    sensor = ScriptedSensor([100.0])  # fresh at every read, so the block itself stops it
    with pywatt.measure(sensors=sensor) as m:
        sensor.hang()
        leaving_s = time.monotonic()
    took_s = time.monotonic() - leaving_s
    sensor.release()
    assert took_s < 3.0
    assert "its driver hangs" in m.notes[0]


def test_a_sensor_that_hangs_from_the_beginning_delays_it_by_two_seconds_at_most():
    sensor = ScriptedSensor([100.0])
    sensor.hang()
    began_s = time.monotonic()
    with pywatt.measure(sensors=sensor) as m:
        entered_s = time.monotonic()
    left_s = time.monotonic()
    sensor.release()
    assert entered_s - began_s < 3.0
    assert left_s - entered_s < 3.0
    assert m.energy_j is None
    assert m.notes[0].startswith("scripted gave no reading: a read of scripted did not return")


def run(program: str) -> str:
    """Run a program on a simulated GPU; it must end well and write nothing to stderr."""
    paths = [str(Path(pywatt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment(power_w=100), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# The load is 100 W. A busy machine may take a reading at either edge late.
CHECK = """
def check(m, energy_j):
    late_s = max(trace.quality.longest_gap_s for trace in m.traces.values())
    off_j = abs(energy_j - 100.0 * m.duration_s)
    assert off_j < 3.0 * m.duration_s + 200.0 * late_s, (m, energy_j, late_s)
"""

SENSORS = ["pywatt.ScriptedSensor([100.0])", "'nvml:0'", "'cpu:estimated'"]


@pytest.mark.parametrize("sensor", SENSORS)
def test_the_interpreter_may_exit_while_measuring(sensor):
    program = f"""
import pywatt
block = pywatt.measure(sensors={sensor})
m = block.__enter__()
print(m.traces.keys() != set())
"""
    assert run(program) == "True\n"


def test_the_interpreter_may_exit_while_a_driver_hangs():
    program = """
import pywatt
sensor = pywatt.ScriptedSensor([100.0])
block = pywatt.measure(sensors=sensor)
m = block.__enter__()
sensor.hang()
print("end")
"""
    assert run(program) == "end\n"


@pytest.mark.parametrize("sensor", SENSORS)
def test_parent_and_child_of_a_fork_both_work(sensor):
    program = f"""
import os, sys, time, pywatt
{CHECK}
sensor = {sensor}
with pywatt.measure(sensors=sensor) as m:
    time.sleep(0.3)
    child = os.fork()
    if child == 0:
        time.sleep(0.2)
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    time.sleep(0.2)
if child == 0:
    assert m.energy_j is None and "forked" in m.notes[0] + m.notes[-1], m.notes
    with pywatt.measure(sensors=sensor) as own:
        time.sleep(0.6)
    assert own.energy_j > 0, own.notes
    assert not any("ended" in note for note in own.notes), own.notes
    sys.exit()
assert m.energy_j > 0, m.notes
if not m.estimated:
    check(m, m.energy_j)
assert not any("ended" in note for note in m.notes), m.notes
print("ok")
"""
    assert run(program) == "ok\n"


def test_workers_of_a_data_loader_do_not_disturb_a_measurement():
    program = f"""
import torch, pywatt
{CHECK}
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.arange(64.0)), batch_size=8, num_workers=2)
with pywatt.measure(sensors=["nvml:0", "cpu:estimated"]) as m:
    for _ in range(2):
        total = sum(float(batch.sum()) for (batch,) in loader)
assert total == 64 * 63 / 2
estimated_j = m.energy_by_sensor["cpu:estimated"]
assert estimated_j > 0
check(m, m.energy_by_sensor["nvml:0/energy"])
check(m, m.energy_j - estimated_j)  # the counter, its edges from the power too
assert not any("ended" in note for note in m.notes), m.notes
print("ok")
"""
    assert run(program) == "ok\n"
