"""What measuring a training costs its time: measured and plain steps in turn, in one training."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from comparison import Row, Target, check, show_s
from torch import nn

import pywatt
from pywatt.monitor import Monitor
from pywatt.sensors import select
from pywatt.training.session import enough_hz

# The first steps are left out: in them more is traced, once in a training.
FIRST_STEPS = 10

EPOCH_STEPS = 100

LIMIT = 0.01
MOST_ERROR = 0.004  # one standard error of a figure that tells anything


class Trained:
    """A small model whose step takes some 50 ms: what is added to each is 0.1 ms or so."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            *(layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.ReLU())),
            nn.Linear(512, 10),
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        self.batch = (torch.randn(512, 512), torch.randint(10, (512,)))
        self.loss_fn = nn.CrossEntropyLoss()

    def plain_step(self) -> None:
        inputs, labels = self.batch
        loss = self.loss_fn(self.model(inputs), labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def measured_step(self, p: pywatt.TrainingProfiler) -> None:
        inputs, labels = next(self.batches)
        with p.phase("forward"):
            loss = self.loss_fn(self.model(inputs), labels)
        with p.phase("backward"):
            loss.backward()
        with p.phase("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        p.tell(loss=loss)

    def in_turn(self, p: pywatt.TrainingProfiler, run_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Times of measured and of plain steps, each pair in either order."""
        self.batches = (
            batch for _ in itertools.count() for batch in p.epoch([self.batch] * EPOCH_STEPS)
        )
        for _ in range(FIRST_STEPS):
            self.measured_step(p)
        times_s: tuple[list[float], list[float]] = ([], [])
        until_s = time.perf_counter() + run_s
        while time.perf_counter() < until_s:
            for which in (0, 1) if len(times_s[0]) % 2 else (1, 0):
                begin_s = time.perf_counter()
                if which:
                    self.plain_step()
                else:
                    self.measured_step(p)
                times_s[which].append(time.perf_counter() - begin_s)
        self.batches.close()
        return np.array(times_s[0]), np.array(times_s[1])


def measure(*, quick: bool) -> list[Row]:
    """With a CPU left free, and the sampler's time counted as if there were none.

    Steps vary by far more than 1 %, and most from one second to the next: neighbors are compared.
    Timed in a row, or with nothing done in a step, what is added would seem to be ten times less:
    the work of a step throws its code out of the caches.
    """
    # Longer than the parts in which a training is attributed, so that this is in it too.
    run_s, sampler_s = (2.0, 1.0) if quick else (90.0, 20.0)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads_before - 1))
    try:
        step_s, added_s = added_to_steps(run_s)
        sampler = sampler_share(sampler_s)
    finally:
        torch.set_num_threads(threads_before)
    slowdown = float(np.mean(added_s)) / step_s
    error = float(np.std(added_s)) / np.sqrt(len(added_s)) / step_s
    tells = error <= MOST_ERROR
    return [
        Row(
            f"slowdown of a training's steps of {show_s(step_s)}, tracing included",
            f"{slowdown:+.2%} ± {error:.2%}",
        ),
        Row("CPU time of its sampler, as a share of one CPU", f"{sampler:.2%}"),
        Row(
            "both, as where no CPU is free" + ("" if tells else " (too noisy to tell)"),
            f"{slowdown + sampler:+.2%} ± {error:.2%}",
            target=Target(slowdown + sampler, "<=", LIMIT, f"<= {LIMIT:.0%}") if tells else None,
        ),
    ]


def added_to_steps(run_s: float) -> tuple[float, np.ndarray]:
    """Mean time of plain steps, and by how much each measured one took longer than its neighbor."""
    trained = Trained()
    with TemporaryDirectory() as folder:
        with pywatt.TrainingProfiler(trained.model, record=Path(folder, "train.json")) as p:
            measured_s, plain_s = trained.in_turn(p, run_s)
        found = p.result()
    phases_j = sum(phase.energy_j or 0.0 for phase in found.phases)
    check(
        abs(phases_j - (found.energy_j or 0.0)) <= 1e-9 * phases_j,
        f"phases add up to {phases_j} J, but {found.energy_j} J were measured",
    )
    steps = FIRST_STEPS + len(measured_s)
    check(found.batches == steps, f"{found.batches} batches were told of {steps}")
    return float(np.mean(plain_s)), measured_s - plain_s


def sampler_share(run_s: float) -> float:
    """CPU time of the thread that reads the sensors of a training, over the training's time."""
    trained = Trained()
    sensors = select("auto", devices=["cpu"]).sensors
    with Monitor(sensors, rate_hz=enough_hz(sensors)) as monitor:
        begin_s = time.perf_counter()
        while time.perf_counter() < begin_s + run_s:
            trained.plain_step()
        duration_s = time.perf_counter() - begin_s
    traces, _ = monitor.read()
    return next(iter(traces.values())).quality.sampler_cpu_s / duration_s
