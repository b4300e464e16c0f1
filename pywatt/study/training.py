"""Training of one model in a study, and its energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pywatt import _core
from pywatt.batches import call_model, move
from pywatt.errors import StudyError
from pywatt.measurement import measure
from pywatt.sensors import SensorChoice, select
from pywatt.study.imports import Imports
from pywatt.study.settings import Recipe, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEnergy:
    """What a training took. None where not known.

    Attributes:
        energy_j: energy of all of it, loading and all else between the steps included.
        energy_j_std: one standard deviation of it.
        duration_s: how long it took.
        epochs: times through the loader; None where the model trains its own way.
        estimated: true if any of the energy comes from a model of the machine.
        notes: what a reader of the figures has to know.
    """

    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    epochs: int | None
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
    rate_hz: float,
    clock: _core.Clock | None,
) -> TrainingEnergy:
    """Train a model by a recipe or its own function, and measure that.

    Raises:
        StudyError: what the recipe names cannot be imported, or a batch has no target.
        Exception: whatever the model, the loader or the training raises.
    """
    model.train()
    if isinstance(training, Reference):
        work = _own_way(model, loader, training, imports)
    else:
        work = _by_recipe(model, loader, training, imports, forward or call_model, device)
    notes: tuple[str, ...] = ()
    if isinstance(sensors, str) and sensors == "auto":
        # Those of the model's device only, as for the test.
        chosen = select("auto", devices=[str(device)])
        sensors, notes = [sensor.core for sensor in chosen.sensors], chosen.notes
    with measure(sensors=sensors, rate_hz=rate_hz, clock=clock) as measured:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return TrainingEnergy(
        energy_j=measured.energy_j,
        energy_j_std=measured.energy_j_std,
        duration_s=measured.duration_s,
        epochs=training.epochs if isinstance(training, Recipe) else None,
        estimated=measured.estimated,
        notes=(*notes, *measured.notes),
    )


def _own_way(
    model: nn.Module, loader: Iterable[Any], fit: Reference, imports: Imports
) -> Callable[[], None]:
    return lambda: imports.call(fit, model, loader)


def _by_recipe(
    model: nn.Module,
    loader: Iterable[Any],
    recipe: Recipe,
    imports: Imports,
    forward: Callable[[nn.Module, Any], Any],
    device: torch.device,
) -> Callable[[], None]:
    optimizer = imports.call(recipe.optimizer, model.parameters())
    scheduler = None if recipe.scheduler is None else imports.call(recipe.scheduler, optimizer)
    loss_of = imports.call(recipe.loss)

    def work() -> None:
        for _ in range(recipe.epochs):
            for batch in loader:
                moved = move(batch, device)
                optimizer.zero_grad()
                loss_of(forward(model, moved), target_of(moved)).backward()
                optimizer.step()
                if scheduler is not None and recipe.scheduler_steps == "batch":
                    scheduler.step()
            if scheduler is not None and recipe.scheduler_steps == "epoch":
                scheduler.step()

    return work


def target_of(batch: Any) -> Any:
    """What a batch wants the output to be: the second of a tuple or list. Raises StudyError."""
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[1]
    raise StudyError(
        "the training loader must give (input, target) for a recipe; for other batches give the "
        'model fit = "file.py:function", called with (model, train_loader)'
    )
