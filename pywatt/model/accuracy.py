"""Accuracy over batches, and the units that energy is reported per."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pywatt.errors import ArgumentError
from pywatt.model.batch import has_shape, samples_in

AccuracyOf = Callable[[Any, Any], float]
CountOf = Callable[[Any, Any], int]

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


class Accuracy:
    """Averages accuracy over batches: top-1, or what the user's function returns.

    Args:
        of: ``auto``, a function (output, batch) -> mean accuracy of the batch in [0, 1], or None.
    """

    def __init__(self, of: AccuracyOf | str | None = "auto") -> None:
        self._of = of
        self._correct = 0.0
        self._weight = 0
        self.note: str | None = None

    def add(self, output: Any, batch: Any) -> None:
        """Add the output for a batch; a function that fails leaves a note and raises nothing."""
        if self._of is None or self.note is not None:
            return
        if callable(self._of):
            self._add_users(self._of, output, batch)
        else:
            try:
                self._add_top1(output, batch)
            except Exception as error:  # types that torch cannot compare must not end the run
                self.note = f"accuracy is unavailable: top-1 could not be computed: {error!r:.200}"

    def _add_users(self, of: AccuracyOf, output: Any, batch: Any) -> None:
        try:
            share = float(of(output, batch))
        except Exception as error:  # the user's function must not end the profile
            self.note = f"accuracy is unavailable: the accuracy function raised {error!r}"
            return
        if not (math.isfinite(share) and 0.0 <= share <= 1.0):
            self.note = (
                f"accuracy is unavailable: the accuracy function returned {share}; it must return "
                "the share of correct answers in a batch, between 0 and 1"
            )
            return
        weight = samples_in(batch) or 1
        self._correct += share * weight
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
        correct = logits.argmax(dim=1) == targets.to(logits.device)
        self._correct += float(correct.sum().item())
        self._weight += int(targets.shape[0])

    @property
    def value(self) -> float | None:
        """Accuracy over all batches; None where it was not measured."""
        return self._correct / self._weight if self._weight and self.note is None else None


class Units:
    """Counts what energy is reported per: samples, or what the user counts.

    Args:
        unit: what is counted, such as ``token``.
        count: number in a batch, a function (output, batch) -> number, or None for its samples.

    Raises:
        ArgumentError: the unit is not a word, or the count none of these.
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
        """Count a batch; a function that fails leaves a note and raises nothing."""
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
                    self.note = f"the number of {self.unit}s is not known: count returned {count}"
                    count = None
        self.total = None if count is None else self.total + count


def _targets(batch: Any) -> torch.Tensor | None:
    """Return integer class targets of shape (samples,), if the batch has them."""
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
    """Return class logits of shape (samples, classes), if the output has them."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, torch.Tensor) and output.dim() == 2 and output.is_floating_point():
        if not has_shape(output):
            return None
        return output if output.shape[1] > 1 else None
    return None
