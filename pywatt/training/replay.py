"""Replay of a training: the forward and the backward of each module, and a step of the optimizer.

The mathematics, the blocks and their order are those of `pywatt.replay`. A module's call is caught
with its real input, and its output's real gradient is known from a pass before; what is repeated is
the forward call, and forward and backward together. The difference is backward.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from pywatt.interrupts import uninterrupted
from pywatt.modules import ModuleEntry
from pywatt.replay.blocks import Block
from pywatt.replay.calls import Intercept, Repeater, intercepted
from pywatt.replay.passes import Passes
from pywatt.replay.repeat import NotRepeatable
from pywatt.replay.runner import Replay
from pywatt.replay.survey import SIGNIFICANT_SHARE, Survey, Work, containers, survey
from pywatt.training.autograd import tensors_in
from pywatt.training.tree import KINDS, Tree

# A module, and the number of its call in a pass.
Call = tuple[int, int]


class OptimizerStep(nn.Module):
    """Called in each pass where the optimizer would step, and does nothing; replay steps there.

    Args:
        optimizer: the optimizer.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.optimizer = optimizer

    def forward(self) -> None:
        """Do nothing."""

    @property
    def parameters_stepped(self) -> list[torch.Tensor]:
        """What a step changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


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


class ForwardRepeater(Repeater):
    """Repeats a forward call as training makes it, with what autograd keeps for backward."""

    _on_clones: bool | None = None

    @property
    def records_gradients(self) -> bool:  # type: ignore[override]  # known at the call only
        """As at the real call, inside which this runs."""
        return torch.is_grad_enabled()

    def _copies(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._copies()
        real, copied = tensors_in((self._args, self._kwargs)), tensors_in((args, kwargs))
        for original, copy in zip(real, copied, strict=True):
            if original.requires_grad and not copy.requires_grad:
                copy.requires_grad_()
        return args, kwargs

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._work(args, kwargs)

    def _work(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._on_clones is None:
            try:
                self._on_clones = False
                return self._run(args, kwargs)
            except RuntimeError:
                # It works in place, which autograd forbids on an input that nothing has made.
                self._on_clones = True
        if self._on_clones:
            clones: dict[int, torch.Tensor] = {}
            args, kwargs = _cloned(args, clones), _cloned(kwargs, clones)
        return self._run(args, kwargs)


class BackwardRepeater(ForwardRepeater):
    """Repeats a forward call and its backward, with the gradient that the output really gets.

    Attributes:
        gradients: gradient of each tensor in the output, None for one that gets none.
    """

    gradients: Sequence[torch.Tensor | None] = ()

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pairs = [
            (tensor, gradient)
            for tensor, gradient in zip(
                tensors_in(self._work(args, kwargs)), self.gradients, strict=False
            )
            if gradient is not None and tensor.requires_grad
        ]
        inputs: list[torch.Tensor] = [p for p in self._module.parameters() if p.requires_grad]
        inputs += [t for t in tensors_in((args, kwargs)) if t.requires_grad]
        torch.autograd.grad(
            [tensor for tensor, _ in pairs],
            inputs,
            [gradient for _, gradient in pairs],
            allow_unused=True,
        )


class StepRepeater(Repeater):
    """Repeats a step of the optimizer, and puts parameters and its state back."""

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(self._module, OptimizerStep)
        self._module.optimizer.step()

    def block(
        self, work: int, duration_s: float, ready: Callable[[], None] = lambda: None
    ) -> Block:
        """Step over and over for about `duration_s`."""
        assert isinstance(self._module, OptimizerStep)
        parameters = self._module.parameters_stepped
        try:
            kept = [p.detach().clone() for p in parameters]
        except RuntimeError as error:
            raise NotRepeatable(
                f"there is no room to keep its parameters: {error!r:.100}"
            ) from error
        try:
            return super().block(work, duration_s, ready)
        finally:
            with uninterrupted(), torch.no_grad():
                for parameter, content in zip(parameters, kept, strict=True):
                    parameter.copy_(content)


class _GradientIntercept(Intercept):
    """Sees the gradients that the outputs of a module's calls get."""

    calls = 0
    keep: Callable[[int, int, int, torch.Tensor], None]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        call, self.calls = self.calls, self.calls + 1
        tensors = list(tensors_in(output))
        for place, tensor in enumerate(tensors):
            if tensor.requires_grad:
                self._listen(tensor, call, place, len(tensors))
        return output

    def _listen(self, tensor: torch.Tensor, call: int, place: int, places: int) -> None:
        def heard(gradient: torch.Tensor) -> None:
            self.keep(call, place, places, gradient)

        tensor.register_hook(heard)  # type: ignore[no-untyped-call]  # untyped in torch


def gradients_of(
    entries: Sequence[ModuleEntry],
    wanted: Collection[Call] | None,
    run_pass: Callable[[], None],
) -> dict[Call, list[torch.Tensor | None]]:
    """Run a pass, and give the gradients that tensors in the outputs of calls get.

    Args:
        entries: the modules.
        wanted: of which calls; None: of all, and only whether there are any.
        run_pass: the pass.
    """
    found: dict[Call, list[torch.Tensor | None]] = {}

    def keep(k: int) -> Callable[[int, int, int, torch.Tensor], None]:
        def kept(call: int, place: int, places: int, gradient: torch.Tensor) -> None:
            if wanted is None:
                found.setdefault((k, call), [])
            elif (k, call) in wanted:
                mine = found.setdefault((k, call), [None] * places)
                mine[place] = gradient.detach().clone()

        return kept

    intercepts = []
    for k in range(len(entries)) if wanted is None else sorted({k for k, _ in wanted}):
        intercept = _GradientIntercept(entries[k], lambda args, kwargs: None)
        intercept.keep = keep(k)
        intercepts.append(intercept)
    with intercepted(intercepts):
        run_pass()
    return found


@contextmanager
def gradients_aside(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Let backward add to nothing inside the block, and put the gradients back after it."""
    kept = [(p, p.grad) for p in parameters]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        with uninterrupted():
            for parameter, gradient in kept:
                parameter.grad = gradient


def why_not(parameters: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer) -> str | None:
    """Say why a training step cannot be run again without a trace; None where it can."""
    if any(getattr(p, "_post_accumulate_grad_hooks", None) for p in parameters):
        return "parameters have hooks of yours that run in backward"
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if any(getattr(optimizer, name, None) for name in hooks):
        return "the optimizer has hooks of yours"
    return None


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


def _cloned(item: Any, clones: dict[int, torch.Tensor]) -> Any:
    """Copies of all tensors that autograd knows where they come from."""
    if isinstance(item, torch.Tensor):
        if id(item) not in clones:
            clones[id(item)] = item.clone()
        return clones[id(item)]
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*(_cloned(each, clones) for each in item))
    if type(item) in (tuple, list):
        return type(item)(_cloned(each, clones) for each in item)
    if type(item) is dict:
        return {key: _cloned(each, clones) for key, each in item.items()}
    return item
