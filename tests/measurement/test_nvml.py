"""`measure` against the truth of simulated GPUs.

A counter that moves every 100 ms measures the energy of a window but for what happens at its two
edges. Work that begins and ends with the block is measured exactly; of a load that continues across
the edges and changes within 100 ms only the mean is known.
"""

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

import pywatt
from pywatt import ScriptedClock

IDLE_W = 60.0
WINDOW_S = 2.0
STEP_S = 0.001


def duty(period_s):
    """300 W for 90 % of each period, else 100 W."""
    return [(0.9 * period_s, 300.0), (0.1 * period_s, 100.0)]


def square(period_s):
    return [(period_s / 2, 650.0), (period_s / 2, 200.0)]


STEADY = {"constant": [(1.0, 300.0)]} | {f"90 % of {s} s": duty(s) for s in (1.0, 0.3, 0.13, 0.1)}
SQUARE = {f"square of {s} s": square(s) for s in (0.052, 0.1, 0.37, 1.0)}

# The default is a Hopper's: power every 100 ms over the 25 ms before, a counter every 100 ms.
METERS = {"counter of 100 ms": {}, "counter of 20 ms": {"counter_period_s": 0.02}}


@dataclass(frozen=True)
class Trial:
    """One measured window beside its truth."""

    load: str
    truth_j: float
    measurement: pywatt.Measurement

    @property
    def error(self):
        return (self.measurement.energy_j - self.truth_j) / self.truth_j

    @property
    def deviations(self):
        """The error in standard deviations; the meter shows whole millijoules."""
        std_j = max(self.measurement.energy_j_std, 1e-3)
        return abs(self.measurement.energy_j - self.truth_j) / std_j


class Stage:
    """A scripted clock that the simulated GPUs follow: a trial takes no time and is exact."""

    def __init__(self, gpus, start_s):
        self.clock = ScriptedClock(start_s)
        self._gpus = gpus
        gpus.set_time(start_s)

    def go_on(self, duration_s):
        # Readings are due in the middle of a step, when the GPUs are at their very time.
        start_s = self.clock.now_s()
        for step in range(round(duration_s / STEP_S)):
            self._gpus.set_time(start_s + (step + 0.5) * STEP_S)
            self.clock.advance(start_s + (step + 1) * STEP_S - self.clock.now_s())


def run(gpus, loads, *, continues, each, **meter):
    """Measure every load `each` times, on a GPU of its own with random phases, all at once."""
    phase = random.Random(1).random
    names = [name for name in loads for _ in range(each)]
    gpus.reset(len(names))
    stage = Stage(gpus, 1000.0)
    for i, name in enumerate(names):
        gpus.configure(i, phase_s=phase(), counter_phase_s=phase(), **meter)
        begin_s = 990.0 + phase() if continues else 1000.0
        gpus.play(loads[name], start_s=begin_s, repeat=True, device=i)
    with ExitStack() as entered:
        found = [
            entered.enter_context(pywatt.measure(sensors=f"nvml:{i}", clock=stage.clock))
            for i in range(len(names))
        ]
        stage.clock.advance(STEP_S / 2)
        stage.go_on(WINDOW_S)
    end_s = stage.clock.now_s()
    if not continues:
        for i in range(len(names)):
            gpus.play([(1.0, IDLE_W)], start_s=end_s, device=i)
    stage.go_on(0.3)
    return [
        Trial(name, gpus.true_energy_j(1000.0, end_s, device=i), m)
        for i, (name, m) in enumerate(zip(names, found, strict=True))
    ]


def errors(trials):
    """The trials that are one percent off or more, so that a failure shows them."""
    return {(t.load, f"{t.error:+.4f}") for t in trials if abs(t.error) >= 0.01}


def covered(trials):
    return sum(t.deviations <= 2 for t in trials) / len(trials)


@pytest.mark.parametrize("meter", METERS)
def test_work_between_idle_is_within_one_percent(gpus, meter):
    trials = run(gpus, STEADY | SQUARE, continues=False, each=6, **METERS[meter])
    assert errors(trials) == set()
    assert covered(trials) >= 0.9


@pytest.mark.parametrize("meter", METERS)
def test_steady_work_that_continues_is_within_one_percent(gpus, meter):
    trials = run(gpus, STEADY, continues=True, each=8, **METERS[meter])
    assert errors(trials) == set()


