"""What is counted of an epoch while it runs."""

from __future__ import annotations

from typing import Any

import torch


class EpochTally:
    """Batches, samples and losses of one epoch; nothing here waits for a GPU before `end`."""

    def __init__(self) -> None:
        self.batches = 0
        self.samples: int | None = 0
        self.complete = False
        self.is_open = True
        self.pieces = 0  # segments that it was in
        self.loss: float | None = None
        self._loss_sum: Any = 0.0
        self._losses = 0
        self._last_samples: int | None = 0

    def add_batch(self, samples: int | None) -> None:
        """Count a batch."""
        self.batches += 1
        self._last_samples = samples
        if samples is None or self.samples is None:
            self.samples = None
        else:
            self.samples += samples

    def tell(self, loss: Any, samples: int | None) -> None:
        """Take in what the user tells of the batch that was counted last."""
        if loss is not None:
            self._loss_sum = self._loss_sum + _number_in(loss)
            self._losses += 1
        if samples is not None and self._last_samples is not None and self.samples is not None:
            self.samples += samples - self._last_samples
            self._last_samples = samples

    def end(self) -> None:
        """The epoch is over; a loss that is no number is none."""
        if self.is_open and self._losses:
            try:
                self.loss = float(self._loss_sum) / self._losses
            except (RuntimeError, TypeError, ValueError):
                self.loss = None
        self.is_open = False


def _number_in(loss: Any) -> Any:
    """A loss without its graph: a float where it is at hand, which takes less than a tensor."""
    if not isinstance(loss, torch.Tensor):
        return loss
    if loss.is_cpu:
        try:
            return loss.item()
        except RuntimeError:  # more than one number
            pass
    return loss.detach()
