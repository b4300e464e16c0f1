"""Settings of a study: read from TOML, and checked as a whole before anything runs.

Neither torch nor anything that the file names is imported here, so that results can be shown on a
machine that cannot build the models.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pywatt.errors import StudyError
from pywatt.study.toml_table import TomlTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

INFERENCE_ONLY = "inference only"
OF_THE_MODEL = "of the model"
DEFAULT_BUDGET_S = 2.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that can be imported and called, and its keyword arguments.

    Attributes:
        target: "module:name" or "path/to/file.py:name", the path relative to the study file.
        arguments: keyword arguments, in addition to those of the study itself.
        where: file, line and key, for messages. Not part of a comparison.
    """

    target: str
    arguments: Mapping[str, Any]
    where: str = field(default="", compare=False)

    @property
    def identity(self) -> Any:
        """What identifies it, as JSON."""
        return {"call": self.target, **self.arguments}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How models are trained, with torch's own parts.

    Attributes:
        epochs: passes over the training loader.
        optimizer: called with the model's parameters.
        loss: called without positional arguments; returns a function (output, target) -> loss.
            None: the model's output is the loss, or has it as ``loss``.
        scheduler: called with the optimizer; None: the learning rate is constant.
        scheduler_steps: "epoch" or "batch": when the scheduler takes a step.
        extrapolate_to: number of epochs that the energy is extrapolated to; None: those measured.
    """

    epochs: int
    optimizer: Reference
    loss: Reference | None
    scheduler: Reference | None
    scheduler_steps: Literal["epoch", "batch"]
    extrapolate_to: int | None

    @property
    def identity(self) -> Any:
        """What identifies it, as JSON."""
        return {
            "epochs": self.epochs,
            "optimizer": self.optimizer.identity,
            "loss": None if self.loss is None else self.loss.identity,
            "scheduler": None if self.scheduler is None else self.scheduler.identity,
            "scheduler_steps": self.scheduler_steps,
            "extrapolate_to": self.extrapolate_to,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model of a study.

    Attributes:
        name: unique in the study.
        factory: returns a torch module.
        training: a recipe; or a reference to a function (model, train_loader) that trains the
            model; or None: the model is not trained.
    """

    name: str
    factory: Reference
    training: Recipe | Reference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One model, trained and tested once on one device.

    Attributes:
        key: hash of all that defines the run: the same on any machine.
        setup: hash of the same without device, seed and repeat.
        position: position in the study; models first, then devices, seeds and repeats.
        model: the model.
        device: torch device.
        seed: seed of all random generators.
        repeat: index of the repeat, from 0.
    """

    key: str
    setup: str
    position: int
    model: ModelSettings
    device: str
    seed: int
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """A study file.

    Attributes:
        path: the file.
        name: name of the study.
        data: returns (train loader, test loader), or the test loader if nothing is trained.
        metric: a function (output, batch) -> share in [0, 1], or a class whose objects have
            ``update(output, batch)`` and ``compute()``; None: top-1 of integer targets.
        forward: a function (model, batch) -> output; None: the model is called with the input.
        models: in the order of the file.
        devices: torch devices.
        seeds: each model is run with each of them.
        repeats: number of runs with each seed.
        threads: torch's threads on the CPU; None: torch's default.
        budget_s: how long the test may be repeated until its energy is known to 1 %.
        sensors: names, or "auto".
        rate_hz: readings per second; None: the default of each measurement.
    """

    path: Path
    name: str
    data: Reference
    metric: Reference | None
    forward: Reference | None
    models: tuple[ModelSettings, ...]
    devices: tuple[str, ...]
    seeds: tuple[int, ...]
    repeats: int
    threads: int | None
    budget_s: float
    sensors: Literal["auto"] | tuple[str, ...]
    rate_hz: float | None

    @property
    def task(self) -> str:
        """Hash of what makes accuracies comparable: data and metric."""
        return _hash(self._task)

    @property
    def _task(self) -> Any:
        metric = None if self.metric is None else self.metric.identity
        return {"data": self.data.identity, "metric": metric}

    def runs(self) -> tuple[PlannedRun, ...]:
        """Return all runs of the study, in order."""
        forward = None if self.forward is None else self.forward.identity
        planned: list[PlannedRun] = []
        for model in self.models:
            setup = {
                "task": self._task,
                "forward": forward,
                "name": model.name,
                "model": model.factory.identity,
                "training": None if model.training is None else model.training.identity,
                "threads": self.threads,
            }
            for device, seed, repeat in product(self.devices, self.seeds, range(self.repeats)):
                planned.append(
                    PlannedRun(
                        key=_hash({**setup, "device": device, "seed": seed, "repeat": repeat}),
                        setup=_hash(setup),
                        position=len(planned),
                        model=model,
                        device=device,
                        seed=seed,
                        repeat=repeat,
                    )
                )
        return tuple(planned)


def read_settings(path: str | os.PathLike[str]) -> StudySettings:
    """Read a study file.

    Raises:
        StudyError: it cannot be read, is not TOML, or is invalid; the message names the file, the
            line and the key, and what to write instead.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise StudyError(f"{source} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{source} is not UTF-8 text: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{source} is not TOML: {error}; see https://toml.io") from error
    return _settings(source, TomlTable(source, text, document))


