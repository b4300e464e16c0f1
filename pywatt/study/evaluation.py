"""Accuracy of a model on the test, and its FLOPs: one pass that is not measured."""

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
from pywatt.model.accuracy import Accuracy
from pywatt.model.batch import call_model, move, samples_in

NO_FLOPS = "FLOPs are not known: torch's FlopCounterMode counts none of the model's operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Results of a pass over the test. None where not known.

    Attributes:
        accuracy: result of the metric, 0 to 1.
        accuracy_std: one standard deviation of it, the test being a random sample.
        samples: samples in the test.
        batches: number of batches.
        flops: FLOPs of one sample; a multiplication and an addition count as two.
        notes: caveats on the figures.
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
    """Run one pass over the test.

    Args:
        model: the model, in eval mode.
        loader: batches of the test.
        metric: a function (output, batch) -> share in [0, 1], averaged over the samples; an object
            with ``update(output, batch)``, ``compute()`` and optionally ``std()``, the standard
            deviation of the result; None: top-1.
        forward: a function (model, batch) -> output; None: the model is called with the input.
        device: where batches are moved.

    Raises:
        StudyError: the test is empty, or the metric does not return a share in [0, 1].
        Exception: whatever the model, the loader or the metric raises.
    """
    call = call_model if forward is None else forward
    judge = _Mean(metric) if metric is None or not hasattr(metric, "update") else _Custom(metric)
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
        raise StudyError("the test loader is empty: return one with batches from the data factory")
    accuracy = judge.accuracy()
    std = judge.std()
    return Evaluation(
        accuracy=accuracy,
        accuracy_std=_max_std(accuracy, samples) if std is None else std,
        samples=samples,
        batches=batches,
        flops=flops,
        notes=tuple(notes),
    )


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count FLOPs inside, with fused attention and encoder layers disabled.

    FlopCounterMode counts matrix products, convolutions and some GPU kernels of attention, but not
    the fused path of nn.TransformerEncoderLayer nor the CPU's fused attention.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _max_std(accuracy: float, samples: int | None) -> float | None:
    """Return an upper bound of the standard deviation of a mean over samples.

    Shares in [0, 1] vary most where all are 0 or 1. For these it is the standard deviation by
    Laplace's rule of succession, so that 10 of 10 are not certain: that of a Beta distribution with
    right + 1 and wrong + 1.
    """
    if not samples:
        return None
    share = (accuracy * samples + 1.0) / (samples + 2.0)
    return math.sqrt(share * (1.0 - share) / (samples + 3.0))


class _Mean:
    """Averages a metric of each batch over the samples."""

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


class _Custom:
    """Wraps a metric of the whole test, such as mean IoU, which is not a mean over batches."""

    def __init__(self, metric: Any) -> None:
        if not callable(getattr(metric, "compute", None)):
            raise StudyError(
                f"the metric {type(metric).__name__} has update(output, batch), but no compute(): "
                "add it"
            )
        self._metric = metric

    def add(self, output: Any, batch: Any) -> None:
        self._metric.update(output, batch)

    def accuracy(self) -> float:
        found = float(self._metric.compute())
        if not (math.isfinite(found) and 0.0 <= found <= 1.0):
            raise StudyError(
                f"the metric {type(self._metric).__name__} returned {found}: return a share "
                "between 0 and 1"
            )
        return found

    def std(self) -> float | None:
        if not hasattr(self._metric, "std"):
            return None
        found = float(self._metric.std())
        if not (math.isfinite(found) and found >= 0.0):
            raise StudyError(
                f"std() of the metric {type(self._metric).__name__} returned {found}: return a "
                "standard deviation of 0 or more"
            )
        return found
