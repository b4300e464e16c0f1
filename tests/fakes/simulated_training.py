"""A training whose true power is known: modules draw one power forward and another one backward.

Work as in simulated_model.py: the simulated GPU draws a kernel's power for exactly its time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fakes.simulated_model import IDLE_W, FollowedClock, Kernel
from fakes.simulated_nvml import SimulatedNvml


class _Pass(torch.autograd.Function):
    """Runs one kernel forward and another one backward; values and gradients go through."""

    @staticmethod
    def forward(ctx, x, weight, module):
        ctx.module = module
        module.forward_kernel(None)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        ctx.module.backward_kernel(None)
        return gradient, gradient.sum(), None


class TrainedKernel(nn.Module):
    """Takes a time and a power forward, others backward, and has one parameter.

    Args:
        gpus: the simulated devices; the first one works.
        forward: seconds and watts of a call.
        backward: seconds and watts of its backward.
        clock: what is waited on.
        frozen: whether its parameter is not trained.
    """

    def __init__(
        self,
        gpus: SimulatedNvml,
        forward: tuple[float, float],
        backward: tuple[float, float],
        clock: FollowedClock,
        *,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=not frozen)
        # No children of the module.
        self.__dict__["forward_kernel"] = Kernel(gpus, *forward, clock)
        self.__dict__["backward_kernel"] = Kernel(gpus, *backward, clock)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Pass.apply(x, self.weight, self)


class DrawingSgd(torch.optim.SGD):
    """Stochastic gradient descent that also runs a kernel in each step."""

    def __init__(self, parameters, kernel: Kernel, lr: float = 1e-3) -> None:
        super().__init__(parameters, lr)
        self.kernel = kernel

    def step(self, closure=None):
        self.kernel(None)
        return super().step(closure)


class DrawingLoader:
    """Batches that take a kernel's time each to load, at starts that keep no step with a sensor."""

    def __init__(self, batches: int, kernel: Kernel, clock: FollowedClock, seed: int = 0) -> None:
        self._batches, self._kernel, self._clock = batches, kernel, clock
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self):
        for _ in range(self._batches):
            self._kernel(None)
            self._clock.advance(self._random.uniform(0.0, 0.002))
            yield torch.ones(4, 1), torch.zeros(4, 1)


def trained_kernels(
    gpus: SimulatedNvml, count: int, clock: FollowedClock, *, seed: int = 0
) -> nn.Sequential:
    """Kernels of 0.1 to 2 ms, evenly in their logarithm, and of 150 to 700 W, at random."""
    random = np.random.default_rng(seed)

    def work() -> tuple[float, float]:
        duration_s = float(np.exp(random.uniform(np.log(1e-4), np.log(2e-3))))
        return duration_s, float(random.uniform(150.0, 700.0))

    return nn.Sequential(*(TrainedKernel(gpus, work(), work(), clock) for _ in range(count)))


@dataclass
class Drawn:
    """What everything has drawn above idle between two looks; call `look` before and after."""

    model: nn.Sequential
    optimizer: DrawingSgd
    loader: DrawingLoader

    def look(self) -> dict[tuple[str, str], float]:
        """Energy so far above idle in J, by phase and layer; "" is the phase itself."""
        seen = {
            ("optimizer", ""): float(self.optimizer.kernel._drawn_j[0]),
            ("data", ""): float(self.loader._kernel._drawn_j[0]),
        }
        for name, layer in self.model.named_children():
            seen["forward", name] = float(layer.forward_kernel._drawn_j[0])
            seen["backward", name] = float(layer.backward_kernel._drawn_j[0])
        return seen


@dataclass(frozen=True)
class TrainingVerdict:
    """A training beside the truth, each of shape (n,), idle power included."""

    names: tuple[tuple[str, str], ...]
    truth_j: np.ndarray
    estimate_j: np.ndarray
    std_j: np.ndarray

    @classmethod
    def of_phases(cls, profile, drawn_j) -> TrainingVerdict:
        names, truth, found, stds = [], [], [], []
        for phase in profile.phases:
            above = sum(j for (of, _), j in drawn_j.items() if of == phase.name)
            names.append((phase.name, ""))
            truth.append(above + IDLE_W * phase.time_s)
            found.append(phase.energy_j)
            stds.append(phase.energy_j_std)
        return cls(tuple(names), np.array(truth), np.array(found), np.array(stds))

    @classmethod
    def of_layers(cls, profile, drawn_j) -> TrainingVerdict:
        names, truth, found, stds = [], [], [], []
        for layer in profile.layers:
            for phase in ("forward", "backward"):
                if (phase, layer.name) in drawn_j:
                    time_s = getattr(layer, f"{phase}_time_s")
                    names.append((phase, layer.name))
                    truth.append(drawn_j[phase, layer.name] + IDLE_W * time_s)
                    found.append(getattr(layer, f"{phase}_energy_j"))
                    stds.append(getattr(layer, f"{phase}_energy_j_std"))
        return cls(tuple(names), np.array(truth), np.array(found), np.array(stds))

    @property
    def misattributed(self) -> float:
        """Sum of what is on the wrong one over the sum of all."""
        return float(np.sum(np.abs(self.estimate_j - self.truth_j)) / np.sum(self.truth_j))

    @property
    def worst(self) -> float:
        """Largest relative error of one that holds at least 1 % of the energy."""
        large = self.truth_j >= 0.01 * np.sum(self.truth_j)
        return float(np.max(np.abs(self.estimate_j[large] / self.truth_j[large] - 1.0)))

    @property
    def covered(self) -> bool:
        """Whether all truths lie within three standard deviations."""
        return bool(np.all(np.abs(self.estimate_j - self.truth_j) <= 3.0 * self.std_j + 1e-6))

    def __str__(self) -> str:
        rows = zip(self.names, self.truth_j, self.estimate_j, self.std_j, strict=True)
        return "\n".join(
            [f"{self.misattributed:.2%} misattributed, worst {self.worst:.2%}"]
            + [f"{n}: {t:.3f} J, found {e:.3f} ± {s:.3f}" for n, t, e, s in rows]
        )
