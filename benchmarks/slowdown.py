"""How much slower a ResNet-50 runs under pywatt, and under torch.profiler, than plain."""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from comparison import Row, Target, check, median_with_error, show_s, timed
from torch.profiler import ProfilerActivity
from transformers import ResNetConfig, ResNetForImageClassification

import pywatt

BATCH = 4
PASSES = 2
LIMIT = 0.02
# With a larger standard error, a slowdown of 2 % cannot be resolved.
MOST_ERROR = 0.01


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


def compare(
    model: torch.nn.Module, images: torch.Tensor, budget_s: float
) -> tuple[np.ndarray, ...]:
    """Return slowdowns by round under pywatt and under torch.profiler, and the plain times."""

    def pass_s(profiler: AbstractContextManager[object]) -> float:
        """Time the shortest of a few passes, without the profiler's start and end."""
        with profiler, torch.inference_mode():
            return min(timed(lambda: model(images)) for _ in range(PASSES))

    rounds = []
    end_s = time.perf_counter() + budget_s
    while len(rounds) < 2 or time.perf_counter() < end_s:
        before_s = pass_s(nullcontext())
        ours_s = pass_s(pywatt.Profiler(model))
        between_s = pass_s(nullcontext())
        torch_s = pass_s(torch.profiler.profile(activities=[ProfilerActivity.CPU]))
        after_s = pass_s(nullcontext())
        # Each profiler is compared with the plain passes on both sides of it.
        ours = 2 * ours_s / (before_s + between_s) - 1
        other = 2 * torch_s / (between_s + after_s) - 1
        rounds.append((ours, other, between_s))
    return tuple(np.array(rounds).T)


def with_a_cpu_left_free(*, quick: bool) -> list[Row]:
    """As when loading data or feeding a GPU: the sampler wakes beside the work."""
    threads = max(1, torch.get_num_threads() - 1)
    return [row_of(threads, "with a CPU left free", quick=quick)]


def on_every_cpu(*, quick: bool) -> list[Row]:
    """The sampler interrupts one thread of the work, and all others wait for that thread.

    Not judged if other programs interrupt the threads too, since the result is then inconclusive.
    """
    row = row_of(torch.get_num_threads(), "on every CPU", quick=quick)
    conclusive = row.target is not None and math.isfinite(row.target.figure)
    return [row if conclusive else replace(row, target=None)]


def row_of(threads: int, where: str, *, quick: bool) -> Row:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch.profiler logs every start and end
    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig()).eval()
    side, budget_s = (32, 0.0) if quick else (224, 12.0)
    images = torch.randn(BATCH, 3, side, side)
    check_profile(model, images)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours, other, plain_s = compare(model, images, budget_s)
    finally:
        torch.set_num_threads(threads_before)
    (median, error), (other_median, other_error) = map(median_with_error, (ours, other))
    # A rough figure is conclusive too if even its upper end is within the target.
    conclusive = error <= MOST_ERROR or median + 2.0 * error <= LIMIT
    pass_s = show_s(float(np.median(plain_s)))
    return Row(
        f"slowdown of a ResNet-50 pass of {pass_s} {where}; other: torch.profiler"
        + ("" if conclusive else " (too noisy to judge)"),
        f"{median:+.1%} ± {error:.1%}",
        f"{other_median:+.1%} ± {other_error:.1%}",
        (1 + median) / (1 + other_median),
        Target(median if conclusive else math.inf, "<=", LIMIT, f"<= {LIMIT:.0%}"),
    )
