"""Probing sensors with a known load: scripted, simulated, and the estimate of this machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pywatt import ScriptedClock, ScriptedSensor, _core
from pywatt.errors import SensorError
from pywatt.metering.loads import load_of
from pywatt.metering.probe import LONGEST_S, SHORTEST_S, WARM_UP_S, by_device, phases_s, probe
from pywatt.renderers.probe import render
from pywatt.sensors.discovery import discover
from pywatt.sensors.info import OpenSensor

ON_W, OFF_W = 300.0, 80.0
STEP_S = 0.001


def scripted(seed, **publishing):
    """A sensor on whose scripted clock a probe's load comes and goes."""
    clock = ScriptedClock()
    lengths_s = np.concatenate(([WARM_UP_S, WARM_UP_S], phases_s(seed=seed)))
    time_s = np.concatenate(([0.0], np.cumsum(lengths_s)[:-1]))
    power_w = np.tile([ON_W, OFF_W], len(lengths_s) // 2)
    sensor = ScriptedSensor(power_w, time_s, clock=clock, **publishing)
    (probed,) = probe(
        [OpenSensor(sensor, None)], seed=seed, load=clock.advance, wait=clock.advance, clock=clock
    )
    return probed


@pytest.mark.parametrize(
    ("period_s", "window_s"), [(0.1, 0.025), (0.1, 0.1), (0.02, 0.01), (0.1, 1.0), (0.05, 0.02)]
)
@pytest.mark.parametrize("seed", range(3))
def test_period_and_window_of_a_sensor_are_found(period_s, window_s, seed):
    model = scripted(seed, period_s=period_s, window_s=window_s).model
    assert model.period_s == pytest.approx(period_s, rel=1e-3)
    assert model.window_s == pytest.approx(window_s, abs=3 * model.window_s_std)
    assert model.window_s == pytest.approx(window_s, rel=0.05)
    assert model.delay_s == pytest.approx(0.0, abs=3 * model.delay_s_std + 1e-3)
    assert model.notes == ()


def test_a_sensor_that_publishes_fast_is_polled_faster():
    model = scripted(0, period_s=0.004, window_s=0.004).model
    assert model.period_s == pytest.approx(0.004, rel=1e-3)
    assert model.window_s == pytest.approx(0.004, rel=0.1)


def test_a_sensor_that_is_always_fresh_says_so():
    probed = scripted(0)
    assert probed.model.period_s is None
    assert "every reading is fresh" in probed.notes[0]


def test_phases_are_locked_to_no_period():
    lengths_s = phases_s(10.0, seed=1)
    assert np.sum(lengths_s) == pytest.approx(10.0, rel=0.1)
    assert len(lengths_s) % 2 == 0
    assert SHORTEST_S <= np.min(lengths_s) < np.max(lengths_s) <= LONGEST_S
    begins_s = np.cumsum(lengths_s)[::2]
    for period_s in (0.01, 0.02, 0.1, 0.101):
        # The mean of the phases as unit vectors: near 1 if they were alike.
        assert abs(np.mean(np.exp(2j * np.pi * begins_s / period_s))) < 0.5
    assert not np.array_equal(lengths_s, phases_s(10.0, seed=2))


class Stage:
    """A scripted clock that the simulated GPUs follow, with a load that they draw power for."""

    def __init__(self, gpus, start_s=1000.0):
        self.clock = ScriptedClock(start_s)
        self._gpus = gpus
        gpus.set_time(start_s)
        gpus.set_power(OFF_W)

    def wait(self, duration_s):
        end_s = self.clock.now_s() + duration_s
        while (now_s := self.clock.now_s()) < end_s:
            self._gpus.set_time(now_s)
            self.clock.advance(min(STEP_S, end_s - now_s))
        self._gpus.set_time(end_s)

    def load(self, duration_s):
        self._gpus.set_power(ON_W)
        self.wait(duration_s)
        self._gpus.set_power(OFF_W)


def nvml_sensor(device="cuda:0"):
    (found,) = (s for s in discover().found if s.core.name == "nvml:0")
    return replace(found, device=device)


@pytest.mark.parametrize(
    "meter", [{}, {"window_s": 0.1}, {"update_period_s": 0.02, "window_s": 0.01}]
)
def test_a_simulated_gpu_under_a_load(gpus, meter):
    gpus.configure(phase_s=0.0137, **meter)
    stage = Stage(gpus)
    power, counter = probe([nvml_sensor()], load=stage.load, wait=stage.wait, clock=stage.clock)
    assert (power.sensor.name, counter.sensor.name) == ("nvml:0", "nvml:0/energy")
    assert power.model.period_s == pytest.approx(meter.get("update_period_s", 0.1), rel=1e-3)
    assert power.model.window_s == pytest.approx(meter.get("window_s", 0.025), rel=0.1)
    assert power.model.delay_s == pytest.approx(0.0, abs=2e-3)
    assert counter.model.period_s == pytest.approx(0.1, rel=1e-3)
    assert counter.model.window_s == 0.0
    assert power.sensor.reading_cost_s > 0
    assert power.notes == counter.notes == ()


@pytest.mark.parametrize("gain", [1.0, 1.05])
def test_a_counter_is_compared_with_the_power(gpus, gain):
    gpus.configure(window_s=0.1, gain=gain)
    stage = Stage(gpus)
    power, counter = probe([nvml_sensor()], load=stage.load, wait=stage.wait, clock=stage.clock)
    # A gain is in both: the ratio is their disagreement.
    assert counter.counter_ratio == pytest.approx(1.0, abs=3 * counter.counter_ratio_std)
    assert counter.counter_ratio_std < 0.05
    assert power.counter_ratio is None


def test_without_a_load_only_the_trace_is_used(gpus):
    gpus.configure(phase_s=0.0137)
    stage = Stage(gpus)
    gpus.play([(0.37, 300.0), (0.21, 100.0), (0.17, 220.0)], start_s=999.0, repeat=True)
    # torch of this machine may well use a GPU, but never one of so high a number.
    sensor = nvml_sensor("cuda:1000")
    power, counter = probe([sensor], wait=stage.wait, clock=stage.clock)
    assert power.model.period_s == pytest.approx(0.1, rel=1e-3)
    assert not power.model.window_identified
    assert "trace alone" in power.notes[0]
    assert "nvml:0: no load could be run on its device: torch" in power.notes[1]
    assert "cannot use cuda:1000" in power.notes[1]
    assert counter.model.period_s == pytest.approx(0.1, rel=1e-3)
    assert counter.notes == ()


def test_a_gpu_that_idles_and_cannot_be_loaded_shows_no_period(gpus):
    stage = Stage(gpus)
    power, _ = probe([nvml_sensor(None)], duration_s=2.0, wait=stage.wait, clock=stage.clock)
    assert power.model.period_s is None
    assert "its torch device is not known" in power.notes[-1]


def test_a_sensor_that_gives_nothing_is_left_out(gpus):
    sensor = nvml_sensor()
    gpus.fail("nvmlDeviceGetFieldValues", 15)
    stage = Stage(gpus)
    assert (
        probe([sensor], duration_s=1.0, load=stage.load, wait=stage.wait, clock=stage.clock) == ()
    )


def test_the_load_keeps_the_cpu_busy_while_it_is_on():
    clock = _core.steady_clock()
    keep_busy = load_of("cpu")
    edges_s = []

    def load(duration_s):
        start_s = clock.now_s()
        keep_busy(duration_s)
        edges_s.append((start_s, clock.now_s()))

    (sensor,) = (s for s in discover().found if s.core.name == "cpu:estimated")
    (probed,) = probe([sensor], duration_s=1.0, load=load)
    assert probed.model.window_s == 0.0
    assert "every reading is fresh" in probed.notes[0]
    start_s, end_s = np.array(edges_s).T
    on_j = probed.trace.integrate(start_s, end_s)
    off_j = probed.trace.integrate(end_s[:-1], start_s[1:])
    on_w = np.sum(on_j) / np.sum(end_s - start_s)
    off_w = np.sum(off_j) / np.sum(start_s[1:] - end_s[:-1])
    model = sensor.core.model
    # Others may want the CPU too: a tenth of one core is ours at least.
    assert on_w - model.idle_w > 0.1 * (model.full_w - model.idle_w) / model.cpus
    assert off_w - model.idle_w < 0.2 * (on_w - model.idle_w)


def test_the_load_ends_when_it_should():
    clock = _core.steady_clock()
    load = load_of("cpu")
    late_s = []
    for _ in range(20):
        start_s = clock.now_s()
        load(0.02)
        late_s.append(clock.now_s() - start_s - 0.02)
    assert min(late_s) >= 0.0
    # Others may want the CPU too, but hardly at every one of these moments.
    assert min(late_s) < 0.005


def test_a_device_that_is_not_known_has_no_load():
    with pytest.raises(SensorError, match="not known"):
        load_of(None)
    with pytest.raises(SensorError, match="not known"):
        load_of("xpu:0")


def test_sensors_of_one_device_are_probed_together():
    sensors = [
        OpenSensor(ScriptedSensor([1.0], name=name), device)
        for name, device in [("a", "cpu"), ("b", "cuda:0"), ("c", "cpu"), ("d", None), ("e", None)]
    ]
    groups = [[sensor.core.name for sensor in group] for group in by_device(sensors)]
    assert groups == [["a", "c"], ["b"], ["d"], ["e"]]


def test_the_table_has_every_figure_and_the_notes():
    found = scripted(0, period_s=0.1, window_s=0.025)
    unknown = replace(scripted(0), counter_ratio=0.9876, counter_ratio_std=0.0123)
    shown = render([found, unknown], 80)
    known_row, unknown_row = (line for line in shown.splitlines() if line.startswith("scripted "))
    assert known_row.split()[1] == "100.00"
    assert f"{found.model.window_s * 1e3:.2f} ± " in known_row
    assert unknown_row.split()[1:4] == ["n/a", "n/a", "n/a"]
    assert unknown_row.endswith("0.988 ± 0.012")
    assert "Notes\n  scripted: every reading is fresh" in shown
    assert max(map(len, shown.partition("Update:")[2].splitlines())) <= 80
    assert render([], 80) == "No sensor gave a reading, so none could be probed."


@pytest.mark.slow
def test_the_command_line_probes(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "pywatt", "sensors", "--probe", "--json"],
        env=os.environ | {"PYWATT_NVML_LIBRARY": "/nonexistent/libnvidia-ml.so.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(ran.stdout)
    assert [one["name"] for one in listed["probes"]] == [s["name"] for s in listed["sensors"]]
    estimated = listed["probes"][-1]
    assert (estimated["origin"], estimated["unit"]) == ("estimated", "J")
    assert (estimated["period_s"], estimated["window_s"]) == (None, 0.0)
    assert estimated["reading_cost_s"] > 0
    assert "fresh" in estimated["notes"][0]
    assert ran.stderr == ""
