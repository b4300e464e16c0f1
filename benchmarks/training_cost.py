"""What measuring a training costs its time: the same steps with pywatt and without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from comparison import Row, Target, check, interleaved, median_with_error, show_s, timed
from torch import nn

import pywatt
from pywatt.training.sampling import MAX_SHARE

# The first steps of each are left out: in them more is traced, once in a training.
FIRST_STEPS = 10

LIMIT = 0.01
STEP_S = 0.01  # a short step: of a longer one it is less
MOST_ERROR = 0.005  # one standard error of a figure that tells anything


class Trained:
    """A small model whose step takes some milliseconds."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            *(layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.ReLU())),
            nn.Linear(512, 10),
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        self.batch = (torch.randn(128, 512), torch.randint(10, (128,)))
        self.loss = nn.CrossEntropyLoss()

    def plain(self, steps: int) -> None:
        for inputs, labels in [self.batch] * steps:
            self.loss(self.model(inputs), labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def profiled(self, p: pywatt.TrainingProfiler, steps: int) -> None:
        for inputs, labels in p.epoch([self.batch] * steps):
            with p.phase("forward"):
                loss = self.loss(self.model(inputs), labels)
            with p.phase("backward"):
                loss.backward()
            with p.phase("optimizer"):
                self.optimizer.step()
                self.optimizer.zero_grad()
            p.tell(loss=loss)


def profiled(trained: Trained, steps: int) -> Callable[[], float]:
    def run() -> float:
        with pywatt.TrainingProfiler(trained.model, method="time") as p:
            trained.profiled(p, FIRST_STEPS)
            passed_s = timed(lambda: trained.profiled(p, steps))
        found = p.result()
        phases_j = sum(phase.energy_j or 0.0 for phase in found.phases)
        check(
            abs(phases_j - (found.energy_j or 0.0)) <= 1e-9 * phases_j,
            f"phases add up to {phases_j} J, but {found.energy_j} J were measured",
        )
        return passed_s / steps

    return run


def measure(*, quick: bool) -> list[Row]:
    """With a CPU left free, as where a GPU is fed: the sampler wakes beside the work."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads_before - 1))
    try:
        return [
            added_to_a_step(400 if quick else 4000),
            slowdown(*((20, 2) if quick else (200, 15))),
        ]
    finally:
        torch.set_num_threads(threads_before)


def added_to_a_step(steps: int) -> Row:
    """Time of steps in which nothing is done; steps that are traced have a share of their own.

    A slowdown of 1 % cannot be told where steps vary by more; what is added to each of them can.
    """
    model = Trained().model
    batch = (torch.zeros(128, 1), torch.zeros(128))

    def run(p: pywatt.TrainingProfiler, count: int) -> None:
        for _ in p.epoch([batch] * count):
            for phase in ("forward", "backward", "optimizer"):
                with p.phase(phase):
                    pass
            p.tell(loss=1.0)

    with pywatt.TrainingProfiler(model, method="time") as p:
        run(p, FIRST_STEPS)
        added_s = min(timed(lambda: run(p, steps)) / steps for _ in range(5))
    check(p.result().energy_j is not None, "the training has no energy")
    return Row(
        f"what is added to a step of a training (of a step of {show_s(STEP_S)}: "
        f"{added_s / STEP_S:.2%}); tracing takes {MAX_SHARE:.1%} at most",
        show_s(added_s),
        target=Target(added_s / STEP_S + MAX_SHARE, "<=", LIMIT, f"<= {LIMIT:.0%}"),
    )


def slowdown(steps: int, rounds: int) -> Row:
    """The same steps with pywatt and without; not judged where they vary by too much."""
    mine, plain = Trained(), Trained()

    def run_plain() -> float:
        plain.plain(FIRST_STEPS)
        return timed(lambda: plain.plain(steps)) / steps

    ours_s, plain_s = interleaved(rounds, profiled(mine, steps), run_plain)
    for a, b in zip(mine.model.parameters(), plain.model.parameters(), strict=True):
        check(bool(torch.equal(a, b)), "the training with pywatt is another one")
    median, error = median_with_error(ours_s / plain_s - 1.0)
    # A rough figure tells too where even its upper end is within the target.
    tells = error <= MOST_ERROR or median + 2.0 * error <= LIMIT
    return Row(
        f"slowdown of a training's steps of {show_s(float(np.median(plain_s)))}"
        + ("" if tells else " (too noisy to tell)"),
        f"{median:+.1%} ± {error:.1%}",
        target=Target(median, "<=", LIMIT, f"<= {LIMIT:.0%}") if tells else None,
    )
