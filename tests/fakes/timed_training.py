"""Models and loops that take scripted time forward, backward and in between."""

from __future__ import annotations

import math

import torch
from torch import nn

import pywatt

# Seconds of each phase of a step, and watts meanwhile.
STEP_S = {"data": 0.1, "forward": 0.2, "backward": 0.3, "optimizer": 0.1, "other": 0.05}
STEP_W = {"data": 50.0, "forward": 100.0, "backward": 200.0, "optimizer": 80.0, "other": 20.0}
# The energy of a whole step.
STEP_J = sum(STEP_S[name] * STEP_W[name] for name in STEP_S)


class _Ticks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock, forward_s, backward_s):
        ctx.clock, ctx.backward_s = clock, backward_s
        clock.advance(forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.advance(ctx.backward_s)
        return gradient, None, None, None


class Timed(nn.Module):
    """A linear layer that takes `forward_s` and `backward_s` of a scripted clock."""

    def __init__(self, clock, forward_s, backward_s, size=2):
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.clock, self.forward_s, self.backward_s = clock, forward_s, backward_s

    def forward(self, x):
        return _Ticks.apply(self.linear(x), self.clock, self.forward_s, self.backward_s)


class Loader:
    """Batches that take time to load."""

    def __init__(self, clock, batches, each_s=0.0):
        self.clock, self.batches, self.each_s = clock, batches, each_s

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            self.clock.advance(self.each_s)
            yield torch.ones(4, 2), torch.zeros(4, 2)


class TimedSgd(torch.optim.SGD):
    """Takes time in each step."""

    def __init__(self, parameters, clock, each_s=0.0):
        super().__init__(parameters, 0.01)
        self.clock, self.each_s = clock, each_s

    def step(self, closure=None):
        self.clock.advance(self.each_s)
        return super().step(closure)


class Training:
    """A model, loader, optimizer and sensor on one scripted clock; each step is one STEP_S."""

    def __init__(self, batches=8, layers=2):
        self.clock = pywatt.ScriptedClock()
        torch.manual_seed(0)
        self.model = nn.Sequential(
            *(
                Timed(
                    self.clock,
                    STEP_S["forward"] / layers,
                    STEP_S["backward"] / layers,
                )
                for _ in range(layers)
            )
        )
        self.loader = Loader(self.clock, batches, STEP_S["data"])
        self.optimizer = TimedSgd(self.model.parameters(), self.clock, STEP_S["optimizer"])
        starts = [0.0]
        for seconds in STEP_S.values():
            starts.append(starts[-1] + seconds)
        self.sensor = pywatt.ScriptedSensor(
            list(STEP_W.values()), starts[:-1], repeat_s=starts[-1], clock=self.clock
        )

    def step(self, p, model, batch):
        with p.phase("forward"):
            loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        with p.phase("backward"):
            loss.backward()
        with p.phase("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.clock.advance(STEP_S["other"])
        return loss

    def run(self, **options):
        chosen = {
            "step_fn": self.step,
            "sensors": self.sensor,
            "clock": self.clock,
            "method": "overlap",
            "rate_hz": 1000.0,
        }
        return pywatt.profile_training(self.model, self.loader, **chosen | options)


def adds_up(profile):
    """Phases are the measured energy, and layers with what is outside of them their phases."""
    phases_j = [phase.energy_j for phase in profile.phases]
    assert math.fsum(phases_j) == abs_near(profile.energy_j)
    for phase in ("forward", "backward"):
        found = profile.phase(phase)
        if found.outside_j is None:
            continue
        own = [getattr(layer, f"{phase}_self_energy_j") for layer in profile.layers]
        layers_j = math.fsum(j for j in own if j is not None)
        assert layers_j + found.outside_j == abs_near(found.energy_j)
    return True


class abs_near:  # noqa: N801  (reads as a function)
    """Equal to 1e-9 of what it is, or of 1."""

    def __init__(self, expected):
        self.expected = expected

    def __eq__(self, found):
        return abs(found - self.expected) <= 1e-9 * max(1.0, abs(self.expected))

    def __hash__(self):
        return 0

    def __repr__(self):
        return f"{self.expected} ± 1e-9"


def layer(profile, name):
    (found,) = [row for row in profile.layers if row.name == name]
    return found


class Raises:
    """Steps as a training does, until its step of that number, counted from 0, raises."""

    def __init__(self, training, number, error):
        self.training, self.left, self.error = training, number, error

    def __call__(self, p, model, batch):
        if self.left == 0:
            with p.phase("forward"):
                self.training.clock.advance(0.1)
                raise self.error
        self.left -= 1
        return self.training.step(p, model, batch)
