"""measure_call against the truth of simulated sensors."""

import numpy as np
import pytest
from fakes.measured_calls import measured, simulated
from fakes.simulated_model import IDLE_W, Kernel

import pywatt
from pywatt.calls.energies import durations
from pywatt.renderers.call import render
from pywatt.repetition.blocks import Block


@pytest.mark.parametrize(
    ("sensor", "duration_s", "power_w", "most"),
    [
        ("100/25 and counter", 0.005, 500.0, 0.01),
        ("100/25 and counter", 200e-6, 300.0, 0.02),
        ("100/25 and counter", 20e-6, 400.0, 0.02),
        ("100/25 and counter", 2.0, 400.0, 0.01),
        ("100/100", 0.005, 500.0, 0.04),
        ("100/100", 200e-6, 300.0, 0.04),
        ("100/100", 2.0, 400.0, 0.04),
        ("20/10", 0.005, 500.0, 0.04),
        ("20/10", 200e-6, 300.0, 0.04),
        ("100/1000", 0.005, 500.0, 0.04),
        ("100/1000", 200e-6, 300.0, 0.04),
    ],
)
def test_energy_of_a_call(gpus, sensor, duration_s, power_w, most):
    found = measured(gpus, sensor, duration_s, power_w)
    truth_j = power_w * duration_s
    assert found.energy_j == pytest.approx(truth_j, rel=most)
    assert abs(found.energy_j - truth_j) <= 2 * found.energy_j_std
    assert found.net_energy_j == pytest.approx((power_w - IDLE_W) * duration_s, rel=most)
    assert found.net_energy_j_std >= found.energy_j_std
    assert found.duration_s == pytest.approx(duration_s, rel=1e-6)
    assert found.power_w == pytest.approx(power_w, rel=most)
    assert abs(found.idle_power_w - IDLE_W) <= 4 * found.idle_power_w_std + 0.05
    assert found.target_reached
    assert found.energy_j_std <= 0.02 * found.energy_j
    # A block that has begun is finished, and the warm-up is not counted to the budget.
    assert found.elapsed_s <= 10.0 + 2 * duration_s + 1.0
    assert not found.estimated


def errors_and_stds(gpus, sensor, duration_s, power_w, runs, **options):
    found = [measured(gpus, sensor, duration_s, power_w, seed=k, **options) for k in range(runs)]
    errors = np.array([run.energy_j / (power_w * duration_s) - 1.0 for run in found])
    return errors, np.array([run.energy_j_std / run.energy_j for run in found])


@pytest.mark.accuracy
@pytest.mark.parametrize(
    ("duration_s", "power_w", "most"),
    [(0.005, 500.0, 0.01), (200e-6, 300.0, 0.02), (20e-6, 400.0, 0.02), (2.0, 400.0, 0.01)],
)
def test_the_truth_is_within_the_standard_deviation(gpus, duration_s, power_w, most):
    errors, stds = errors_and_stds(
        gpus, "100/25 and counter", duration_s, power_w, 50, budget_s=3.0
    )
    assert np.max(np.abs(errors)) <= most
    assert np.mean(np.abs(errors) <= 2.0 * stds) >= 0.9


@pytest.mark.slow
def test_the_standard_deviation_is_neither_too_small_nor_too_large(gpus):
    errors, stds = errors_and_stds(gpus, "100/100", 0.005, 500.0, 16)
    assert np.mean(np.abs(errors) <= 2.0 * stds) >= 0.9
    assert 0.3 < np.sqrt(np.mean((errors / stds) ** 2)) < 1.5


def test_a_call_of_uneven_power_is_counted_whole(gpus):
    clock = simulated(gpus, "100/25 and counter")
    first, then = Kernel(gpus, 0.1, 600.0, clock), Kernel(gpus, 0.7, 200.0, clock)
    found = pywatt.measure_call(lambda: then(first(None)), sensors="nvml:0", clock=clock)
    assert found.energy_j == pytest.approx(60.0 + 140.0, rel=1e-3)


