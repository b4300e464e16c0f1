"""Windows shorter than a few updates of their meter, against the truth of a simulated GPU.

Power every 100 ms over the 25 ms before it, and a counter that moves every 100 ms, at phases of
their own: what happens within an interval of 100 ms shows in its sum only.
"""

import numpy as np
import pytest
from fakes.boxcar_meter import A100_GAIN, meter_energy_j, real_trace
from fakes.short_windows import (
    PHASES,
    Figures,
    block,
    blocks,
    clock_of,
    named_windows,
    separate_blocks,
)
from fakes.simulated_model import IDLE_W

import pywatt
from pywatt import Span

# Kernels of a millisecond or so, of which none keeps the window's or the sensor's period.
MIXED = [(0.0011, 650.0), (0.0008, 200.0)]
DUTY = [(0.27, 300.0), (0.03, 100.0)]


@pytest.mark.parametrize("windows", [named_windows, separate_blocks])
@pytest.mark.parametrize("seed", range(3))
def test_windows_of_50_ms_back_to_back_are_within_one_percent(gpus, windows, seed):
    clock = clock_of(gpus, seed)
    gpus.play(MIXED, start_s=990.0, repeat=True)
    found = windows(gpus, clock, 100, 0.05)
    assert np.median(found.errors) <= 0.01, found
    assert np.max(found.deviations) <= 3.0, found


@pytest.mark.parametrize("windows", [named_windows, separate_blocks])
def test_windows_of_which_each_is_something_else_say_that_they_are_not_known(gpus, windows):
    """A sum over two windows determines neither of them, and nothing else does."""
    clock = clock_of(gpus, 0)
    gpus.play([(0.05, 650.0), (0.05, 200.0)], start_s=1000.0, repeat=True)
    found = windows(gpus, clock, 100, 0.05)
    assert np.max(found.deviations) <= 3.0, found


@pytest.mark.parametrize("windows", [named_windows, separate_blocks])
@pytest.mark.parametrize("seed", range(3))
def test_windows_of_200_ms_back_to_back_are_within_half_a_percent(gpus, windows, seed):
    clock = clock_of(gpus, seed)
    gpus.play(MIXED, start_s=990.0, repeat=True)
    found = windows(gpus, clock, 30, 0.2)
    assert np.median(found.errors) <= 0.005, found
    assert np.max(found.deviations) <= 3.0, found


@pytest.mark.parametrize(
    ("steps", "duration_s", "worst"),
    [([(1.0, 300.0)], 10.0, 0.005), (DUTY, 10.0, 0.01), ([(1.0, 300.0)], 0.38, 0.02)],
    ids=["300 W for 10 s", "90 % of 300 W for 10 s", "0.38 s of 300 W"],
)
def test_work_between_idle(gpus, steps, duration_s, worst):
    found = blocks(gpus, steps, duration_s)
    assert np.max(found.errors) <= worst, found


def test_a_burst_of_5_ms_that_is_waited_for_is_within_two_percent(gpus):
    found = blocks(gpus, [(1.0, 500.0)], 0.005, quiet=True)
    assert np.max(found.errors) <= 0.02, found
    assert np.max(found.deviations) <= 3.0, found


def wandering(random):
    """Idle that is another one every 10 ms, a watt up or down."""
    return [(0.01, float(watts)) for watts in IDLE_W + random.standard_normal(500)]


def test_idle_that_wanders_costs_what_the_deviation_says(gpus):
    found = []
    for seed in PHASES:
        clock = clock_of(gpus, seed)
        normal = np.random.default_rng(seed)
        gpus.play(wandering(normal), start_s=990.0, repeat=True)
        m, start_s = block(gpus, clock, [(1.0, 500.0)], 0.005, then=wandering(normal), quiet=True)
        found.append((m.energy_j, m.energy_j_std, gpus.true_energy_j(start_s, start_s + 0.005)))
    figures = Figures(*np.array(found).T)
    assert np.max(figures.deviations) <= 3.0, figures
    # 100 ms of idle that is known to a third of a watt at 10 ms steps is 0.03 J of 2.5 J.
    assert 0.01 <= np.median(figures.std_j / figures.truth_j) <= 0.03, figures
    assert np.median(figures.errors) <= 0.02, figures


def test_a_burst_that_is_not_waited_for_is_unsure_and_says_what_helps(gpus):
    for seed in PHASES:
        clock = clock_of(gpus, seed)
        m, start_s = block(gpus, clock, [(1.0, 500.0)], 0.005)
        truth_j = gpus.true_energy_j(start_s, start_s + 0.005)
        assert m.energy_j > 0.0
        assert abs(m.energy_j - truth_j) <= 2.0 * m.energy_j_std
        assert m.energy_j_std > 0.2 * m.energy_j
        assert "below the sensor's resolution; repeat with measure_call" in m.notes[-1]


