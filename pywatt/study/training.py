"""Train one model of a study, and measure the energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pywatt import _core
from pywatt.measurement.measure import measure
from pywatt.sampling.monitor import DEFAULT_RATE_HZ
from pywatt.sensors.selection import SensorChoice, select
from pywatt.study.imports import Imports
from pywatt.study.settings import Recipe, Reference
from pywatt.training.loop import profile_training, targets_of
from pywatt.training.profiler import TrainingProfiler
from pywatt.training.result import Extrapolation, TrainingProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEnergy:
    """Energy of a training. None where not known.

    Attributes:
        energy_j: energy of the whole training, with loading and all else between the steps;
            extrapolated if the recipe asks for it.
        energy_j_std: one standard deviation of it.
        duration_s: duration of the training.
        epochs: measured epochs; None where the model has its own training function.
        extrapolated_to: number of epochs that energy and duration are extrapolated to; None: those
            measured.
        estimated: whether any of the energy was computed from a model of the machine.
        notes: caveats on the figures.
    """

    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    epochs: int | None
    extrapolated_to: int | None = None
    estimated: bool
    notes: tuple[str, ...]


def train(
    model: nn.Module,
    loader: Iterable[Any],
    training: Recipe | Reference,
    imports: Imports,
    *,
    forward: Callable[[nn.Module, Any], Any] | None,
    device: torch.device,
    sensors: SensorChoice,
    rate_hz: float | None,
    clock: _core.Clock | None,
) -> TrainingEnergy:
    """Train a model by a recipe or its own function, and measure the energy.

    Raises:
        StudyError: what the recipe names cannot be imported.
        Exception: whatever the model, the loader or the training raises.
    """
    model.train()
    if isinstance(training, Reference):
        return _by_function(model, loader, training, imports, device, sensors, rate_hz, clock)
    optimizer = imports.call(training.optimizer, model.parameters())
    scheduler = None
    if training.scheduler is not None:
        scheduler = imports.call(training.scheduler, optimizer)
    if scheduler is not None and training.scheduler_steps == "batch":
        each_batch, scheduler = scheduler, None
        optimizer.register_step_post_hook(lambda *_: each_batch.step())
    loss_of = None if training.loss is None else _of_tensors(imports.call(training.loss))
    profiled = profile_training(
        model,
        loader,
        loss_fn=loss_of,
        optimizer=optimizer,
        epochs=training.epochs,
        scheduler=scheduler,
        step_fn=None if forward is None else _step(forward, loss_of, optimizer),
        device=device,
        sensors=sensors,
        rate_hz=rate_hz,
        method="time",  # only the total is used, not the layers
        progress=False,
        clock=clock,
    )
    whole: TrainingProfile | Extrapolation = profiled
    notes = profiled.notes
    if training.extrapolate_to is not None:
        whole = profiled.extrapolate(training.extrapolate_to)
        notes = (*notes, *whole.notes, f"accuracy is that after {training.epochs} epochs")
    return TrainingEnergy(
        energy_j=whole.energy_j,
        energy_j_std=whole.energy_j_std,
        duration_s=whole.duration_s,
        epochs=training.epochs,
        extrapolated_to=training.extrapolate_to,
        estimated=whole.estimated,
        notes=notes,
    )


def _of_tensors(loss_of: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap torch's losses, which take tensors, to use the logits of an output object."""
    if not isinstance(loss_of, nn.modules.loss._Loss):
        return loss_of

    def of_logits(output: Any, target: Any) -> Any:
        return loss_of(getattr(output, "logits", output), target)

    return of_logits


def _by_function(
    model: nn.Module,
    loader: Iterable[Any],
    fit: Reference,
    imports: Imports,
    device: torch.device,
    sensors: SensorChoice,
    rate_hz: float | None,
    clock: _core.Clock | None,
) -> TrainingEnergy:
    notes: tuple[str, ...] = ()
    if isinstance(sensors, str) and sensors == "auto":
        # The sensors of the model's device only, as for the test.
        chosen = select("auto", devices=[str(device)])
        sensors, notes = [sensor.core for sensor in chosen.sensors], chosen.notes
    rate_hz = DEFAULT_RATE_HZ if rate_hz is None else rate_hz
    with measure(sensors=sensors, rate_hz=rate_hz, clock=clock) as measured:
        imports.call(fit, model, loader)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return TrainingEnergy(
        energy_j=measured.energy_j,
        energy_j_std=measured.energy_j_std,
        duration_s=measured.duration_s,
        epochs=None,
        estimated=measured.estimated,
        notes=(*notes, *measured.notes),
    )


def _step(
    forward: Callable[[nn.Module, Any], Any], loss_of: Any, optimizer: torch.optim.Optimizer
) -> Callable[[TrainingProfiler, nn.Module, Any], Any]:
    """Return the training step of a study that has its own `forward`."""

    def step(profiler: TrainingProfiler, model: nn.Module, batch: Any) -> Any:
        with profiler.phase("forward"):
            output = forward(model, batch)
            loss = output if loss_of is None else loss_of(output, targets_of(batch))
        with profiler.phase("backward"):
            loss.backward()
        with profiler.phase("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return step
