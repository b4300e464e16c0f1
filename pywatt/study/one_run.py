"""One run of a study: build, train, evaluate and measure a model."""

from __future__ import annotations

import functools
import gc
import inspect
import platform
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pywatt import _core
from pywatt.errors import StudyError
from pywatt.model.environment import date_now
from pywatt.model.state import preserved_state
from pywatt.profiling.profile import REPEAT_SHARE, profile
from pywatt.sampling.monitor import DEFAULT_RATE_HZ
from pywatt.sensors.selection import SensorChoice, select
from pywatt.study.evaluation import evaluate
from pywatt.study.imports import Imports
from pywatt.study.memory import peak_bytes, reset_peak
from pywatt.study.record import RunRecord
from pywatt.study.settings import PlannedRun, Reference, StudySettings
from pywatt.study.training import TrainingEnergy, train
from pywatt.support.notes import notes_on_totals


def check_machine(settings: StudySettings, sensors: SensorChoice) -> None:
    """Check what would fail every run: missing sensors and invalid device names.

    A device that this machine lacks fails only its own runs: another machine may have it.

    Raises:
        ArgumentError, SensorError, StudyError: a check failed.
    """
    for device in settings.devices:
        try:
            torch.device(device)
        except RuntimeError as error:
            raise StudyError(
                f'{settings.path}, devices: torch knows no {device!r}: give "cpu" or "cuda:0"'
            ) from error
    if sensors != "auto":
        select(sensors)


def record_of(run: PlannedRun, settings: StudySettings, machine: str) -> RunRecord:
    """Return the record of a run before it begins."""
    return RunRecord(
        key=run.key,
        machine=machine,
        setup=run.setup,
        task=settings.task,
        study=settings.name,
        position=run.position,
        model=run.model.name,
        device=run.device,
        seed=run.seed,
        repeat=run.repeat,
    )


def perform(
    run: PlannedRun,
    settings: StudySettings,
    imports: Imports,
    *,
    machine: str,
    sensors: SensorChoice,
    clock: _core.Clock | None,
) -> RunRecord:
    """Do a run. What it raises, an exit too, is the record's `error`; only Ctrl-C propagates.

    Random states and torch's global settings are restored afterwards.
    """
    begun = record_of(run, settings, machine)
    try:
        with preserved_state(nn.Module()), _preserved_torch(settings.threads):
            found = _measured(begun, run, settings, imports, sensors, clock)
    except (Exception, SystemExit) as error:  # a model that fails must not stop the others
        found = replace(begun, error=_why(error, imports.folder))
    gc.collect()  # free the memory for the next model
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # untyped in torch
        torch.cuda.empty_cache()
    return replace(found, date=date_now())


