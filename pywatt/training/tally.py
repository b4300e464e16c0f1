"""Count batches, samples and losses of an epoch while it runs."""

from __future__ import annotations

from typing import Any

import torch


class EpochTally:
    """Batches, samples and losses of one epoch; nothing here waits for a GPU before `end`."""

    def __init__(self) -> None:
        self.batches = 0
        self.complete = False
        self.is_open = True
        self.is_cut = False  # another epoch began before it had ended
        self.pieces = 0  # number of segments that it was in
        self.loss: float | None = None
        self.note: str | None = None
        self._loss_sum: Any = 0.0
        self._losses = 0
        self._samples = 0
        self._uncounted = 0  # batches of unknown sample counts
        self._last_samples: int | None = 0

    @property
    def samples(self) -> int | None:
        """Samples in all batches; None if unknown for some batch."""
        return None if self._uncounted else self._samples

    def add_batch(self, samples: int | None) -> None:
        """Count a batch."""
        self.batches += 1
        self._last_samples = samples
        if samples is None:
            self._uncounted += 1
        else:
            self._samples += samples

    def update_last(self, loss: Any, samples: int | None) -> None:
        """Add the loss of the batch counted last, and correct its number of samples."""
        if loss is not None and self.note is None:
            try:
                self._loss_sum = self._loss_sum + _number_in(loss)
                self._losses += 1
            except Exception as error:  # a bad loss must not end the training
                self._cannot_add(error)
        if samples is not None:
            self._uncounted -= self._last_samples is None
            self._samples += samples - (self._last_samples or 0)
            self._last_samples = samples

    def end(self) -> None:
        """End the epoch; a mean loss that is not a number is None."""
        if self.is_open and self._losses and self.note is None:
            try:
                self.loss = float(self._loss_sum) / self._losses
            except Exception as error:
                self._cannot_add(error)
        self.is_open = False

    def _cannot_add(self, error: Exception) -> None:
        self.note = (
            f"the mean loss is unavailable, since losses cannot be added up ({error!r:.100}): pass "
            "numbers, or tensors that hold one number"
        )


def _number_in(loss: Any) -> Any:
    """Return a loss without its graph: on the CPU as a float, which is cheaper than a tensor."""
    if not isinstance(loss, torch.Tensor):
        return loss
    if loss.is_cpu:
        try:
            return loss.item()
        except RuntimeError:  # more than one number
            pass
    return loss.detach()
