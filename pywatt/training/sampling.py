"""Choose the traced steps of a training: the first few, then so few that the cost is negligible."""

from __future__ import annotations

import math
import random
from collections import deque
from statistics import median

# Step 0 is not like the others: allocators and kernels warm up in it.
FIRST_STEPS = range(1, 6)

# After that, tracing may take this share of the time, and at most one in so many steps.
MAX_SHARE = 0.001
MIN_STEPS_APART = 20

# Each is chosen at random among so many, so as not to synchronize with anything.
CHOICES = 8

# Between two steps, what is due is checked this often, and after at most so many steps. A check
# takes time too, whether anything is due or not.
CHECK_S = 1.0
CHECK_STEPS = 1000

# The time of a step is the median of so many, since a disturbed step is not representative.
KEPT_STEPS = 51


class StepSampling:
    """Chooses steps from the times of traced and other steps so far."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._steps, self._traced_steps = 0, 0
        self._due = FIRST_STEPS.stop  # next traced step, if the time allows
        self._time_s = 0.0
        self._plain_s: deque[float] = deque(maxlen=KEPT_STEPS)
        self._traced_s: deque[float] = deque(maxlen=KEPT_STEPS)

    def choose(self, *, is_only_one: bool = False) -> tuple[bool, int]:
        """Return whether to trace the step that begins now, and after how many steps to ask again.

        Args:
            is_only_one: whether no other step follows.
        """
        if self._steps in FIRST_STEPS or is_only_one:
            self._due = self._later(MIN_STEPS_APART)
            return True, 1
        if len(self._plain_s) < 2 or not self._traced_s or self._plain_s[-1] <= 0:
            return False, 1
        if self._steps >= self._due:
            plain_s = median(self._plain_s)
            each_s = max(0.0, median(self._traced_s) - plain_s)
            owed_s = each_s * (self._traced_steps + 1) - MAX_SHARE * self._time_s
            if owed_s <= 0:
                self._due = self._later(MIN_STEPS_APART)
                return True, 1
            wait = math.ceil(owed_s / (MAX_SHARE * plain_s)) if plain_s > 0 else CHECK_STEPS
            self._due = self._later(min(wait, CHECK_STEPS))
        most = max(1, int(min(CHECK_S / self._plain_s[-1], CHECK_STEPS)))
        return False, min(self._due - self._steps, most)

    def add(self, duration_s: float, steps: int, *, traced: bool) -> None:
        """Add the time of steps, attaching and removing hooks included."""
        if self._steps > 0:
            (self._traced_s if traced else self._plain_s).append(duration_s / steps)
            self._traced_steps += steps if traced else 0
            self._time_s += duration_s
        self._steps += steps

    def _later(self, steps: int) -> int:
        return self._steps + steps + self._random.randrange(CHOICES)
