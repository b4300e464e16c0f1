"""Identify calls that do the same work, so that one measurement serves them all.

Two calls are equal if their modules have the same type, configuration and parameter shapes, and
their arguments the same shapes, types and layouts. The values in the tensors may differ.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import nn

from pywatt.replay.calls import Intercept

# A module's position in its stack, as transformers names it: it does not change the work.
INDEX_NAMES = frozenset({"layer_idx", "layer_id", "layer_index", "block_idx"})

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)

# Arguments nested deeper are equal to no other.
MAX_DEPTH = 6


class _ById:
    """Represents an object in a key and keeps it alive, so that no later object gets its id."""

    __slots__ = ("_item",)

    def __init__(self, item: Any) -> None:
        self._item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self._item is other._item

    def __hash__(self) -> int:
        return id(self._item)


def call_key(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """Return a key for a call; calls with equal keys do the same work."""
    return configuration(module), signature(args), signature(dict(kwargs))


def configuration(module: nn.Module) -> Hashable:
    """Return what determines a module's work, apart from the values in its tensors."""
    return tuple((name, _own_configuration(part)) for name, part in module.named_modules())


def _own_configuration(module: nn.Module) -> Hashable:
    tensors = [*module._parameters.items(), *module._buffers.items()]
    attributes = {
        name: value
        for name, value in module.__dict__.items()
        if name not in INDEX_NAMES and not name.startswith("_") and not isinstance(value, Intercept)
    }
    return (
        type(module),
        module.extra_repr(),
        tuple((name, signature(tensor)) for name, tensor in tensors),
        signature(attributes),
    )


def signature(argument: Any, depth: int = 0) -> Hashable:
    """Return shapes, types and layouts of the tensors in an argument, and its other contents."""
    if isinstance(argument, torch.Tensor):
        return _tensor_signature(argument)
    if isinstance(argument, PLAIN):
        return type(argument), argument
    if depth < MAX_DEPTH:
        if isinstance(argument, (tuple, list)):
            return type(argument), tuple(signature(item, depth + 1) for item in argument)
        if isinstance(argument, Mapping):
            return type(argument), tuple(
                (repr(key), signature(item, depth + 1)) for key, item in argument.items()
            )
        if not callable(argument) and hasattr(argument, "__dict__"):
            return type(argument), signature(vars(argument), depth + 1)
    # The same object does the same work; others may not.
    return type(argument), _ById(argument)


def _tensor_signature(tensor: torch.Tensor) -> Hashable:
    if nn.parameter.is_lazy(tensor):
        return type(tensor), _ById(tensor)
    strides = tensor.stride() if tensor.layout == torch.strided else None
    return type(tensor), tuple(tensor.shape), tensor.dtype, tensor.device, tensor.layout, strides
