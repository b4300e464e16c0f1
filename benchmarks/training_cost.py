"""Time that measuring adds to a training: measured and plain steps in turn, in one training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from comparison import Row, Target, check, show_s
from torch import nn

import pywatt
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.selection import select
from pywatt.training.profiler import default_rate_hz

# The first steps are left out: in them more is traced, once in a training.
FIRST_STEPS = 10

EPOCH_STEPS = 100

LIMIT = 0.01


class Loop(Protocol):
    """What a training loop calls on a profiler."""

    def epoch(self, loader: Iterable[Any]) -> Iterator[Any]: ...
    def phase(self, name: str) -> AbstractContextManager[None]: ...
    def log(self, *, loss: Any) -> None: ...


class Unmeasured:
    """Stands in for a profiler and measures nothing."""

    _nothing = nullcontext()

    def epoch(self, loader: Iterable[Any]) -> Iterator[Any]:
        return iter(loader)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._nothing

    def log(self, *, loss: Any) -> None:
        pass


@dataclass(frozen=True)
class Network:
    """Linear layers of one width, trained with batches of one size."""

    width: int
    layers: int
    batch: int


# Steps of some 50 ms are judged; those of 15 ms and of less than 1 ms are only reported.
JUDGED, SHORTER, SHORTEST = Network(512, 5, 512), Network(512, 5, 128), Network(128, 2, 8)


@dataclass(frozen=True)
class Added:
    """What was added to the steps of a training.

    Attributes:
        step_s: mean time of a plain step.
        slowdown: by how much measured steps took longer than plain ones next to them, as a share.
        error: standard error of `slowdown`.
        inside: time in pywatt's calls, and what tracing added to traced steps, as a share.
    """

    step_s: float
    slowdown: float
    error: float
    inside: float


class Trained:
    """A small model, and timed steps of a training loop."""

    def __init__(self, network: Network) -> None:
        torch.manual_seed(0)
        width = network.width
        hidden = [nn.Linear(width, width) for _ in range(network.layers - 1)]
        self.model = nn.Sequential(
            *(part for layer in hidden for part in (layer, nn.ReLU())), nn.Linear(width, 10)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        self.batch = (torch.randn(network.batch, width), torch.randint(10, (network.batch,)))
        self.loss_fn = nn.CrossEntropyLoss()

    def batches(self, p: Loop) -> Iterator[Any]:
        """Yield the batches of one epoch after another, endlessly."""
        while True:
            yield from p.epoch([self.batch] * EPOCH_STEPS)

    def step(self, p: Loop, batches: Iterator[Any]) -> tuple[float, float]:
        """Run a step; return the time of its work and the time in calls of `p`."""
        now_s = time.perf_counter
        begin_s = now_s()
        inputs, labels = next(batches)
        with p.phase("forward"):
            forward_s = now_s()
            loss = self.loss_fn(self.model(inputs), labels)
            forward_end_s = now_s()
        with p.phase("backward"):
            backward_s = now_s()
            loss.backward()
            backward_end_s = now_s()
        with p.phase("optimizer"):
            optimizer_s = now_s()
            self.optimizer.step()
            self.optimizer.zero_grad()
            optimizer_end_s = now_s()
        p.log(loss=loss)
        end_s = now_s()
        work_s = (forward_end_s - forward_s) + (backward_end_s - backward_s)
        work_s += optimizer_end_s - optimizer_s
        return work_s, end_s - begin_s - work_s

    @property
    def is_traced(self) -> bool:
        """Whether the modules of the latest step were traced."""
        return bool(self.model._forward_pre_hooks)

    def in_turn(self, p: pywatt.TrainingProfiler, run_s: float) -> tuple[np.ndarray, ...]:
        """Return times of plain and measured steps, shape (steps, 2), and which were traced."""
        unmeasured = Unmeasured()
        measured_batches, plain_batches = self.batches(p), self.batches(unmeasured)
        for _ in range(FIRST_STEPS):
            self.step(p, measured_batches)
        plain, measured, traced = [], [], []
        until_s = time.perf_counter() + run_s
        while time.perf_counter() < until_s:
            measured.append(self.step(p, measured_batches))
            traced.append(self.is_traced)
            plain.append(self.step(unmeasured, plain_batches))
        measured_batches.close()
        return np.array(plain), np.array(measured), np.array(traced)


def measure(*, quick: bool) -> list[Row]:
    """Measure with a CPU left free, but count the sampler's CPU time in full.

    Whole steps vary by far more than 1 %, so their difference is rough. The time inside pywatt's
    calls is sharp, and is judged. What takes a share of the time, such as tracing, happens only in
    measured steps, and so counts twice.
    """
    # Longer than a segment of a training, so that its attribution is included.
    run_s, short_s, sampler_s = (2.0, 1.0, 1.0) if quick else (90.0, 30.0, 20.0)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads_before - 1))
    try:
        judged = added_to_steps(JUDGED, run_s)
        sampler = sampler_share(sampler_s)
        others = [added_to_steps(network, short_s) for network in (SHORTER, SHORTEST)]
    finally:
        torch.set_num_threads(threads_before)
    both = judged.inside + sampler
    return [
        *(
            Row(
                f"time that measuring adds to a training's steps of {show_s(added.step_s)}; other: "
                "their slowdown between plain ones",
                f"{added.inside:.2%}",
                f"{added.slowdown:+.2%} ± {added.error:.2%}",
            )
            for added in (*others, judged)
        ),
        Row("CPU time of a training's sampler, as a share of one CPU", f"{sampler:.2%}"),
        Row(
            "the two rows above together, as if no CPU were free",
            f"{both:.2%}",
            target=Target(both, "<=", LIMIT, f"<= {LIMIT:.0%}"),
        ),
    ]


def added_to_steps(network: Network, run_s: float) -> Added:
    """Train a network for `run_s` seconds and return what measuring adds."""
    trained = Trained(network)
    with TemporaryDirectory() as folder:
        with pywatt.TrainingProfiler(trained.model, record=Path(folder, "train.json")) as p:
            plain, measured, traced = trained.in_turn(p, run_s)
        found = p.result()
    phases_j = sum(phase.energy_j or 0.0 for phase in found.phases)
    check(
        abs(phases_j - (found.energy_j or 0.0)) <= 1e-9 * phases_j,
        f"phases add up to {phases_j} J, but {found.energy_j} J were measured",
    )
    steps = FIRST_STEPS + len(measured)
    check(found.batches == steps, f"{found.batches} batches are reported of {steps}")
    # Compare each step with its two neighbors, so that a machine that drifts does not matter.
    work, asked = (measured[1:] - (plain[:-1] + plain[1:]) / 2).T
    step_s = float(np.mean(plain.sum(axis=1)))
    added = (work + asked) / step_s
    error = float(np.std(added)) / math.sqrt(len(added))
    inside = float(np.mean(asked + work * traced[1:])) / step_s
    return Added(step_s, float(np.mean(added)), error, inside)


def sampler_share(run_s: float) -> float:
    """Return the sampler's CPU time over the training's time."""
    trained, unmeasured = Trained(JUDGED), Unmeasured()
    batches = trained.batches(unmeasured)
    sensors = select("auto", devices=["cpu"]).sensors
    with Monitor(sensors, rate_hz=default_rate_hz(sensors)) as monitor:
        begin_s = time.perf_counter()
        while time.perf_counter() < begin_s + run_s:
            trained.step(unmeasured, batches)
        duration_s = time.perf_counter() - begin_s
    traces, _ = monitor.read()
    return next(iter(traces.values())).quality.sampler_cpu_s / duration_s