def _measured(
    begun: RunRecord,
    run: PlannedRun,
    settings: StudySettings,
    imports: Imports,
    sensors: SensorChoice,
    clock: _core.Clock | None,
) -> RunRecord:
    device = torch.device(run.device)
    training = run.model.training
    _seed(run.seed)
    train_loader, test_loader = _loaders(imports.call(settings.data), settings.data, training)
    _seed(run.seed)  # the model's initial values do not depend on the data's random draws
    model = imports.call(run.model.factory)
    if not isinstance(model, nn.Module):
        raise StudyError(
            f"{run.model.factory.target} returned {type(model).__name__}: return a torch module"
        )
    model.to(device)
    forward = None if settings.forward is None else _bound(imports, settings.forward)
    metric = None if settings.metric is None else _bound(imports, settings.metric)
    notes: list[str] = []
    if not reset_peak(device):
        notes.append("peak memory is of the whole process so far: it cannot be reset here")
    trained: TrainingEnergy | None = None
    if training is not None:
        _seed(run.seed)
        trained = train(
            model,
            train_loader,
            training,
            imports,
            forward=forward,
            device=device,
            sensors=sensors,
            rate_hz=settings.rate_hz,
            clock=clock,
        )
    model.eval()
    evaluated = evaluate(model, test_loader, metric, forward=forward, device=device)
    profiled = profile(
        model,
        test_loader,
        sensors=sensors,
        rate_hz=DEFAULT_RATE_HZ if settings.rate_hz is None else settings.rate_hz,
        forward=None if forward is None else _without_gradients(forward),
        accuracy=None,
        device=device,
        progress=False,
        method="time",  # only the total is used, not the layers
        budget_s=settings.budget_s / REPEAT_SHARE,
        clock=clock,
    )
    passes = profiled.batches / evaluated.batches
    notes += evaluated.notes
    tested = [
        *notes_on_totals(profiled.notes),
        *(f"{s.name}: {s.note}" for s in profiled.sensors if s.note),
    ]
    if trained is not None:
        more = (note for note in notes_on_totals(trained.notes) if note not in tested)
        notes += (f"training: {note}" for note in more)
    notes += tested
    return replace(
        begun,
        device_name=_device_name(device),
        accuracy=evaluated.accuracy,
        accuracy_std=evaluated.accuracy_std,
        samples=evaluated.samples,
        test_energy_j=_over(profiled.energy_j, passes),
        test_energy_j_std=_over(profiled.energy_j_std, passes),
        test_duration_s=_over(profiled.duration_s, passes),
        train_energy_j=None if trained is None else trained.energy_j,
        train_energy_j_std=None if trained is None else trained.energy_j_std,
        train_duration_s=None if trained is None else trained.duration_s,
        epochs=None if trained is None else trained.epochs,
        extrapolated_to=None if trained is None else trained.extrapolated_to,
        parameters=sum(p.numel() for p in model.parameters()),
        flops=evaluated.flops,
        peak_memory_bytes=peak_bytes(device),
        estimated=profiled.estimated or (trained is not None and trained.estimated),
        sensors=tuple(sensor.name for sensor in profiled.sensors),
        versions={
            name: profiled.environment[name] for name in ("pywatt", "torch", "python", "machine")
        },
        notes=tuple(dict.fromkeys(notes)),
    )


def _loaders(data: Any, reference: Reference, training: Any) -> tuple[Any, Any]:
    if isinstance(data, tuple) and len(data) == 2:
        return data
    if training is None:
        return None, data
    raise StudyError(
        f"{reference.target} returned {type(data).__name__}: for a study that trains, return a "
        "tuple (train_loader, test_loader)"
    )


def _bound(imports: Imports, reference: Reference) -> Any:
    """Return a function with its arguments bound, or a new object of a class."""
    found = imports.find(reference)
    if inspect.isclass(found):
        return found(**reference.arguments)
    return functools.partial(found, **reference.arguments)


def _without_gradients(forward: Any) -> Any:
    def call(model: nn.Module, batch: Any) -> Any:
        with torch.no_grad():
            return forward(model, batch)

    return call


@contextmanager
def _preserved_torch(threads: int | None) -> Iterator[None]:
    """Set torch's number of threads, and restore the global settings that a model may change."""
    before = torch.get_num_threads()
    with_gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    device = torch.get_default_device()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_grad_enabled(with_gradients)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # An explicit default device slows torch's functions, even "cpu".
            torch.set_default_device(None if device.type == "cpu" else device)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the user's code may use the global generator)
    torch.manual_seed(seed)


def _over(number: float | None, divisor: float) -> float | None:
    return None if number is None else number / divisor


def _device_name(device: torch.device) -> str | None:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _why(error: BaseException, folder: Path) -> str:
    """Return the error, with the last line of the study's own code in its traceback."""
    try:
        text = str(error)
    except Exception:  # it is the user's class
        text = "its text is not available"
    if not isinstance(error, StudyError):
        text = f"{type(error).__name__}: {text}"
    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().parent == folder
    ]
    where = f" ({Path(inside[-1].filename).name}:{inside[-1].lineno})" if inside else ""
    # SQLite and terminals reject lone surrogates.
    return f"{text}{where}".encode(errors="backslashreplace").decode()
