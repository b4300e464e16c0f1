"""Count the steps of a training, trace some of them, and decide when to check what is due."""

from __future__ import annotations

from pywatt import _core
from pywatt.support.signals import uninterrupted
from pywatt.training.hooks import TrainingHooks
from pywatt.training.sampling import StepSampling


class Steps:
    """Counts steps, and attaches hooks in those that are traced.

    A step of milliseconds evicts other code from the caches, which then takes some ten times longer
    than when run repeatedly: what can wait is done once in many steps.

    Args:
        clock: clock of the training.

    Attributes:
        batches: number of steps begun with a batch.
        traced: number of those that were traced to their end.
        until_check: steps that may begin before the next check; the profiler counts them down.
        is_only_one: whether there is one step only: it is traced, though the first is not typical.
    """

    def __init__(self, clock: _core.Clock) -> None:
        self.batches = 0
        self.traced = 0
        self.until_check = 0
        self.is_only_one = False
        self._clock = clock
        self._sampling = StepSampling()
        self._since_s, self._since = 0.0, 0

    def begin(self, hooks: TrainingHooks) -> None:
        """Begin a step, and choose whether it is traced and when to check next."""
        self._since_s = self._clock.now_s()
        traced, self.until_check = self._sampling.choose(is_only_one=self.is_only_one)
        if traced:
            with uninterrupted():
                hooks.attach()

    def end(self, hooks: TrainingHooks) -> None:
        """Count the steps since `begin`, and detach the hooks."""
        steps, traced = self.batches - self._since, hooks.traced
        if traced:
            with uninterrupted():
                hooks.detach()
                self.traced += steps
        if steps > 0:
            self._sampling.add(self._clock.now_s() - self._since_s, steps, traced=traced)
        self._since = self.batches
        self.until_check = 0
