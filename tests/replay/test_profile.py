"""Profiles by replay, against the truth of a simulated GPU."""

import math
import time

import numpy as np
import pytest
from fakes.simulated_model import FollowedClock, Kernel, Passes, Verdict, kernels
from torch import nn

import pywatt

SENSORS = {
    "100/25 and counter": {},
    "100/25": {"has_counter": 0},
    "100/100": {"has_counter": 0, "window_s": 0.1},
    "20/10": {"has_counter": 0, "update_period_s": 0.02, "window_s": 0.01},
    "100/1000": {"has_counter": 0, "has_instant": 0},
    "counter": {"has_instant": 0, "has_average": 0, "has_power_usage": 0},
}


def replay(gpus, count, *, scripted, run_s=5.0, seed=1, drift=None, options=None, **sensor):
    """Profile kernels with default settings but for `options`."""
    gpus.configure(phase_s=0.0317 * seed, counter_phase_s=0.0711 * seed, **sensor)
    clock = FollowedClock(gpus) if scripted else None
    model = kernels(gpus, count, clock=clock, drift=drift, seed=seed)
    passes = Passes(model, run_s)
    begin_s = time.perf_counter()
    profile = pywatt.profile(model, passes, sensors="nvml:0", clock=clock, **options or {})
    verdict = Verdict.of(profile, passes)
    took_s = time.perf_counter() - begin_s
    print(
        f"{verdict}, measured / predicted energy {profile.closure:.4f} ± "
        f"{profile.closure_std:.4f}, {took_s:.0f} s ({profile.method})"
    )
    return profile, verdict, took_s


@pytest.mark.parametrize("sensor", SENSORS)
def test_layers_far_below_the_sensors_resolution(gpus, sensor):
    """On a machine that does nothing else: only the method's own error remains."""
    # Determining a window of 1 s takes long, and so does each block.
    options = {"budget_s": 30.0 if sensor == "100/1000" else 12.0}
    profile, verdict, _ = replay(
        gpus, 8, scripted=True, run_s=3.0, options=options, **SENSORS[sensor]
    )
    assert profile.method == "replay"
    assert verdict.misattributed < 0.002, str(verdict)
    assert profile.closure == pytest.approx(1.0, abs=0.002)
    assert profile.closure_std > 0
    own_j = sum(layer.self_energy_j for layer in profile.layers)
    assert own_j + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-3)


def slow_drift(time_s):
    """5 % up and down within 25 s."""
    return 1.0 + 0.05 * math.sin(2 * math.pi * time_s / 25.0)


def test_noise_and_drift(gpus):
    """5 % of slow drift common to all kernels is estimated from the blocks and removed."""
    profile, verdict, _ = replay(gpus, 6, scripted=True, run_s=3.0, drift=slow_drift, noise_w=1.0)
    assert verdict.misattributed < 0.002, str(verdict)
    assert verdict.covered >= 0.8, str(verdict)
    # It is unknown where in the drift the run was, so the ratio is uncertain.
    assert 0.005 < profile.closure_std < 0.06


def later_power_is_triple(gpus, method):
    """Profile kernels of 0.1 to 0.3 ms that draw three times as much once the run is over."""
    clock = FollowedClock(gpus)
    over_s = clock.now_s() + 1.5
    drift = lambda time_s: 1.0 if time_s < over_s else 3.0  # noqa: E731
    powers_w = (150.0, 250.0, 200.0)
    model = nn.Sequential(
        *(Kernel(gpus, 1e-4 * (k + 1), w, clock, drift) for k, w in enumerate(powers_w))
    )
    return pywatt.profile(
        *(model.eval(), Passes(model, 1.0)),
        **{"warmup": 0, "sensors": "nvml:0", "method": method, "budget_s": 4.0, "clock": clock},
    )


@pytest.mark.parametrize("method", ["auto", "replay"])
def test_rows_of_an_inconsistent_replay_are_marked(gpus, method):
    profile = later_power_is_triple(gpus, method)
    assert profile.method == {"auto": "time", "replay": "replay"}[method]
    assert any("replay's figures are not reliable here" in note for note in profile.notes)
    rows = [layer for layer in profile.layers if layer.calls and layer.name]
    assert [layer.resolved for layer in rows] == [False] * 3
    assert str(profile).count("[") == 3 + 1 + 1  # the rows, the model itself and the legend


def test_equal_layers_of_a_model_are_replayed_together(gpus):
    clock = FollowedClock(gpus)
    gpus.configure(counter_phase_s=0.03)
    model = nn.Sequential(*(Kernel(gpus, 0.0005, 300.0, clock) for _ in range(6))).eval()
    passes = Passes(model, 1.0)
    profile = pywatt.profile(
        model,
        passes,
        warmup=0,
        sensors="nvml:0",
        method="replay",
        budget_s=3.0,
        clock=clock,
    )
    assert any("1 kinds of equal modules" in note for note in profile.notes)
    assert not any("not replayed" in note for note in profile.notes)
    assert Verdict.of(profile, passes).misattributed < 0.002


def test_only_profile_replays():
    with pywatt.Profiler(nn.Identity(), method="replay") as p:
        pass
    assert any("only pywatt.profile can" in note for note in p.result().notes)


def test_a_saved_profile_keeps_its_closure(gpus, tmp_path):
    profile, _, _ = replay(gpus, 3, scripted=True, run_s=1.0, options={"budget_s": 5.0})
    profile.save(tmp_path / "run.json")
    assert pywatt.load(tmp_path / "run.json").closure_std == profile.closure_std


def test_standard_deviations_are_honest(gpus):
    """Over repeated runs, the truth lies within two of them in at least 90 % of the rows."""
    away = []
    for seed in range(1, 5):
        gpus.reset()
        drift = slow_drift if seed % 2 else None
        _, verdict, _ = replay(
            gpus, 12, scripted=True, run_s=3.0, seed=seed, drift=drift, noise_w=1.0
        )
        away.extend((verdict.estimate_j - verdict.truth_j) / verdict.std_j)
    away = np.abs(away)
    print(
        f"{np.mean(away <= 2.0):.1%} within two, root mean square {np.sqrt(np.mean(away**2)):.2f}"
    )
    assert np.mean(away <= 2.0) >= 0.9
    # Nor are they far too wide: at least a third of the rows lie beyond a quarter of one.
    assert np.mean(away > 0.25) >= 0.33


@pytest.mark.accuracy
@pytest.mark.parametrize("sensor", SENSORS)
def test_twenty_layers_in_real_time(gpus, sensor):
    profile, verdict, took_s = replay(gpus, 20, scripted=False, **SENSORS[sensor])
    assert profile.method == "replay"
    assert took_s <= 60.0
    most = 0.01 if sensor == "100/25 and counter" else 0.02
    assert verdict.misattributed < most, str(verdict)
    if sensor == "100/25 and counter":
        assert verdict.worst < 0.05, str(verdict)


@pytest.mark.accuracy
def test_a_slow_sensor_with_noise_and_drift_in_real_time(gpus):
    _, verdict, _ = replay(
        gpus, 20, scripted=False, drift=slow_drift, noise_w=1.0, call_latency_s=0.001
    )
    assert verdict.misattributed < 0.03, str(verdict)


@pytest.mark.accuracy
def test_fifty_layers_in_real_time(gpus):
    _, verdict, took_s = replay(gpus, 50, scripted=False, options={"budget_s": 100.0})
    assert took_s <= 120.0
    assert verdict.misattributed < 0.02, str(verdict)
