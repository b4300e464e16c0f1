"""The steps of a training: how many, which of them are traced, and when to look what is due."""

from __future__ import annotations

from pywatt import _core
from pywatt.support.signals import uninterrupted
from pywatt.training.hooks import TrainingHooks
from pywatt.training.sampling import StepSampling


class Steps:
    """Counts steps, and puts hooks on those that are traced.

    A step of milliseconds throws all that is not its own out of the caches, and then it takes some
    ten times longer than in a row: what can wait is done once in many steps.

    Args:
        clock: clock of the training.

    Attributes:
        batches: how many were begun with a batch.
        traced: of those, how many were traced to their end.
        unseen: how many may begin before it is looked again; the session counts them down.
        is_only_one: whether no second one comes: it is traced, though the first is not like others.
    """

    def __init__(self, clock: _core.Clock) -> None:
        self.batches = 0
        self.traced = 0
        self.unseen = 0
        self.is_only_one = False
        self._clock = clock
        self._sampling = StepSampling()
        self._since_s, self._since = 0.0, 0

    def begin(self, hooks: TrainingHooks) -> None:
        """Choose what the next steps are, of which this is the first."""
        self._since_s = self._clock.now_s()
        traced, self.unseen = self._sampling.choose(is_only_one=self.is_only_one)
        if traced:
            with uninterrupted():
                hooks.attach()

    def end(self, hooks: TrainingHooks) -> None:
        """Add up the steps since `begin`; what comes next begins anew."""
        steps, traced = self.batches - self._since, hooks.traced
        if traced:
            with uninterrupted():
                hooks.detach()
                self.traced += steps
        if steps > 0:
            self._sampling.add(self._clock.now_s() - self._since_s, steps, traced=traced)
        self._since = self.batches
        self.unseen = 0
