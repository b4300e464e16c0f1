"""What a loader gives: how a model is called with it, how many samples it has, what was right."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from pywatt.errors import ArgumentError, BatchError

Forward = Callable[[nn.Module, Any], Any]
AccuracyOf = Callable[[Any, Any], float]
CountOf = Callable[[Any, Any], int]

LABEL_KEYS = ("labels", "label", "targets", "target", "y")

# What a model raises when it is called with something it was not made for.
CALL_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)


def call_model(model: nn.Module, batch: Any) -> Any:
    """Call a model with a batch: a tensor, a mapping, or a sequence that begins with the input.

    Raises:
        BatchError: a batch of another kind.
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
def explained(batch: Any) -> Iterator[None]:
    """Say what a model was called with where it cannot be.

    Raises:
        BatchError: in place of what the model raises when it is not made for the batch.
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
        shape = f"shape {tuple(batch.shape)}" if _has_shape(batch) else "no one shape"
        return f"a tensor of {shape} and type {batch.dtype}"
    if isinstance(batch, Mapping):
        return "a mapping with " + ", ".join(f"{k!r}: {describe(v)}" for k, v in batch.items())
    if isinstance(batch, (tuple, list)):
        inside = ", ".join(describe(item) for item in batch[:4])
        more = ", ..." if len(batch) > 4 else ""
        return f"a {type(batch).__name__} of {len(batch)} ({inside}{more})"
    return f"an object of type {type(batch).__name__}"


def move(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device; what is there already is not copied.

    Raises:
        BatchError: it cannot be moved.
    """
    return _put(batch, device, anew=False)


def duplicate(batch: Any, device: torch.device) -> Any:
    """Return a batch on a device that a model may write into without changing the user's.

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
        # Of the same type, with what else it holds: a BatchEncoding has its encodings.
        moved = copy.copy(batch)
        for key, item in batch.items():
            moved[key] = _moved(item, device, anew=anew)
        return moved
    if callable(getattr(batch, "to", None)):
        # A PackedSequence knows which of its tensors stay where they are.
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


def _has_shape(tensor: torch.Tensor) -> bool:
    """Tell whether all dimensions have one size, which nested tensors' have not."""
    return not (tensor.is_nested and tensor.layout == torch.strided)


class Accuracy:
    """Adds up accuracy over batches: top-1 by itself, or what the user's function says.

    Args:
        of: ``auto``, a function (output, batch) -> mean accuracy of the batch in [0, 1], or None.
    """

    def __init__(self, of: AccuracyOf | str | None = "auto") -> None:
        self._of = of
        self._right = 0.0
        self._weight = 0
        self.note: str | None = None

    def add(self, output: Any, batch: Any) -> None:
        """Take the output for a batch into account; a function that fails is noted, not raised."""
        if self._of is None or self.note is not None:
            return
        if callable(self._of):
            self._add_users(self._of, output, batch)
        else:
            try:
                self._add_top1(output, batch)
            except Exception as error:  # types that torch cannot compare must not end the run
                self.note = f"accuracy is unavailable: top-1 cannot be found here: {error!r:.200}"

    def _add_users(self, of: AccuracyOf, output: Any, batch: Any) -> None:
        try:
            share = float(of(output, batch))
        except Exception as error:  # the user's function must not end the profile
            self.note = f"accuracy is unavailable: the accuracy function raised {error!r}"
            return
        if not (math.isfinite(share) and 0.0 <= share <= 1.0):
            self.note = (
                f"accuracy is unavailable: the accuracy function returned {share}; it must return "
                "the share of right answers in a batch, between 0 and 1"
            )
            return
        weight = samples_in(batch) or 1
        self._right += share * weight
        self._weight += weight

    def _add_top1(self, output: Any, batch: Any) -> None:
        targets = _targets(batch)
        logits = _logits(output)
        if targets is None or logits is None or logits.shape[0] != targets.shape[0]:
            return
        if bool(torch.any((targets < 0) | (targets >= logits.shape[1]))):
            self.note = (
                "accuracy is unavailable: a batch has a target outside of the model's "
                f"{logits.shape[1]} classes; give accuracy=lambda output, batch: ... to say how"
            )
            return
        right = logits.argmax(dim=1) == targets.to(logits.device)
        self._right += float(right.sum().item())
        self._weight += int(targets.shape[0])

    @property
    def value(self) -> float | None:
        """Accuracy over all batches; None where it was not measured."""
        return self._right / self._weight if self._weight and self.note is None else None


class Units:
    """Counts what the energy is told per: samples, or what the user counts.

    Args:
        unit: what is counted, such as ``token``.
        count: how many a batch has, a function (output, batch) -> how many, or None: its samples.

    Raises:
        ArgumentError: a unit that is no word, or a count that is neither.
    """

    def __init__(self, unit: str = "sample", count: CountOf | int | None = None) -> None:
        if not (isinstance(unit, str) and unit.strip()):
            raise ArgumentError(f"unit is {unit!r}, but must be a word such as 'token'")
        whole = isinstance(count, int) and not isinstance(count, bool) and count > 0
        if not (count is None or whole or callable(count)):
            raise ArgumentError(
                f"count is {count!r}, but must be a number of {unit}s in a batch, a function "
                "(output, batch) -> number, or None for its samples"
            )
        if count is None and unit != "sample":
            raise ArgumentError(f"give count= too: how many {unit}s a batch has")
        self.unit = unit
        self.total: int | None = 0
        self.note: str | None = None
        self._count = count

    def add(self, output: Any, batch: Any, samples: int | None) -> None:
        """Count a batch; a function that fails is noted, not raised."""
        if self.total is None:
            return
        count: Any = samples if self._count is None else self._count
        if callable(count):
            try:
                count = operator.index(count(output, batch))
            except Exception as error:  # the user's function must not end the profile
                self.note = f"the number of {self.unit}s is not known: count raised {error!r}"
                count = None
            else:
                if count < 0:
                    self.note = f"the number of {self.unit}s is not known: count gave {count}"
                    count = None
        self.total = None if count is None else self.total + count


def _targets(batch: Any) -> torch.Tensor | None:
    """Integer class targets of shape (samples,), if the batch has them."""
    candidate: Any = None
    if isinstance(batch, Mapping):
        candidate = next((batch[key] for key in LABEL_KEYS if key in batch), None)
    elif isinstance(batch, (tuple, list)) and len(batch) >= 2:
        candidate = batch[1]
    if not isinstance(candidate, torch.Tensor) or candidate.dim() != 1:
        return None
    whole = not candidate.is_floating_point() and not candidate.is_complex()
    return candidate if whole and candidate.dtype != torch.bool else None


def _logits(output: Any) -> torch.Tensor | None:
    """Class logits of shape (samples, classes), if the output has them."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, torch.Tensor) and output.dim() == 2 and output.is_floating_point():
        if not _has_shape(output):
            return None
        return output if output.shape[1] > 1 else None
    return None
