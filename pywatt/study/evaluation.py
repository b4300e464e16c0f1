"""How well a model does on the test, and how large it is: one pass that is not measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pywatt.errors import StudyError
from pywatt.model.batch import Accuracy, call_model, move, samples_in

NO_FLOPS = "FLOPs are not known: torch's FlopCounterMode counts none of the model's operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a pass over the test tells. None where not known.

    Attributes:
        accuracy: what the metric says, 0 to 1.
        accuracy_std: one standard deviation of it, the test being a draw of all that there could
            be.
        samples: items in the test.
        batches: how many batches they come in.
        flops: of one sample, a multiplication and an addition counted as two.
        notes: what a reader has to know.
    """

    accuracy: float
    accuracy_std: float | None
    samples: int | None
    batches: int
    flops: float | None
    notes: tuple[str, ...]


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    metric: Any,
    *,
    forward: Callable[[nn.Module, Any], Any] | None,
    device: torch.device,
) -> Evaluation:
    """Go once through the test.

    Args:
        model: the model, in eval mode.
        loader: batches of the test.
        metric: a function (output, batch) -> share in [0, 1], whose mean over the samples counts;
            an object with ``update(output, batch)``, ``compute()`` and, where it knows the standard
            deviation of that, ``std()``; None: top-1.
        forward: a function (model, batch) -> output; None: the model is called with the input.
        device: where batches are moved.

    Raises:
        StudyError: the test is empty, or the metric gives no share in [0, 1].
        Exception: whatever the model, the loader or the metric raises.
    """
    call = call_model if forward is None else forward
    judge = _Mean(metric) if metric is None or not hasattr(metric, "update") else _Whole(metric)
    samples: int | None = 0
    batches, flops = 0, None
    notes: list[str] = []
    with torch.no_grad():
        for batch in loader:
            moved = move(batch, device)
            size = samples_in(moved)
            if batches == 0:
                with counted_flops() as counter:
                    output = call(model, moved)
                counted = counter.get_total_flops()
                flops = counted / size if counted and size else None
                if not counted:
                    notes.append(NO_FLOPS)
            else:
                output = call(model, moved)
            judge.add(output, moved)
            samples = None if samples is None or size is None else samples + size
            batches += 1
    if not batches:
        raise StudyError("the test loader gave no batch: the data factory must give one that does")
    accuracy = judge.accuracy()
    std = judge.std()
    return Evaluation(
        accuracy=accuracy,
        accuracy_std=_most_std(accuracy, samples) if std is None else std,
        samples=samples,
        batches=batches,
        flops=flops,
        notes=tuple(notes),
    )


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count inside, with attention and encoder layers in parts that FlopCounterMode knows.

    It counts matrix products, convolutions and some kinds of attention, in their forms for GPUs,
    and knows neither the fused path of nn.TransformerEncoderLayer nor the CPU's fused attention.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _most_std(accuracy: float, samples: int | None) -> float | None:
    """The standard deviation of a mean over so many samples, at most.

    Of shares in [0, 1] none vary more than those that are all 0 or 1. Of these it is the standard
    deviation that Laplace's rule of succession gives, so that 10 of 10 are not taken for certain:
    that of a Beta distribution with right + 1 and wrong + 1.
    """
    if not samples:
        return None
    share = (accuracy * samples + 1.0) / (samples + 2.0)
    return math.sqrt(share * (1.0 - share) / (samples + 3.0))


class _Mean:
    """A metric of each batch, and its mean over the samples."""

    def __init__(self, metric: Callable[[Any, Any], float] | None) -> None:
        self._users = metric is not None
        self._accuracy = Accuracy("auto" if metric is None else metric)

    def add(self, output: Any, batch: Any) -> None:
        self._accuracy.add(output, batch)
        if self._accuracy.note is not None:
            raise StudyError(self._accuracy.note)

    def accuracy(self) -> float:
        found = self._accuracy.value
        if found is None:
            raise StudyError(
                "top-1 needs outputs of shape (samples, classes) and integer targets of shape "
                '(samples,): give metric = "file.py:function", called with (output, batch)'
            )
        return found

    def std(self) -> float | None:
        return None


class _Whole:
    """A metric of the whole test, such as mean IoU, which is no mean over batches."""

    def __init__(self, metric: Any) -> None:
        if not callable(getattr(metric, "compute", None)):
            raise StudyError(
                f"the metric {type(metric).__name__} has update(output, batch), but no compute()"
            )
        self._metric = metric

    def add(self, output: Any, batch: Any) -> None:
        self._metric.update(output, batch)

    def accuracy(self) -> float:
        found = float(self._metric.compute())
        if not (math.isfinite(found) and 0.0 <= found <= 1.0):
            raise StudyError(
                f"the metric {type(self._metric).__name__} gave {found}; it must give a share "
                "between 0 and 1"
            )
        return found

    def std(self) -> float | None:
        if not hasattr(self._metric, "std"):
            return None
        found = float(self._metric.std())
        if not (math.isfinite(found) and found >= 0.0):
            raise StudyError(
                f"std() of the metric {type(self._metric).__name__} gave {found}; it must give a "
                "standard deviation of 0 or more"
            )
        return found
