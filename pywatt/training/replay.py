"""Replay of a training: forward and backward of each module, and a step of the optimizer.

The mathematics, the blocks and their order are those of `pywatt.replay`. A module's call is caught
with its real input, and the real gradient of its output is known from an earlier pass. Forward, and
forward with backward, are repeated; the difference is backward.
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
from pywatt.replay.survey import SIGNIFICANT_SHARE, CallKind, Survey, containers, survey
from pywatt.sampling.monitor import Monitor
from pywatt.training.gradients import Call, gradients_of
from pywatt.training.ledger import Ledger
from pywatt.training.repeaters import BackwardRepeater, ForwardRepeater, OptimizerStep, StepRepeater
from pywatt.training.tree import KINDS, Tree


def entries_with_backward(
    entries: Sequence[ModuleEntry], step: OptimizerStep, device: str
) -> list[ModuleEntry]:
    """Return entries for forward calls, forward with backward, and the optimizer's step."""
    last = ModuleEntry("the optimizer", step, 0, device, None, None)
    return [*entries, *entries, last]


class TrainingReplay(Replay):
    """Runs forward and backward of modules, and the optimizer's step, in blocks.

    Takes the arguments of `Replay`, with entries from `entries_with_backward`.
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
        """Make the replay of a training.

        Args:
            ledger: sums of the training.
            entries: its modules.
            run_pass: runs forward and backward of one batch and calls `step`.
            step: marks the step of the optimizer.
            monitor: reads the sensors.
            device: device of the model.
            scale: steps over traced steps.
            budget_s: how long replay may take.
            advance: called with the seconds of the budget spent since the last call.
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
        """Find which calls a pass makes, and which of them have a backward."""
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
        kinds, of_call = list(seen.kinds), [*seen.of_call[:count], *([] for _ in range(count)), []]
        for which, kind in enumerate(seen.kinds):
            if kind.calls[0][0] == count:
                kind.calls = [(2 * count, call) for _, call in kind.calls]
                of_call[2 * count] = [which] * len(kind.calls)
                continue
            backward = [(count + k, call) for k, call in kind.calls if (k, call) in has_gradient]
            if backward:
                for k, _ in backward:
                    of_call[k].append(len(kinds))
                kinds.append(self._with_backward(backward, of_call, count))
        return Survey(kinds, of_call, seen.pass_s)

    def _with_backward(
        self, calls: list[tuple[int, int]], of_call: Sequence[list[int]], count: int
    ) -> CallKind:
        inside = containers(self._entries[:count], of_call[:count])
        kind = CallKind(calls)
        for k, _ in calls:
            same = len(of_call[k - count])
            own = self._self_time_share if k - count in inside else self._time_share
            kind.time_share += float(self._time_share[k]) / same
            kind.share += float(own[k]) / same
        if calls[0][0] - count in inside and kind.share < SIGNIFICANT_SHARE:
            kind.problem = ""
        return kind

    def _new_passes(self) -> Passes:
        return TrainingPasses(
            self._entries,
            # A block is preceded by one more pass, for the gradient.
            replace(self._seen, pass_s=2.0 * self._seen.pass_s),
            self._run_pass,
            self._clock,
            self._monitor.idle,
            self._random,
            self._report,
        )


class TrainingPasses(Passes):
    """Passes of a training step, in which forward, backward and the optimizer are repeated."""

    _gradients: dict[Call, list[torch.Tensor | None]]

    def _prepare(self, targets: Mapping[int, Mapping[int, int]]) -> None:
        """Get the gradients of the chosen calls."""
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
    """Return the time of each of `entries_with_backward` in training, with and without children."""
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
