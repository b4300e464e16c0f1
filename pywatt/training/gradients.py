"""Gradients that modules' outputs get in a pass, and passes that leave none behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pywatt.model.modules import ModuleEntry
from pywatt.replay.calls import Intercept, intercepted
from pywatt.support.signals import uninterrupted
from pywatt.training.autograd import tensors_in

# A module, and the number of its call in a pass.
Call = tuple[int, int]


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


def why_not(
    model: nn.Module, parameters: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer
) -> str | None:
    """Say why a training step cannot be run again without a trace; None where it can."""
    hooks: tuple[str, ...] = ("_backward_hooks", "_backward_pre_hooks")
    if any(getattr(module, name, None) for module in model.modules() for name in hooks):
        return "modules have hooks of yours that run in backward"
    hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    if any(getattr(p, name, None) for p in parameters for name in hooks):
        return "parameters have hooks of yours that run in backward"
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if any(getattr(optimizer, name, None) for name in hooks):
        return "the optimizer has hooks of yours"
    return None
