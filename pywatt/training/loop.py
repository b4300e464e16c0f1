"""`pywatt.profile_training`: a training loop that is measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import Method
from pywatt.errors import ArgumentError, BatchError
from pywatt.model.batch import call_model, describe, duplicate
from pywatt.model.batch import move as moved_to
from pywatt.model.reachable_state import preserved_attributes
from pywatt.model.state import preserved_state
from pywatt.profiling.profile import DEFAULT_BUDGET_S
from pywatt.sensors.selection import SensorChoice
from pywatt.support.checks import check_count, check_positive
from pywatt.support.partial import keep_partial
from pywatt.support.progress import progress_bar
from pywatt.training.gradients import preserved_gradients, why_not_repeatable
from pywatt.training.profiler import TrainingProfiler
from pywatt.training.repeaters import OptimizerStep
from pywatt.training.result import TrainingProfile

LossOf = Callable[..., Any]
StepOf = Callable[[TrainingProfiler, nn.Module, Any], Any]


def profile_training(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss_fn: LossOf | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    epochs: int = 1,
    scheduler: Any = None,
    accumulate: int = 1,
    autocast: torch.dtype | None = None,
    scaler: Any = None,
    step_fn: StepOf | None = None,
    device: torch.device | str | None = None,
    sensors: SensorChoice = "auto",
    rate_hz: float | None = None,
    method: Method = "auto",
    budget_s: float = DEFAULT_BUDGET_S,
    max_batches: int | None = None,
    after_epoch: Callable[[int], object] | None = None,
    progress: bool | None = None,
    record: str | os.PathLike[str] | None = None,
    clock: _core.Clock | None = None,
) -> TrainingProfile:
    """Train a model and measure the energy of each phase, layer and epoch.

    The training is bit for bit the one of this loop without pywatt, in the mode that the model is
    given in::

        output = model(batch input)
        loss = loss_fn(output, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    Args:
        model: the model; trained in place.
        loader: batches: a tensor, a mapping (keyword arguments), or a tuple or list whose first
            item is the input. It is iterated once per epoch.
        loss_fn: (output, targets) -> loss. Targets are the second item of a tuple or list, the
            rest as a tuple where there are more, else the batch itself. None: the model's output is
            the loss, or has it as ``loss``.
        optimizer: steps after every `accumulate` batches, and at the end of an epoch.
        epochs: how many epochs to train now; those in `record` are not counted.
        scheduler: a learning rate scheduler; stepped after each epoch, without a metric.
        accumulate: batches whose gradients are added up before a step; each loss is divided by it.
        autocast: data type of `torch.autocast` in the forward phase; None: without.
        scaler: a `torch.amp.GradScaler`.
        step_fn: (profiler, model, batch) -> loss, in place of all of the above: the step for a
            batch, with `profiler.phase("forward")` and so on around its parts.
        device: device to move batches to; default: the model's own device.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings a second while it trains, 1 to 10,000; None: 25 where every sensor is
            fresh whenever it is read, such as RAPL and the software estimate, else 200. Replay
            takes no fewer than 1,000.
        method: how energy is shared among phases and layers: ``overlap``, ``regression``, ``time``;
            ``replay``, which after the training repeats the forward and backward of each module
            back to back, with its real input and gradient and without side effects; or ``auto``,
            the more certain of the first two if it can be trusted, else replay.
        budget_s: how long replay may take.
        max_batches: end each epoch after so many batches; None: all.
        after_epoch: called with the epoch's number after each, for example to save a checkpoint or
            to validate; its energy is in the phase "other", and in no epoch.
        progress: show a progress bar; None: only in a terminal.
        record: a file that keeps the measurements, replaced whole as epochs end. If it exists, the
            training continues from its epochs, and the result sums all sessions.
        clock: a `ScriptedClock` for tests.

    Returns:
        The energies; `print` it for the table.

    Raises:
        ArgumentError: an empty loader, not a torch module, an unknown sensor, a number out of
            range, a scheduler that wants a metric, or the record of another model.
        BatchError: a batch that the model cannot be called with.
        FileFormatError: `record` exists and is not a record.
        SensorError: a sensor asked for by name that cannot be read.
        Exception: whatever the model, the loader or the optimizer raises, and Ctrl-C. The result
            so far is in the exception's `partial_profile`, and in `record`.
    """
    check_count("epochs", epochs, 1)
    check_count("accumulate", accumulate, 1)
    check_count("max_batches", max_batches, 1, or_else=None)
    check_positive("budget_s", budget_s, "30 for thirty seconds")
    if isinstance(loader, (torch.Tensor, Mapping, str)) or not hasattr(loader, "__iter__"):
        raise BatchError(f"the loader is {describe(loader)}: give batches, such as [batch]")
    # Not by calling iter: a DataLoader draws a random number in it.
    if epochs > 1 and isinstance(loader, Iterator):
        raise ArgumentError(
            f"the loader is {describe(loader)}, which can be iterated once, not for {epochs} "
            "epochs: give a DataLoader or a list"
        )
    if step_fn is None and optimizer is None:
        raise ArgumentError("give an optimizer=, or a step_fn= that needs none")
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ArgumentError(
            "ReduceLROnPlateau steps with a metric, which is unknown here: step it yourself, in "
            "after_epoch="
        )
    profiler = TrainingProfiler(
        model,
        sensors=sensors,
        rate_hz=rate_hz,
        method=method,
        record=record,
        device="cpu" if device is None else device,
        clock=clock,
    )
    target = torch.device(profiler.device if device is None else device)
    step: _Step | None = None
    if step_fn is None:
        assert optimizer is not None
        step = _Step(optimizer, loss_fn, accumulate, autocast, scaler, target)
    batches = _count(loader, max_batches)
    if batches == 1 and epochs == 1:
        profiler.expect_one_step()
    kept: Any = None
    steps = None if batches is None else batches * epochs
    try:
        with progress_bar("training", steps, progress) as advance, profiler:
            for number in range(epochs):
                count = 0
                for batch in profiler.epoch(
                    loader, max_batches=max_batches, move=lambda each: moved_to(each, target)
                ):
                    count += 1
                    if kept is None and step_fn is None and method in ("auto", "replay"):
                        # The model may write into its input.
                        kept = duplicate(batch, target)
                    if step_fn is not None:
                        profiler.log(loss=step_fn(profiler, model, batch))
                    elif step is not None:
                        last = count == batches
                        profiler.log(loss=step.run(profiler, model, batch, last=last))
                    advance()
                if count == 0:
                    raise ArgumentError("the loader gave no batch: there is nothing to train on")
                if step is not None:
                    step.end_epoch(profiler)
                if scheduler is not None:
                    scheduler.step()
                if after_epoch is not None:
                    after_epoch(number)
        if profiler.wants_replay:
            _replay(profiler, model, step, optimizer, kept, budget_s, progress)
        return profiler.result()
    except BaseException as error:
        profiler.make_sure(error)
        keep_partial(error, profiler.result)
        raise


def _replay(
    profiler: TrainingProfiler,
    model: nn.Module,
    step: _Step | None,
    optimizer: torch.optim.Optimizer | None,
    kept: Any,
    budget_s: float,
    progress: bool | None,
) -> None:
    """Replay the first batch of the training, to resolve what segments alone do not."""
    if step is None or optimizer is None:
        why = "a step_fn cannot be repeated: give loss_fn and optimizer instead"
        profiler.add_notes((f"nothing was replayed, since {why}",))
        return
    probe = OptimizerStep(optimizer)
    parameters = {id(p): p for p in (*model.parameters(), *probe.parameters_stepped)}
    why_none = why_not_repeatable(model, parameters.values(), optimizer)
    if why_none is not None:
        profiler.add_notes((f"nothing was replayed, since {why_none}",))
        return

    def run_pass() -> None:
        # A pass that ends early may leave the attributes of the model half updated.
        with (
            preserved_attributes(model),
            preserved_state(model),
            preserved_gradients(parameters.values()),
        ):
            step.backward(step.loss(model, duplicate(kept, step.device)))
            probe()

    profiler.replay(run_pass, probe, budget_s=budget_s, progress=progress)


class _Step:
    """The training step for one batch."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        loss_fn: LossOf | None,
        accumulate: int,
        autocast: torch.dtype | None,
        scaler: Any,
        device: torch.device,
    ) -> None:
        self._optimizer, self._loss_fn, self._accumulate = optimizer, loss_fn, accumulate
        self._autocast, self._scaler, self.device = autocast, scaler, device
        self._added_up = 0

    def run(self, profiler: TrainingProfiler, model: nn.Module, batch: Any, *, last: bool) -> Any:
        """Train on a batch; step after every `accumulate` batches and after the last."""
        with profiler.phase("forward"):
            loss = self.loss(model, batch)
        with profiler.phase("backward"):
            self.backward(loss)
        self._added_up += 1
        if self._added_up == self._accumulate or last:
            self._step(profiler)
        return loss

    def end_epoch(self, profiler: TrainingProfiler) -> None:
        """Step for the remaining batches, if the length of the loader was unknown."""
        if self._added_up:
            self._step(profiler)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """Return the loss of a batch."""
        context: AbstractContextManager[Any] = nullcontext()
        if self._autocast is not None:
            context = torch.autocast(self.device.type, dtype=self._autocast)
        with context:
            output = call_model(model, batch)
            if self._loss_fn is not None:
                return self._loss_fn(output, targets_of(batch))
        return _loss_in(output)

    def backward(self, loss: Any) -> None:
        """Add the gradients of a loss to the present ones."""
        if self._accumulate > 1:
            loss = loss / self._accumulate
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        loss.backward()

    def _step(self, profiler: TrainingProfiler) -> None:
        self._added_up = 0
        with profiler.phase("optimizer"):
            if self._scaler is None:
                self._optimizer.step()
            else:
                self._scaler.step(self._optimizer)
                self._scaler.update()
            self._optimizer.zero_grad()


def targets_of(batch: Any) -> Any:
    """Return what the loss function takes beside the output."""
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[1] if len(batch) == 2 else tuple(batch[1:])
    return batch


def _loss_in(output: Any) -> torch.Tensor:
    if isinstance(output, Mapping):
        output = output.get("loss")
    elif getattr(output, "loss", None) is not None:
        output = output.loss
    if isinstance(output, torch.Tensor) and output.numel() == 1:
        return output
    raise BatchError(
        f"the model gave {describe(output)}, which has no loss: give loss_fn=, such as "
        "nn.CrossEntropyLoss(), or batches with labels to a model that computes its loss"
    )


def _count(loader: Iterable[Any], max_batches: int | None) -> int | None:
    try:
        length = len(loader)  # type: ignore[arg-type]  # not every loader has a length
    except Exception:  # a loader may be fine though its __len__ fails
        return None
    return length if max_batches is None else min(length, max_batches)
