"""measure_call against the truth of simulated sensors, and what it leaves as it was."""

import functools
import json
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
from simulated_model import IDLE_W, FollowedClock, Kernel

import pywatt
from pywatt.calls.energies import durations
from pywatt.renderers.call import render
from pywatt.repetition.blocks import Block
from pywatt.spans import windows

SENSORS = {
    "100/25 and counter": {"update_period_s": 0.1, "window_s": 0.025},
    "100/100": {"update_period_s": 0.1, "window_s": 0.1, "has_counter": 0},
    "20/10": {"update_period_s": 0.02, "window_s": 0.01, "has_counter": 0},
    "100/1000": {"update_period_s": 0.1, "has_instant": 0, "has_counter": 0},
}


def simulated(gpus, sensor, seed=0):
    """A clock and a GPU whose sensor has noise, and a phase of its own for each seed."""
    random = np.random.default_rng(seed)
    gpus.reset()
    gpus.configure(noise_w=1.0, update_jitter_s=0.001, **SENSORS[sensor])
    gpus.configure(phase_s=random.uniform(0, 0.1), counter_phase_s=random.uniform(0, 0.1))
    return FollowedClock(gpus, 1000.0 + random.uniform(0, 100))


def measured(gpus, sensor, duration_s, power_w, *, seed=0, **options):
    clock = simulated(gpus, sensor, seed)
    kernel = Kernel(gpus, duration_s, power_w, clock)
    return pywatt.measure_call(kernel, None, sensors="nvml:0", clock=clock, **options)


# Against the truth.


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


# Windows inside a call.


def with_windows(gpus, clock, parts):
    kernels = {name: Kernel(gpus, *part, clock) for name, part in parts.items()}

    def call():
        for name, kernel in kernels.items():
            with pywatt.window(name):
                kernel(None)

    return call


@pytest.mark.parametrize("seed", range(3))
def test_windows_inside_a_call_are_told_apart(gpus, seed):
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
    assert any("cannot tell the windows inside a call apart" in note for note in found.notes)
    # The call itself is as sure as ever.
    assert found.energy_j == pytest.approx(0.6, rel=0.01)
    assert "n/a" in render(found, 100)


# What goes wrong.


class OurError(Exception):
    pass


@pytest.mark.parametrize("kind", [OurError, KeyboardInterrupt])
def test_an_exception_goes_on_with_what_was_measured(gpus, kind):
    clock = simulated(gpus, "100/25 and counter")
    kernel, end_s = Kernel(gpus, 0.005, 500.0, clock), clock.now_s() + 4.0

    def call():
        if clock.now_s() > end_s:
            raise kind("enough")
        kernel(None)

    with pytest.raises(kind, match="enough") as caught:
        pywatt.measure_call(call, sensors="nvml:0", clock=clock, target_rel_std=1e-9)
    assert caught.value.partial.energy_j == pytest.approx(2.5, rel=0.01)
    assert "cut short" in caught.value.partial.method
    assert not windows._active
    assert not any("sampl" in thread.name for thread in threading.enumerate())


def test_an_exception_in_the_first_call_has_nothing_measured():
    with pytest.raises(ZeroDivisionError) as caught:
        pywatt.measure_call(lambda: 1 / 0, sensors=pywatt.ScriptedSensor([1.0]))
    assert not hasattr(caught.value, "partial")


def test_what_is_not_callable_is_refused():
    with pytest.raises(pywatt.ArgumentError, match="the function and its arguments apart"):
        pywatt.measure_call(3)


def generator():
    yield 1


async def coroutine():
    pass


class Streams:
    def __call__(self):
        yield 1


@pytest.mark.parametrize("fn", [generator, coroutine, functools.partial(generator), Streams()])
def test_what_works_after_its_call_is_refused(fn):
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


def test_calls_that_take_no_time_on_their_clock_are_told():
    clock = pywatt.ScriptedClock(1.0)
    with pytest.raises(pywatt.ArgumentError, match="advance it inside the function"):
        pywatt.measure_call(int, sensors=pywatt.ScriptedSensor([1.0]), clock=clock)


def test_a_budget_that_is_too_short_is_told(gpus):
    found = measured(gpus, "100/100", 0.005, 500.0, budget_s=0.5)
    assert found.blocks >= 1
    assert not found.target_reached
    assert "budget" in found.method
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
    assert str(found).startswith("energy unavailable")
    assert "unavailable" in render(found, 80)


# How it calls.


def test_arguments_and_names_like_ours_reach_the_function():
    seen = []

    def call(*args, **kwargs):
        seen.append((args, kwargs))
        time.sleep(0.001)

    bound = functools.partial(call, budget_s=7)
    sensor = pywatt.ScriptedSensor([1.0])
    found = pywatt.measure_call(bound, 1, fn=2, sensors=sensor, budget_s=0.6)
    assert seen == [((1,), {"budget_s": 7, "fn": 2})] * len(seen)
    assert found.function.endswith("call")
    # The warm-up is not among the calls that count; the readings' own ends may hold some back.
    assert 0 < found.calls < len(seen)


def test_cuda_is_waited_for_at_the_ends_of_blocks_only(monkeypatch):
    """A device that works behind the host's back: a call takes no time until it is waited for."""
    clock = pywatt.ScriptedClock(10.0)
    given, waits = [0], [0]

    def synchronize(_):
        waits[0] += 1
        clock.advance(0.002 * given[0])
        given[0] = 0

    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_reserved=lambda index: index,
        synchronize=synchronize,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))

    def call():
        given[0] += 1

    found = pywatt.measure_call(
        call, sensors=pywatt.ScriptedSensor([50.0]), clock=clock, budget_s=3.0
    )
    assert found.duration_s == pytest.approx(0.002)
    assert found.energy_j == pytest.approx(0.1)
    assert waits[0] < found.calls / 10


def test_torch_is_not_imported():
    code = (
        "import sys, pywatt; pywatt.measure_call(sum, range(1000), budget_s=0.5, "
        "sensors='cpu:estimated'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_the_estimate_live():
    before = threading.active_count()
    found = pywatt.measure_call(sum, range(50_000), sensors="cpu:estimated", budget_s=2.0)
    assert found.estimated
    assert 0 < found.energy_j < 10
    assert found.duration_s > 1e-4
    assert "estimated" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["format"] == "pywatt call"
    assert threading.active_count() == before
    assert not windows._active


def test_generate_of_a_language_model_live():
    torch = pytest.importorskip("torch", reason="measures a model of torch's")
    transformers = pytest.importorskip("transformers", reason="measures a model of it")
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=64)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.zeros(1, 4, dtype=torch.long)
    lengths = []

    def count(module, args, output):
        lengths.append(1)

    hook = model.register_forward_hook(count)
    found = pywatt.measure_call(
        model.generate,
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=8,
        min_new_tokens=8,
        pad_token_id=0,
        sensors="cpu:estimated",
        budget_s=2.0,
    )
    hook.remove()
    assert found.energy_j > 0
    assert len(lengths) >= 8 * found.calls
    assert all(parameter.grad is None for parameter in model.parameters())


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
