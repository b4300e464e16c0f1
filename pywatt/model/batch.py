"""What a loader yields: how to call a model with it, and how many samples it has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from pywatt.errors import BatchError

Forward = Callable[[nn.Module, Any], Any]

# What a model raises when it is called with an input it does not support.
CALL_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)


def call_model(model: nn.Module, batch: Any) -> Any:
    """Call a model with a batch: a tensor, a mapping, or a sequence that begins with the input.

    Raises:
        BatchError: the batch is of another kind.
    """
    if isinstance(batch, PackedSequence):  # a tuple by its type only
        return model(batch)
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
        if not isinstance(batch, Mapping):
            return model(batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, torch.Tensor):
        return model(batch)
    raise BatchError(
        f"the loader gave {describe(batch)}, and pywatt does not know how to call the model with "
        "it; give forward=lambda model, batch: ..."
    )


@contextmanager
def explain_call_errors(batch: Any) -> Iterator[None]:
    """Explain a failed call of a model by what it was called with.

    Raises:
        BatchError: in place of the model's own error about an unsupported batch.
    """
    try:
        yield
    except (BatchError, torch.OutOfMemoryError):
        raise
    except CALL_ERRORS as error:
        raise BatchError(
            f"the model could not be called with {describe(batch)}: {error!r}; give "
            "forward=lambda model, batch: ... to say how"
        ) from error


def describe(batch: Any) -> str:
    """Describe a batch by types and shapes, for messages."""
    if isinstance(batch, torch.Tensor):
        shape = f"shape {tuple(batch.shape)}" if has_shape(batch) else "no single shape"
        return f"a tensor of {shape} and type {batch.dtype}"
    if isinstance(batch, Mapping):
        return "a mapping with " + ", ".join(f"{k!r}: {describe(v)}" for k, v in batch.items())
    if isinstance(batch, (tuple, list)):
        inside = ", ".join(describe(item) for item in batch[:4])
        more = ", ..." if len(batch) > 4 else ""
        return f"a {type(batch).__name__} of {len(batch)} ({inside}{more})"
    return f"an object of type {type(batch).__name__}"


def move(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device; those already there are not copied.

    Raises:
        BatchError: it cannot be moved.
    """
    return _put(batch, device, anew=False)


def duplicate(batch: Any, device: torch.device) -> Any:
    """Return a copy of a batch on a device, which a model may write into.

    Raises:
        BatchError: it cannot be moved.
    """
    return _put(batch, device, anew=True)


def _put(batch: Any, device: torch.device, *, anew: bool) -> Any:
    try:
        return _moved(batch, device, anew=anew)
    except (RuntimeError, AssertionError) as error:
        raise BatchError(f"{describe(batch)} could not be moved to {device}: {error}") from error


def _moved(batch: Any, device: torch.device, *, anew: bool) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True, copy=anew)
    if isinstance(batch, MutableMapping):
        # Keep the type and what else it holds: a BatchEncoding has its encodings.
        moved = copy.copy(batch)
        for key, item in batch.items():
            moved[key] = _moved(item, device, anew=anew)
        return moved
    if callable(getattr(batch, "to", None)):
        # A PackedSequence knows which of its tensors must stay on the CPU.
        moved = batch.to(device)
        return copy.deepcopy(moved) if anew and moved is batch else moved
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(item, device, anew=anew) for item in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(_moved(item, device, anew=anew) for item in batch)
    return batch


def samples_in(batch: Any) -> int | None:
    """Return the size of the first dimension of the first tensor; None where there is none."""
    if isinstance(batch, torch.Tensor):
        return int(batch.size(0)) if batch.dim() > 0 else 1
    if isinstance(batch, PackedSequence):  # a tuple by its type only
        return int(batch.batch_sizes[0])
    if isinstance(batch, (tuple, list)):
        items: Iterable[Any] = batch
    elif isinstance(batch, Mapping):
        items = batch.values()
    else:
        return None
    for item in items:
        samples = samples_in(item)
        if samples is not None:
            return samples
    return None


def has_shape(tensor: torch.Tensor) -> bool:
    """Return whether each dimension has one size, unlike in nested tensors."""
    return not (tensor.is_nested and tensor.layout == torch.strided)
