"""Which steps of a training are traced: the first few, then so few that it costs hardly a thing."""

from __future__ import annotations

import math
import random
from collections import deque
from statistics import median

# The very first step is not like the others: allocators and kernels warm up in it.
FIRST_STEPS = range(1, 6)

# Tracing may take this share of the time after that, and no more than one in so many steps.
MAX_SHARE = 0.001
LEAST_APART = 20

# Each is chosen at random among so many, so as not to keep step with anything.
CHOICES = 8

# What is to be done between two steps is looked for so often, and after so many steps at least,
# since looking takes time too, whether there is anything to do or not.
LOOK_S = 1.0
LOOK_STEPS = 1000

# What a step takes is the median of so many: one in which something else was done tells nothing.
REMEMBERED = 51


class StepSampling:
    """Chooses steps, from what traced and other steps have cost so far."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._steps, self._traced_steps = 0, 0
        self._due = FIRST_STEPS.stop  # the step that is traced next, if it can be afforded
        self._time_s = 0.0
        self._plain_s: deque[float] = deque(maxlen=REMEMBERED)
        self._traced_s: deque[float] = deque(maxlen=REMEMBERED)

    def choose(self, *, is_only_one: bool = False) -> tuple[bool, int]:
        """Tell whether the step that begins now is traced, and after how many steps to ask again.

        Args:
            is_only_one: whether no other step comes.
        """
        if self._steps in FIRST_STEPS or is_only_one:
            self._due = self._later(LEAST_APART)
            return True, 1
        if len(self._plain_s) < 2 or not self._traced_s or self._plain_s[-1] <= 0:
            return False, 1
        if self._steps >= self._due:
            plain_s = median(self._plain_s)
            each_s = max(0.0, median(self._traced_s) - plain_s)
            owed_s = each_s * (self._traced_steps + 1) - MAX_SHARE * self._time_s
            if owed_s <= 0:
                self._due = self._later(LEAST_APART)
                return True, 1
            wait = math.ceil(owed_s / (MAX_SHARE * plain_s)) if plain_s > 0 else LOOK_STEPS
            self._due = self._later(min(wait, LOOK_STEPS))
        most = max(1, int(min(LOOK_S / self._plain_s[-1], LOOK_STEPS)))
        return False, min(self._due - self._steps, most)

    def add(self, duration_s: float, steps: int, *, traced: bool) -> None:
        """Take in how long steps took, putting hooks on and off included."""
        if self._steps > 0:
            (self._traced_s if traced else self._plain_s).append(duration_s / steps)
            self._traced_steps += steps if traced else 0
            self._time_s += duration_s
        self._steps += steps

    def _later(self, steps: int) -> int:
        return self._steps + steps + self._random.randrange(CHOICES)
