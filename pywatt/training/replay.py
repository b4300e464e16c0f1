"""Replay of a training: the forward and the backward of each module, and a step of the optimizer.

The mathematics, the blocks and their order are those of `pywatt.replay`. A module's call is caught
with its real input, and its output's real gradient is known from a pass before; what is repeated is
the forward call, and forward and backward together. The difference is backward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pywatt.model.modules import ModuleEntry
from pywatt.repetition.timing import NotRepeatable
from pywatt.replay.calls import Intercept, Repeater
from pywatt.replay.passes import Passes
from pywatt.replay.runner import Advance, Replay
from pywatt.replay.survey import SIGNIFICANT_SHARE, Survey, Work, containers, survey
from pywatt.sampling.monitor import Monitor
from pywatt.training.gradients import Call, gradients_of
from pywatt.training.ledger import Ledger
from pywatt.training.repeaters import BackwardRepeater, ForwardRepeater, OptimizerStep, StepRepeater
from pywatt.training.tree import KINDS, Tree


def entries_with_backward(
    entries: Sequence[ModuleEntry], step: OptimizerStep, device: str
) -> list[ModuleEntry]:
    """The modules' forward calls, the same with backward, and the optimizer's step."""
    last = ModuleEntry("the optimizer", step, 0, device, None, None)
    return [*entries, *entries, last]


class TrainingReplay(Replay):
    """Runs forward and backward of modules, and the optimizer's step, in blocks.

    Args as those of `Replay`, of entries from `entries_with_backward`.
    """

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        entries: Sequence[ModuleEntry],
        run_pass: Callable[[], None],
        step: OptimizerStep,
        monitor: Monitor,
        *,
        device: str,
        scale: float,
        budget_s: float,
        advance: Advance,
    ) -> TrainingReplay:
        """Replay what a training has done.

        Args:
            ledger: its sums.
            entries: its modules.
            run_pass: runs forward and backward of one batch and calls `step`.
            step: stands for the optimizer's step.
            monitor: reads the sensors.
            device: device of the model.
            scale: steps over those that were traced.
            budget_s: how long it may take.
            advance: told how many seconds of the budget have gone since.
        """
        sources = ledger.sources.values()
        names = [entry.name for entry in entries]
        trees = [Tree.of(source, names, scale, ledger.left_out) for source in sources]
        longest = max(trees, key=lambda tree: float(np.sum(tree.times.time_s)))
        time_s, self_time_s = times_of(longest)
        return cls(
            entries_with_backward(entries, step, device),
            run_pass,
            monitor,
            time_s=time_s,
            self_time_s=self_time_s,
            duration_s=longest.duration_s,
            sensor_models={},
            devices={source.name: source.devices for source in sources},
            budget_s=budget_s,
            advance=advance,
        )

    def _survey(self) -> Survey:
        """Find out which calls a pass makes, and which of them have a backward."""
        count = len(self._entries) // 2
        first = [*range(count), 2 * count]
        seen = survey(
            [self._entries[k] for k in first],
            self._run_pass,
            self._clock,
            self._time_share[first],
            self._self_time_share[first],
            until_s=self._start_s + self._budget_s,
        )
        has_gradient = set(gradients_of(self._entries[:count], None, self._run_pass))
        works, of_call = list(seen.works), [*seen.of_call[:count], *([] for _ in range(count)), []]
        for which, work in enumerate(seen.works):
            if work.calls[0][0] == count:
                work.calls = [(2 * count, call) for _, call in work.calls]
                of_call[2 * count] = [which] * len(work.calls)
                continue
            backward = [(count + k, call) for k, call in work.calls if (k, call) in has_gradient]
            if backward:
                for k, _ in backward:
                    of_call[k].append(len(works))
                works.append(self._with_backward(backward, of_call, count))
        return Survey(works, of_call, seen.pass_s)

    def _with_backward(
        self, calls: list[tuple[int, int]], of_call: Sequence[list[int]], count: int
    ) -> Work:
        inside = containers(self._entries[:count], of_call[:count])
        work = Work(calls)
        for k, _ in calls:
            same = len(of_call[k - count])
            own = self._self_time_share if k - count in inside else self._time_share
            work.time_share += float(self._time_share[k]) / same
            work.share += float(own[k]) / same
        if calls[0][0] - count in inside and work.share < SIGNIFICANT_SHARE:
            work.problem = ""
        return work

    def _new_passes(self) -> Passes:
        return TrainingPasses(
            self._entries,
            # What leads to a block is a pass for the gradient too.
            replace(self._seen, pass_s=2.0 * self._seen.pass_s),
            self._run_pass,
            self._clock,
            self._monitor.idle,
            self._random,
            self._tell,
        )


class TrainingPasses(Passes):
    """Passes of a training step, in which forward, backward and the optimizer are repeated."""

    _gradients: dict[Call, list[torch.Tensor | None]]

    def _prepare(self, targets: Mapping[int, Mapping[int, int]]) -> None:
        """Find the gradients that the chosen calls get."""
        count = len(self._entries) // 2
        wanted = {
            (k - count, call)
            for k, calls in targets.items()
            if count <= k < 2 * count
            for call in calls
        }
        self._gradients = {}
        if wanted:
            self._gradients = gradients_of(self._entries[:count], wanted, self._run_pass)

    def _repeater(
        self, k: int, call: int, intercept: Intercept, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Repeater:
        entry, count = self._entries[k], len(self._entries) // 2
        given = (entry.module, intercept.run, args, kwargs, entry.device, self._clock)
        if k == 2 * count:
            return StepRepeater(*given)
        if k < count:
            return ForwardRepeater(*given)
        gradients = self._gradients.get((k - count, call))
        if gradients is None:
            raise NotRepeatable("a second pass gave its call no gradient")
        repeater = BackwardRepeater(*given)
        repeater.gradients = gradients
        return repeater


def times_of(tree: Tree) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Time of each entry of `entries_with_backward` in the training, with children and without."""
    count = tree.modules
    first = tree.paths.outermost()

    def by_module(by_path: np.ndarray[Any, Any], *kinds: str) -> np.ndarray[Any, Any]:
        here = np.isin(tree.kind, [KINDS.index(kind) for kind in kinds])
        return np.bincount(tree.module[here], by_path[here], minlength=count).astype(np.float64)

    whole_s, own_s = np.where(first, tree.times.time_s, 0.0), tree.times.self_time_s
    step_s = tree.times.time_s[3:4]
    return (
        np.concatenate((by_module(whole_s, "forward"), by_module(whole_s, "backward"), step_s)),
        np.concatenate((by_module(own_s, "forward"), by_module(own_s, "backward"), step_s)),
    )
