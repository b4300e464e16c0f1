"""Collect gradients of module outputs, and run passes that leave no gradients behind."""

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

# Index of a module, and of one of its calls in a pass.
Call = tuple[int, int]


class _GradientIntercept(Intercept):
    """Captures the gradients of the outputs of a module's calls."""

    calls = 0
    keep: Callable[[int, int, int, torch.Tensor], None]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        call, self.calls = self.calls, self.calls + 1
        tensors = list(tensors_in(output))
        for place, tensor in enumerate(tensors):
            if tensor.requires_grad:
                self._watch(tensor, call, place, len(tensors))
        return output

    def _watch(self, tensor: torch.Tensor, call: int, place: int, places: int) -> None:
        def captured(gradient: torch.Tensor) -> None:
            self.keep(call, place, places, gradient)

        tensor.register_hook(captured)  # type: ignore[no-untyped-call]  # untyped in torch


def gradients_of(
    entries: Sequence[ModuleEntry],
    wanted: Collection[Call] | None,
    run_pass: Callable[[], None],
) -> dict[Call, list[torch.Tensor | None]]:
    """Run a pass and return the gradients of the tensors in the outputs of calls.

    Args:
        entries: the modules.
        wanted: the calls to return; None: all calls that get a gradient, with empty lists.
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
def preserved_gradients(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Clear the gradients of `parameters` inside the block and restore them after it."""
    kept = [(p, p.grad) for p in parameters]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        with uninterrupted():
            for parameter, gradient in kept:
                parameter.grad = gradient


def why_not_repeatable(
    model: nn.Module, parameters: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer
) -> str | None:
    """Return why a training step cannot be repeated without side effects; None if it can."""
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
