"""Real architectures whose modules have simulated power, profiled as a user would."""

import os

import numpy as np
import pytest
import torch
from fakes.simulated_model import IDLE_W, FollowedClock, powered

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

import pywatt  # noqa: E402  (what comes first must be set before transformers is imported)

RUN_S = 4.0


def gpt2():
    config = transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    return transformers.GPT2LMHeadModel(config), {"input_ids": torch.arange(16).reshape(1, 16)}


def vit():
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    return transformers.ViTForImageClassification(config), {
        "pixel_values": torch.ones(1, 3, 32, 32)
    }


def resnet():
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2])
    model = transformers.ResNetForImageClassification(config)
    return model, {"pixel_values": torch.ones(1, 3, 32, 32)}


@pytest.mark.parametrize("make", [gpt2, vit, resnet])
def test_every_module_of_a_real_model_has_the_energy_that_it_drew(gpus, make):
    """With default settings: each module draws for 0.2 to 2 ms, the sensor updates every 100 ms.

    Containers also have work of their own, which is their energy less that of their children.
    """
    torch.manual_seed(0)
    model, batch = make()
    clock = FollowedClock(gpus)
    drawing = powered(model.eval(), gpus, clock)
    one = sum(kernel.duration_s for kernel in drawing)
    drawn_j = []

    def batches():
        drawn_j.append([float(kernel._drawn_j[0]) for kernel in drawing])
        for _ in range(round(RUN_S / one)):
            yield batch
        drawn_j.append([float(kernel._drawn_j[0]) for kernel in drawing])

    profile = pywatt.profile(model, batches(), sensors="nvml:0", clock=clock, warmup=0)
    assert profile.method == "replay", profile.notes
    assert "the run alone does not resolve the layers" in profile.method_reason
    rows = [row for row in profile.layers if row.calls > 0]
    ran = [row.calls > 0 for row in profile.layers]
    own_j = np.array([row.self_energy_j for row in rows])
    own_s = np.array([row.self_time_s for row in rows])
    std_j = np.array([row.self_energy_j_std for row in rows])
    truth_j = np.subtract(*drawn_j[::-1])[ran] + IDLE_W * own_s
    misattributed = np.sum(np.abs(own_j - truth_j)) / np.sum(truth_j)
    within = np.mean(np.abs(own_j - truth_j) <= 2.0 * std_j)
    print(f"{misattributed:.2%} misattributed, {within:.0%} within two standard deviations")
    assert misattributed < 0.005
    assert within >= 0.9
    assert np.sum(own_j) + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-9)
    assert profile.closure == pytest.approx(1.0, abs=0.01)
