"""Modules with known power and time, running on the simulated GPU.

A module's call is a kernel: the device draws the module's power for exactly the module's time, then
idle power, however late the host notices its end. The host waits by spinning, as torch's
synchronize does; on a scripted clock waiting takes no real time.
"""

from __future__ import annotations

import ctypes
import time
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import pywatt
from fakes.simulated_nvml import SimulatedNvml

IDLE_W = 60.0
STEP_S = 0.00025


class FollowedClock(pywatt.ScriptedClock):
    """A scripted clock that the simulated GPUs follow, so that readings match its time."""

    def __init__(self, gpus: SimulatedNvml, start_s: float = 1000.0) -> None:
        super().__init__(start_s)
        self._gpus = gpus
        gpus.set_time(start_s)

    def advance(self, duration_s: float) -> None:
        end_s = self.now_s() + duration_s
        while (left_s := end_s - self.now_s()) > 1e-9:
            step_s = min(STEP_S, left_s)
            self._gpus.set_time(self.now_s() + step_s / 2)
            super().advance(step_s)
        self._gpus.set_time(self.now_s())


class Kernel(nn.Module):
    """Draws `power_w` for `duration_s` per call, and returns its input.

    Args:
        gpus: the simulated devices; the first one is used.
        duration_s: time of a call.
        power_w: power while it runs, idle power included.
        clock: clock to wait on; None: real time.
        drift: function of time in s, a factor of the power above idle.
    """

    def __init__(
        self,
        gpus: SimulatedNvml,
        duration_s: float,
        power_w: float,
        clock: FollowedClock | None = None,
        drift: Any = None,
    ) -> None:
        super().__init__()
        self.duration_s, self.power_w = duration_s, power_w
        self._clock, self._drift = clock, drift
        two = ctypes.c_double * 2
        self._durations, self._powers = two(duration_s, 1.0), two(power_w, IDLE_W)
        self._play = gpus._library.simulated_nvml_play
        self._device, self._count, self._once = ctypes.c_uint(0), ctypes.c_uint(2), ctypes.c_int(0)
        # Energy above idle so far. Not a Python number, which replay would restore after repeats.
        self._drawn_j = (ctypes.c_double * 1)()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start_s = time.perf_counter() if self._clock is None else self._clock.now_s()
        if self._drift is not None:
            self._powers[0] = IDLE_W + (self.power_w - IDLE_W) * self._drift(start_s)
        self._drawn_j[0] += (self._powers[0] - IDLE_W) * self.duration_s
        self._play(
            self._device,
            ctypes.c_double(start_s),
            self._count,
            self._durations,
            self._powers,
            self._once,
        )
        if self._clock is not None:
            self._clock.advance(self.duration_s)
            return x
        while time.perf_counter() < start_s + self.duration_s:
            pass
        return x


def kernels(
    gpus: SimulatedNvml, count: int, *, clock: Any = None, drift: Any = None, seed: int = 0
) -> nn.Sequential:
    """Return kernels of 20 us to 1 ms, log-uniform, and of 150 to 700 W, uniform."""
    random = np.random.default_rng(seed)
    durations_s = np.exp(random.uniform(np.log(20e-6), np.log(1e-3), count))
    powers_w = random.uniform(150.0, 700.0, count)
    return nn.Sequential(
        *(
            Kernel(gpus, float(duration_s), float(power_w), clock, drift)
            for duration_s, power_w in zip(durations_s, powers_w, strict=True)
        )
    ).eval()


def powered(model: nn.Module, gpus: SimulatedNvml, clock: FollowedClock) -> list[Kernel]:
    """Add to every module of a real model a kernel of its own on the simulated GPU.

    Time and power follow from its type and parameters, so that equal modules draw the same: 0.2 to
    2 ms and 150 to 700 W. Return the kernels, in the order of `named_modules`.
    """
    drawing = []
    homes: dict[type, type] = {}
    for module in list(model.modules()):
        shapes = [tuple(parameter.shape) for parameter in module.parameters(recurse=False)]
        chance = np.random.default_rng(zlib.crc32(repr((type(module), shapes)).encode()))
        kernel = Kernel(gpus, chance.uniform(2e-4, 2e-3), chance.uniform(150.0, 700.0), clock)
        module.__dict__["_kernel"] = kernel  # not a child of the module
        home = type(module)
        module.__class__ = homes.setdefault(home, _drawing(home))
        drawing.append(kernel)
    return drawing


def _drawing(home: type) -> type:
    def forward(self, *args, **kwargs):
        output = home.forward(self, *args, **kwargs)
        self.__dict__["_kernel"](None)
        return output

    return type(home.__name__, (home,), {"forward": forward})


class Passes:
    """A loader of enough batches for a model of kernels to run for about `duration_s`.

    `drawn_j` is the energy above idle that the kernels drew in all iterations over it. There may be
    a warm-up between the first two batches, so the first is assumed to be like the others.
    """

    def __init__(self, model: nn.Sequential, duration_s: float) -> None:
        self._model = model
        self._count = max(2, round(duration_s / sum(layer.duration_s for layer in model)))
        self.drawn_j = np.zeros(len(model))

    def __len__(self) -> int:
        return self._count

    def __iter__(self):
        yield torch.zeros(1)
        before_j = self._drawn_j()
        for _ in range(self._count - 1):
            yield torch.zeros(1)
        drawn_j = self._drawn_j() - before_j
        self.drawn_j += drawn_j * self._count / (self._count - 1)

    def _drawn_j(self):
        return np.array([float(layer._drawn_j[0]) for layer in self._model])


@dataclass(frozen=True)
class Verdict:
    """A profile of kernels and the truth, each of shape (layers,)."""

    truth_j: np.ndarray
    estimate_j: np.ndarray
    std_j: np.ndarray

    @classmethod
    def of(cls, profile, passes: Passes) -> Verdict:
        """Compare with the kernels' energy in the run, plus idle power for all of their time."""
        rows = [row for row in profile.layers if row.name]
        return cls(
            passes.drawn_j + IDLE_W * np.array([row.time_s for row in rows]),
            np.array([row.energy_j for row in rows]),
            np.array([row.energy_j_std for row in rows]),
        )

    @property
    def misattributed(self) -> float:
        """Energy on the wrong layer as a share of all energy."""
        return float(np.sum(np.abs(self.estimate_j - self.truth_j)) / np.sum(self.truth_j))

    @property
    def worst(self) -> float:
        """Largest relative error of a layer that holds at least 1 % of the energy."""
        large = self.truth_j >= 0.01 * np.sum(self.truth_j)
        return float(np.max(np.abs(self.estimate_j / self.truth_j - 1.0)[large]))

    @property
    def covered(self) -> float:
        """Share of the layers whose truth lies within two standard deviations."""
        return float(np.mean(np.abs(self.estimate_j - self.truth_j) <= 2.0 * self.std_j))

    def __str__(self) -> str:
        return (
            f"{self.misattributed:.2%} misattributed, worst {self.worst:.2%}, "
            f"{self.covered:.0%} within two standard deviations"
        )
