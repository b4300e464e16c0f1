"""How much slower a ResNet-50 is under pywatt, and under torch.profiler, than plain."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from comparison import Row, Target, check, median_ratio, show_s, timed
from torch.profiler import ProfilerActivity
from transformers import ResNetConfig, ResNetForImageClassification

import pywatt

BATCH = 4


def check_profile(model: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        plain = model(images).logits
        with pywatt.Profiler(model) as profiler:
            profiled = model(images).logits
    profile = profiler.result()
    check(torch.equal(plain, profiled), "profiling has changed the model's output")
    calls = {layer.name: layer.calls for layer in profile.layers}
    leaves = [name for name, module in model.named_modules() if not list(module.children())]
    check(all(calls[name] == 1 for name in leaves), "not every layer was seen once")
    check(profile.energy_j is not None and profile.energy_j > 0, "the profile has no energy")


def measure(*, quick: bool) -> list[Row]:
    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig()).eval()
    side, passes, budget_s = (32, 1, 0.0) if quick else (224, 3, 40.0)
    images = torch.randn(BATCH, 3, side, side)
    check_profile(model, images)

    def pass_s(profiler: AbstractContextManager[object]) -> float:
        """Shortest of a few passes; how long a profiler takes to begin and end is not theirs."""
        with profiler, torch.inference_mode():
            return min(timed(lambda: model(images)) for _ in range(passes))

    rounds = []
    end_s = time.perf_counter() + budget_s
    while not rounds or time.perf_counter() < end_s:
        before_s = pass_s(nullcontext())
        ours_s = pass_s(pywatt.Profiler(model))
        between_s = pass_s(nullcontext())
        torch_s = pass_s(torch.profiler.profile(activities=[ProfilerActivity.CPU]))
        after_s = pass_s(nullcontext())
        # Each profiler is compared with the plain passes on both sides of it.
        rounds.append((ours_s, (before_s + between_s) / 2, torch_s, (between_s + after_s) / 2))
    ours_s, beside_ours_s, torch_s, beside_torch_s = np.array(rounds).T
    ours = median_ratio(ours_s, beside_ours_s)
    other = median_ratio(torch_s, beside_torch_s)
    plain = show_s(float(np.median(beside_ours_s)))
    return [
        Row(
            f"slowdown of a ResNet-50 at {plain} a pass of {BATCH}; other: torch.profiler",
            f"{ours - 1:+.1%}",
            f"{other - 1:+.1%}",
            ours / other,
            Target(ours - 1, "<=", 0.02, "<= 2 %"),
        )
    ]
