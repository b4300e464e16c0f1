"""Which steps of a training are traced: the first few, then so few that it costs hardly a thing."""

from __future__ import annotations

import math
import random

# The very first step is not like the others: allocators and kernels warm up in it.
FIRST_STEPS = range(1, 6)

# Tracing may take this share of the time after that, and no more than one in so many steps.
MAX_SHARE = 0.001
LEAST_APART = 20

# Each is chosen at random among so many, so as not to keep step with anything.
CHOICES = 8

# What is to be done between two steps is looked for so often, and after so many steps at least,
# since looking takes time too, whether there is anything to do or not.
LOOK_S = 0.25
LOOK_STEPS = 1000


class StepSampling:
    """Chooses steps, from what traced and other steps have cost so far."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._steps = 0
        self._due = FIRST_STEPS.stop  # the step that is traced next, if it can be afforded
        self._plain_s, self._plain_steps = 0.0, 0
        self._traced_s, self._traced_steps = 0.0, 0

    def choose(self, *, is_only_one: bool = False) -> tuple[bool, int]:
        """Tell whether the step that begins now is traced, and after how many steps to ask again.

        Args:
            is_only_one: whether no other step comes.
        """
        if self._steps in FIRST_STEPS or is_only_one:
            self._due = self._later(LEAST_APART)
            return True, 1
        if self._plain_steps < 2 or self._plain_s <= 0:
            return False, 1
        plain_s = self._plain_s / self._plain_steps
        if self._steps >= self._due:
            each_s = max(0.0, self._traced_s / self._traced_steps - plain_s)
            earned_s = MAX_SHARE * (self._plain_s + self._traced_s)
            owed_s = each_s * (self._traced_steps + 1) - earned_s
            if owed_s <= 0:
                self._due = self._later(LEAST_APART)
                return True, 1
            self._due = self._later(math.ceil(owed_s / (MAX_SHARE * plain_s)))
        most = max(1, int(min(LOOK_S / plain_s, LOOK_STEPS)))
        return False, min(self._due - self._steps, most)

    def add(self, duration_s: float, steps: int, *, traced: bool) -> None:
        """Take in how long steps took, putting hooks on and off included."""
        if self._steps > 0:
            if traced:
                self._traced_s += duration_s
                self._traced_steps += steps
            else:
                self._plain_s += duration_s
                self._plain_steps += steps
        self._steps += steps

    def _later(self, steps: int) -> int:
        return self._steps + steps + self._random.randrange(CHOICES)
