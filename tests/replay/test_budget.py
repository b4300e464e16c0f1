"""The budget of replay, and what ends replay early."""

import math

import pytest
import torch
from fakes.simulated_model import FollowedClock, Kernel, Passes, kernels
from torch import nn

import pywatt


def test_the_budget_is_kept_and_what_it_left_out_is_noted(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 12, clock=clock, seed=2)
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
    assert any("budget_s=3" in note for note in profile.notes)
    # What was left out has a wide deviation, and the sum is still the measured energy.
    own_j = sum(layer.self_energy_j for layer in profile.layers)
    assert own_j + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-3)
    shares = [layer.energy_j_std / layer.energy_j for layer in profile.layers if layer.name]
    assert max(shares) > 0.2


def test_a_budget_that_is_too_small_for_anything_is_kept_and_noted(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock)
    passes = Passes(model, 0.5)
    begin_s = clock.now_s()
    profile = pywatt.profile(
        *(model, passes), warmup=0, sensors="nvml:0", method="replay", budget_s=0.1, clock=clock
    )
    assert any("nothing could be replayed within budget_s=0.1" in n for n in profile.notes)
    # The run, and idle time before and after it.
    assert clock.now_s() - begin_s < 2.0


def test_a_pass_longer_than_the_budget_is_ended_within_it(gpus):
    clock = FollowedClock(gpus)
    model = nn.Sequential(*(Kernel(gpus, 0.01, 300.0, clock) for _ in range(200))).eval()
    begin_s = clock.now_s()
    profile = pywatt.profile(
        *(model, Passes(model, 4.0)),
        **{"warmup": 0, "sensors": "nvml:0", "method": "replay", "budget_s": 0.5, "clock": clock},
    )
    assert any("nothing could be replayed within budget_s=0.5" in n for n in profile.notes)
    # The run takes 4 s, with idle time before and after it.
    assert clock.now_s() - begin_s < 4.0 + 0.5 + 1.0
    assert profile.method == "time"


def test_a_sensor_that_is_lost_in_replay_ends_it_and_is_noted(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock)
    begin_s = clock.now_s()

    def lose(module, inputs):
        if clock.now_s() - begin_s > 4.0:
            gpus.fail("nvmlDeviceGetFieldValues", 15)

    model.register_forward_pre_hook(lose)
    profile = pywatt.profile(
        *(model, Passes(model, 0.5)),
        **{"warmup": 0, "sensors": "nvml:0", "method": "replay", "budget_s": 20.0, "clock": clock},
    )
    assert any(n.startswith("in replay, the trace of nvml:0 ended early") for n in profile.notes)
    assert clock.now_s() - begin_s < 10.0
    assert profile.energy_j is not None


@pytest.mark.parametrize("budget_s", [0.0, -1.0, math.nan, math.inf, True, "30", None, 10**400])
def test_a_budget_must_be_a_time(budget_s):
    with pytest.raises(pywatt.ArgumentError, match="budget_s"):
        pywatt.profile(nn.Linear(2, 2), [torch.zeros(1, 2)], method="replay", budget_s=budget_s)