def test_exact_readings_give_exact_figures():
    clock = pywatt.ScriptedClock(100.0)
    sensor = pywatt.ScriptedSensor([10.0])
    found = pywatt.measure_call(clock.advance, 0.003, sensors=sensor, clock=clock, budget_s=3.0)
    assert found.energy_j == pytest.approx(0.03, rel=1e-6)
    assert found.net_energy_j == pytest.approx(0.0, abs=1e-6)
    assert found.idle_power_w == pytest.approx(10.0, rel=1e-6)
    assert found.duration_s == pytest.approx(0.003)
    assert found.duration_s_std == pytest.approx(0.0, abs=1e-9)


def test_durations_are_of_calls_and_waits_belong_to_the_calls_before():
    # Two calls of 1 s, one of 1 s that was followed by a wait of 2 s, and three of 0.5 s.
    marks = np.array([0.0, 2.0, 3.0, 5.0, 6.5])
    median_s, spread_s = durations([Block(0, marks, np.array([0.0, 2.0, 3.0, 3.0, 6.0]))])
    # Six calls in order: three of 0.5 s around 1/4, two of 1 s around 2/3, one of 3 s around 11/12.
    assert median_s == pytest.approx(0.5 + 0.5 * (0.5 - 0.25) / (2 / 3 - 0.25))
    high_s = 1.0 + 2.0 * (0.8413 - 2 / 3) / (11 / 12 - 2 / 3)
    assert spread_s == pytest.approx((high_s - 0.5) / 2)


def with_windows(gpus, clock, parts):
    kernels = {name: Kernel(gpus, *part, clock) for name, part in parts.items()}

    def call():
        for name, kernel in kernels.items():
            with pywatt.window(name):
                kernel(None)

    return call


@pytest.mark.parametrize("seed", range(3))
def test_windows_inside_a_call_are_separated(gpus, seed):
    parts = {"prefill": (0.02, 600.0), "decode": (0.06, 300.0)}
    clock = simulated(gpus, "100/25 and counter", seed)
    call = with_windows(gpus, clock, parts)
    found = pywatt.measure_call(call, sensors="nvml:0", clock=clock)
    assert [window.name for window in found.windows] == ["prefill", "decode"]
    for window in found.windows:
        duration_s, power_w = parts[window.name]
        assert window.count == 1.0
        assert window.duration_s == pytest.approx(duration_s)
        assert window.energy_j == pytest.approx(duration_s * power_w, rel=0.03)
        assert abs(window.energy_j - duration_s * power_w) <= 3 * window.energy_j_std
    assert "prefill" in render(found, 100)


def test_windows_too_short_have_no_energy_and_a_note(gpus):
    parts = {"prefill": (0.0005, 600.0), "decode": (0.001, 300.0)}
    clock = simulated(gpus, "100/25 and counter")
    call = with_windows(gpus, clock, parts)
    found = pywatt.measure_call(call, sensors="nvml:0", clock=clock, budget_s=4.0)
    assert [window.energy_j for window in found.windows] == [None, None]
    assert [window.power_w for window in found.windows] == [None, None]
    assert [window.duration_s for window in found.windows] == pytest.approx([0.0005, 0.001])
    assert any("cannot separate the windows inside a call" in note for note in found.notes)
    # The call itself is as sure as ever.
    assert found.energy_j == pytest.approx(0.6, rel=0.01)
    assert "n/a" in render(found, 100)


@pytest.mark.accuracy
def test_in_real_time(gpus):
    gpus.configure(noise_w=1.0)
    for duration_s, power_w, most in ((0.005, 500.0, 0.01), (200e-6, 300.0, 0.02)):
        kernel = Kernel(gpus, duration_s, power_w)
        found = pywatt.measure_call(kernel, None, sensors="nvml:0")
        # Between calls the device idles for as long as the host is busy with other work.
        truth_j = duration_s * (power_w - IDLE_W)
        print(found, f"above idle {found.net_energy_j / truth_j - 1:+.3%}")
        assert found.net_energy_j == pytest.approx(truth_j, rel=most)
        mean_s = found.energy_j / found.power_w
        assert found.energy_j == pytest.approx(truth_j + IDLE_W * mean_s, rel=most)
