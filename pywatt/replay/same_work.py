"""Which calls do the same work, so that one measurement serves them all.

Two calls are equal if their modules are of the same type, configuration and parameter shapes, and
their arguments of the same shapes, types and layouts. The values in the tensors may differ.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import nn

from pywatt.replay.calls import Intercept

# Where a module stands in its stack, by transformers' convention: it changes no work by itself.
PLACES = frozenset({"layer_idx", "layer_id", "layer_index", "block_idx"})

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)

# Deeper arguments are taken to be unlike any other.
MAX_DEPTH = 6


class _Same:
    """Stands for an object in a key, and keeps it: what is made later must not have its id."""

    __slots__ = ("_what",)

    def __init__(self, what: Any) -> None:
        self._what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._what is other._what

    def __hash__(self) -> int:
        return id(self._what)


def work_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """What a call does, as a key: equal keys do the same work."""
    return configuration(module), signature(args), signature(dict(kwargs))


def configuration(module: nn.Module) -> Hashable:
    """What makes a module work as it does, apart from the values in its tensors."""
    return tuple((name, _own_configuration(part)) for name, part in module.named_modules())


def _own_configuration(module: nn.Module) -> Hashable:
    tensors = [*module._parameters.items(), *module._buffers.items()]
    attributes = {
        name: found
        for name, found in module.__dict__.items()
        if name not in PLACES and not name.startswith("_") and not isinstance(found, Intercept)
    }
    return (
        type(module),
        module.extra_repr(),
        tuple((name, signature(tensor)) for name, tensor in tensors),
        signature(attributes),
    )


def signature(argument: Any, depth: int = 0) -> Hashable:
    """Shapes, types and layouts of the tensors in an argument, and whatever else is in it."""
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
    # The same object does the same; what another would do is not known.
    return type(argument), _Same(argument)


def _tensor_signature(tensor: torch.Tensor) -> Hashable:
    if nn.parameter.is_lazy(tensor):
        return type(tensor), _Same(tensor)
    strides = tensor.stride() if tensor.layout == torch.strided else None
    return type(tensor), tuple(tensor.shape), tensor.dtype, tensor.device, tensor.layout, strides