def _settings(path: Path, root: TomlTable) -> StudySettings:
    training = root.get("training", INFERENCE_ONLY)
    default = None
    if training != INFERENCE_ONLY:
        default = root.table("training", or_else=f'or training = "{INFERENCE_ONLY}"')
        _recipe(default)  # check it even if no model uses it
    models = tuple(_model(table, default) for table in root.tables("models"))
    names = [model.name for model in models]
    for index, name in enumerate(names):
        if name in names[:index]:
            root.fail(
                ("models", index, "name"), f"{name!r} is used twice: give each model its own name"
            )
    settings = StudySettings(
        path=path,
        name=root.text("name", default=path.stem),
        data=_reference(root, "data"),
        metric=_optional_reference(root, "metric"),
        forward=_optional_reference(root, "forward"),
        models=models,
        devices=root.texts("devices", default=("cpu",)),
        seeds=root.whole_numbers("seeds", default=(0,)),
        repeats=root.whole_number("repeats", least=1, default=1),
        threads=root.whole_number("threads", least=1) if "threads" in root.keys else None,
        budget_s=root.number("budget_s", above=0.0, default=DEFAULT_BUDGET_S),
        sensors=_sensors(root),
        rate_hz=_rate_hz(root),
    )
    root.done()
    return settings


def _rate_hz(root: TomlTable) -> float | None:
    if "rate_hz" not in root.keys:
        return None
    rate_hz = root.number("rate_hz", above=0.0)
    if not 1.0 <= rate_hz <= 10_000.0:
        root.fail(("rate_hz",), f"must be from 1 to 10,000 readings per second, not {rate_hz:g}")
    return rate_hz


def _sensors(root: TomlTable) -> Literal["auto"] | tuple[str, ...]:
    return "auto" if root.get("sensors", "auto") == "auto" else root.texts("sensors")


def _model(table: TomlTable, default: TomlTable | None) -> ModelSettings:
    name = table.text("name")
    factory = _reference(table, "factory")
    training = table.get("training", None)
    found: Recipe | Reference | None = None
    if "fit" in table.keys:
        if training is not None:
            table.fail(("fit",), "give either fit or training, not both")
        found = _reference(table, "fit")
    elif training == INFERENCE_ONLY:
        found = None
    elif training is not None:
        own = table.table("training", or_else=f'or training = "{INFERENCE_ONLY}"')
        found = _recipe(own if default is None else own.over(default))
    elif default is not None:
        found = _recipe(default)
    table.done()
    return ModelSettings(name=name, factory=factory, training=found)


def _recipe(table: TomlTable) -> Recipe:
    steps = table.text("scheduler_steps", default="epoch")
    if steps not in ("epoch", "batch"):
        table.fail(("scheduler_steps",), f'must be "epoch" or "batch", not {steps!r}')
    recipe = Recipe(
        epochs=table.whole_number("epochs", least=1),
        optimizer=_reference(table, "optimizer"),
        loss=_loss(table),
        scheduler=_optional_reference(table, "scheduler"),
        scheduler_steps="batch" if steps == "batch" else "epoch",
        extrapolate_to=_extrapolate_to(table),
    )
    table.done()
    return recipe


def _loss(table: TomlTable) -> Reference | None:
    if table.get("loss", None) == OF_THE_MODEL:
        return None
    return _optional_reference(table, "loss") or Reference("torch.nn:CrossEntropyLoss", {})


def _extrapolate_to(table: TomlTable) -> int | None:
    if "extrapolate_to" not in table.keys:
        return None
    return table.whole_number("extrapolate_to", least=table.whole_number("epochs", least=1))


def _optional_reference(table: TomlTable, key: str) -> Reference | None:
    return _reference(table, key) if key in table.keys else None


def _reference(table: TomlTable, key: str) -> Reference:
    """Read a name to import, or a table of it and its arguments."""
    given = table.get(key)
    example = f'{key} = "file.py:function"'
    arguments: dict[str, Any] = {}
    if isinstance(given, dict):
        arguments = {name: argument for name, argument in given.items() if name != "call"}
        example = f'{key} = {{ call = "file.py:function", argument = 1 }}'
        given = given.get("call")
    if not isinstance(given, str) or not all(given.rpartition(":")):
        table.fail(
            (key,), f'must name what to call, as "module:function" or "file.py:function": {example}'
        )
    try:
        json.dumps(arguments)
    except TypeError:
        table.fail((key,), "arguments must be strings, numbers, booleans, lists or tables of them")
    return Reference(given, arguments, table.where((key,)))


def _hash(identity: Any) -> str:
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
