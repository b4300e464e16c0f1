"""Repeat the parts of a training step: forward, forward with backward, and the optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from pywatt.model.reachable_state import copy_tensors
from pywatt.repetition.blocks import Block
from pywatt.repetition.timing import NotRepeatable
from pywatt.replay.calls import Repeater
from pywatt.support.signals import uninterrupted
from pywatt.training.autograd import tensors_in


class OptimizerStep(nn.Module):
    """Marks in a pass where the optimizer would step; replay steps there. Does nothing itself.

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
        """Parameters that a step changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


class ForwardRepeater(Repeater):
    """Repeats a forward call as in training, with what autograd saves for backward."""

    _on_clones: bool | None = None

    @property
    def records_gradients(self) -> bool:  # type: ignore[override]  # known at the call only
        """Whether gradients are recorded at the real call, inside which this runs."""
        return torch.is_grad_enabled()

    def _copies(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._copies()
        real, copied = tensors_in((self._args, self._kwargs)), tensors_in((args, kwargs))
        for original, copy in zip(real, copied, strict=True):
            if original.requires_grad and not copy.requires_grad:
                copy.requires_grad_()
        return args, kwargs

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._run_forward(args, kwargs)

    def _run_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._on_clones is None:
            try:
                self._on_clones = False
                return self._run(args, kwargs)
            except RuntimeError:
                # Autograd forbids in-place operations on an input that is a leaf.
                self._on_clones = True
        if self._on_clones:
            clones: dict[int, torch.Tensor] = {}
            args, kwargs = (
                copy_tensors(given, clones, torch.Tensor.clone) for given in (args, kwargs)
            )
        return self._run(args, kwargs)


class BackwardRepeater(ForwardRepeater):
    """Repeats a forward call and its backward, with the real gradient of the output.

    Attributes:
        gradients: gradient of each tensor in the output; None for one without.
    """

    gradients: Sequence[torch.Tensor | None] = ()

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pairs = [
            (tensor, gradient)
            for tensor, gradient in zip(
                tensors_in(self._run_forward(args, kwargs)), self.gradients, strict=False
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
    """Repeats a step of the optimizer, and restores the parameters and its state."""

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(self._module, OptimizerStep)
        self._module.optimizer.step()

    def block(
        self, kind: int, duration_s: float, ready: Callable[[], None] = lambda: None
    ) -> Block:
        """Step repeatedly for about `duration_s`."""
        assert isinstance(self._module, OptimizerStep)
        parameters = self._module.parameters_stepped
        try:
            kept = [p.detach().clone() for p in parameters]
        except RuntimeError as error:
            raise NotRepeatable(
                f"there is no memory to save its parameters: {error!r:.100}"
            ) from error
        try:
            return super().block(kind, duration_s, ready)
        finally:
            with uninterrupted(), torch.no_grad():
                for parameter, content in zip(parameters, kept, strict=True):
                    parameter.copy_(content)
