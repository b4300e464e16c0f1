"""Which steps of a training are traced: the first few, then so few that it costs hardly a thing."""

from __future__ import annotations

import random

# The very first step is not like the others: allocators and kernels warm up in it.
FIRST_STEPS = range(1, 6)

# Tracing may take this share of the time after that, and no more than one in so many steps.
MAX_SHARE = 0.003
LEAST_APART = 20

# Steps are chosen at random among those that may be traced, so as not to keep step with anything.
CHANCE = 0.25


class StepSampling:
    """Chooses steps, from what traced and other steps have cost so far."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._step = -1
        self._last_traced = 0
        self._plain_s, self._plain_steps = 0.0, 0
        self._traced_s, self._traced_steps = 0.0, 0

    def next_is_traced(self, *, is_only_one: bool = False) -> bool:
        """Tell whether the step that begins now is traced."""
        self._step += 1
        if self._step in FIRST_STEPS or is_only_one:
            chosen = True
        elif self._plain_steps < 2 or self._step - self._last_traced < LEAST_APART:
            chosen = False
        else:
            each_s = self._traced_s / self._traced_steps - self._plain_s / self._plain_steps
            spent_s = max(0.0, each_s) * (self._traced_steps + 1)
            affordable = spent_s <= MAX_SHARE * (self._plain_s + self._traced_s)
            chosen = affordable and self._random.random() < CHANCE
        if chosen:
            self._last_traced = self._step
        return chosen

    def add(self, duration_s: float, *, traced: bool) -> None:
        """Take in how long a step took, putting hooks on and off included."""
        if self._step == 0:
            return
        if traced:
            self._traced_s += duration_s
            self._traced_steps += 1
        else:
            self._plain_s += duration_s
            self._plain_steps += 1