def test_the_wait_is_not_in_the_duration(gpus):
    clock = clock_of(gpus, 1)
    m, _ = block(gpus, clock, [(1.0, 500.0)], 0.005, quiet=True)
    assert m.duration_s == pytest.approx(0.005, abs=1e-9)
    # Six moves of the counter before the block, and after it.
    assert 1.0 <= clock.now_s() - 1000.0 <= 1.3
    assert m.notes == ()


def test_power_that_never_stands_still_is_not_waited_for_any_longer(gpus):
    clock = clock_of(gpus, 0)
    gpus.play([(0.37, 650.0), (0.23, 200.0)], start_s=990.0, repeat=True)
    with pywatt.measure(sensors="nvml:0", clock=clock, quiet=True) as m:
        start_s = clock.now_s()
        clock.advance(0.5)
    truth_j = gpus.true_energy_j(start_s, start_s + 0.5)
    assert start_s == pytest.approx(1005.0, abs=0.1)
    assert clock.now_s() == pytest.approx(1010.5, abs=0.2)
    assert "was not steady within 5 s before the block" in m.notes[0]
    assert "was not steady within 5 s after the block" in m.notes[1]
    assert abs(m.energy_j - truth_j) <= 3.0 * m.energy_j_std


def test_an_exception_is_not_held_up_by_a_wait(gpus):
    clock = clock_of(gpus, 0)
    measuring = pywatt.measure(sensors="nvml:0", clock=clock, quiet=True)
    measuring.__enter__()
    end_s = clock.now_s()
    error = KeyError()
    measuring.__exit__(KeyError, error, None)
    assert clock.now_s() == end_s


def test_a_fast_sensor_is_not_waited_for():
    clock = pywatt.ScriptedClock()
    sensor = pywatt.ScriptedSensor([100.0])
    with pywatt.measure(sensors=sensor, clock=clock, quiet=True) as m:
        clock.advance(0.005)
    assert clock.now_s() < 0.1
    assert m.energy_j == pytest.approx(0.5)


def test_a_window_of_no_time_has_no_energy(gpus):
    clock = clock_of(gpus, 0)
    with pywatt.measure(sensors="nvml:0", clock=clock) as m:
        clock.advance(0.5)
        with pywatt.window("nothing"):
            pass
    clock.advance(0.3)
    assert m.windows[0].energy_j == 0.0


@pytest.mark.parametrize("duration_s", [0.1, 0.3, 1.0])
def test_real_a100_from_the_onset_of_its_load(duration_s):
    trace, recorded = real_trace("a100_rise")
    start_s = float(recorded["load_edge_s"][0])
    found = pywatt.attribute(trace, [Span("window", start_s, start_s + duration_s)])
    truth_j = meter_energy_j(recorded, start_s, start_s + duration_s)
    away_j = found.energy_j / A100_GAIN - truth_j
    assert abs(away_j) <= 2.0 * found.energy_j_std
    if duration_s >= 0.3:
        assert abs(away_j) <= 0.1 * truth_j


@pytest.mark.accuracy
def test_short_windows_in_real_time(gpus):
    import time

    def work(duration_s):
        end_s = time.perf_counter() + duration_s
        while time.perf_counter() < end_s:
            pass

    gpus.play(MIXED, start_s=time.monotonic() - 10.0, repeat=True)
    edges = []
    with pywatt.measure(sensors="nvml:0") as m:
        for i in range(100):
            start_s = time.monotonic()
            with pywatt.window(str(i)):
                work(0.05)
            edges.append((start_s, time.monotonic()))
    rows = zip(m.windows, edges, strict=True)
    found = Figures.of(gpus, [(w.energy_j, w.energy_j_std, *edge) for w, edge in rows])
    print(f"50 ms windows: {found}")
    assert np.median(found.errors) <= 0.01
    assert np.max(found.deviations) <= 3.0

    bursts = []
    gpus.set_power(IDLE_W)
    for _ in range(5):
        with pywatt.measure(sensors="nvml:0", quiet=True) as m:
            start_s = time.monotonic()
            gpus.play([(0.005, 500.0), (1.0, IDLE_W)], start_s=start_s)
            work(0.006)
        bursts.append((m.energy_j, m.energy_j_std, m._start_s, m._end_s))
    found = Figures.of(gpus, bursts)
    print(f"5 ms bursts: {found}")
    assert np.max(found.errors) <= 0.02
    assert np.max(found.deviations) <= 3.0