def test_a_square_wave_that_continues_is_within_one_percent_where_the_counter_is_fast(gpus):
    assert errors(run(gpus, SQUARE, continues=True, each=8, counter_period_s=0.02)) == set()


def test_a_square_wave_that_continues_is_within_one_percent_mostly(gpus):
    """Bound at both edges: a quarter of 450 W for a period, at most 100 ms, is 2.6 % of 850 J."""
    trials = run(gpus, SQUARE, continues=True, each=12)
    assert len(errors(trials)) <= 0.1 * len(trials)
    assert sum(abs(t.error) for t in trials) / len(trials) < 0.004
    assert max(abs(t.error) for t in trials) < 0.026


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("call_latency_s", [0.0, 0.001])
def test_real_time_is_no_different(gpus, call_latency_s):
    gpus.configure(call_latency_s=call_latency_s)
    with pywatt.measure(sensors="nvml:0") as m:
        gpus.play(duty(0.3), start_s=m._start_s, repeat=True)
        time.sleep(WINDOW_S)
    gpus.play([(1.0, IDLE_W)], start_s=m._end_s)
    truth_j = gpus.true_energy_j(m._start_s, m._end_s)
    # A reading that a busy machine takes late moves that much of the energy across an edge.
    late_j = 300.0 * m.traces["nvml:0/energy"].quality.longest_gap_s
    assert m.energy_j == pytest.approx(truth_j, rel=0.01, abs=late_j)


def test_power_alone_is_exact_where_the_load_is_constant_and_covers_all_of_the_time(gpus):
    loads = {"constant": [(1.0, 300.0)], "90 % of 1 s": duty(1.0), "square of 1 s": square(1.0)}
    trials = run(gpus, loads, continues=True, each=6, has_counter=0, window_s=0.1)
    assert errors(trials) == set()


def test_power_that_sees_a_quarter_of_the_time_says_so(gpus):
    """A load of the sensor's own period: the 25 ms that are seen are always the same part of it."""
    trials = run(gpus, {"square": square(0.1)}, continues=True, each=8, has_counter=0)
    assert max(abs(t.error) for t in trials) > 0.1
    for trial in trials:
        assert "has no energy counter" in trial.measurement.notes[-1]


def test_auto_takes_the_gpu_and_says_that_the_cpu_is_left_out(gpus):
    stage = Stage(gpus, 1000.0)
    gpus.play(square(0.37), start_s=1000.0, repeat=True)
    with pywatt.measure(clock=stage.clock) as m:
        stage.go_on(WINDOW_S)
    gpus.play([(1.0, IDLE_W)], start_s=1000.0 + WINDOW_S)
    stage.go_on(0.3)
    if set(m.traces) != {"nvml:0", "nvml:0/energy"}:
        pytest.skip("this machine has a power meter of its own")
    assert m.energy_j == pytest.approx(gpus.true_energy_j(1000.0, 1000.0 + WINDOW_S), rel=0.01)
    assert not m.estimated
    assert "no power meter covers the CPU, whose energy is left out" in m.notes[0]


def test_two_gpus_are_added(gpus):
    gpus.reset(2)
    stage = Stage(gpus, 1000.0)
    for device, power_w in enumerate((300.0, 100.0)):
        gpus.play([(1.0, power_w)], start_s=0.0, device=device)
    with pywatt.measure(sensors=["nvml:0", "nvml:1"], clock=stage.clock) as m:
        stage.go_on(1.0)
    assert m.power_w == pytest.approx(400.0, rel=0.01)
    # Power beside the counter measures the same, and is not added to it.
    assert m.energy_by_sensor == pytest.approx(
        {"nvml:0": 300.0, "nvml:0/energy": 300.0, "nvml:1": 100.0, "nvml:1/energy": 100.0}, rel=0.01
    )


def test_a_module_contains_its_gpu(gpus):
    gpus.configure(module_power_w=40.0)
    stage = Stage(gpus, 1000.0)
    with pywatt.measure(sensors="nvml:0", clock=stage.clock) as m:
        stage.go_on(1.0)
    assert m.energy_j == pytest.approx(IDLE_W, rel=0.01)
    assert m.energy_by_sensor["nvml:0/module"] == pytest.approx(100.0, rel=0.01)
