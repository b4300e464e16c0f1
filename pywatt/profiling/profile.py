"""A whole run over a loader: warm-up, the measured passes, and replay where needed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import Method
from pywatt.errors import ArgumentError, BatchError
from pywatt.metering.sensor_model import SensorModel
from pywatt.model.accuracy import AccuracyOf, CountOf
from pywatt.model.batch import Forward, call_model, describe, duplicate, explain_call_errors, move
from pywatt.model.reachable_state import preserved_attributes
from pywatt.model.state import preserved_state
from pywatt.profiling.loader import Batches, can_iterate
from pywatt.profiling.profiler import Profiler
from pywatt.profiling.result import Profile
from pywatt.sampling.monitor import DEFAULT_RATE_HZ
from pywatt.sensors.selection import SensorChoice
from pywatt.support.checks import check_count, check_positive
from pywatt.support.partial import keep_partial
from pywatt.support.progress import progress_bar

DEFAULT_BUDGET_S = 30.0

# The loader is repeated until the run's energy is known to this share, one standard deviation.
TARGET_STD = 0.01

# Share of the budget that repeating the loader may take.
REPEAT_SHARE = 0.2


def profile(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    sensors: SensorChoice = "auto",
    rate_hz: float = DEFAULT_RATE_HZ,
    forward: Forward | None = None,
    warmup: int | Literal["auto"] = "auto",
    max_batches: int | None = None,
    accuracy: AccuracyOf | str | None = "auto",
    device: torch.device | str | None = None,
    progress: bool | None = None,
    method: Method = "auto",
    budget_s: float = DEFAULT_BUDGET_S,
    repeat: bool = True,
    unit: str = "sample",
    count: CountOf | int | None = None,
    sensor_models: Mapping[str, SensorModel] | None = None,
    clock: _core.Clock | None = None,
) -> Profile:
    """Profile a model's forward passes over a loader: energy of every layer, with its uncertainty.

    The model's mode is not changed; its buffers and the random states are restored afterwards.
    Without `forward`, no gradients are recorded.

    Args:
        model: the model.
        loader: batches: a tensor, a mapping (keyword arguments), or a tuple or list whose first
            item is the input.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings per second, 1 to 10,000.
        forward: a function (model, batch) -> output, called in place of the model.
        warmup: passes over the first batch before the measurement; ``auto``: until the power that
            a meter reads is steady, for 10 s at most.
        max_batches: stop after this many batches; None: all.
        accuracy: ``auto`` (top-1 where batches have integer targets and outputs are class logits),
            a function (output, batch) -> share of right answers, or None.
        device: where batches are moved before the call; default: the model's own device.
        progress: show a progress bar; None: only in a terminal.
        method: how energy is shared among modules: ``overlap``, ``regression``, ``time``, or
            ``replay``, which repeats each module on its own after the run, for as long as the
            sensor needs; or ``auto``, the most certain of the first two that is reliable (see
            `pywatt.attribute`), else replay.
        budget_s: how long replay may take.
        repeat: repeat the loader until the energy of the run is known to 1 %, for a fifth of the
            budget at most, if the loader can be repeated and `max_batches` is not given.
        unit: what energy is reported per, such as ``token``.
        count: units in a batch, or a function (output, batch) -> number of units; None: its
            samples.
        sensor_models: how sensors average, by sensor name, from `pywatt.characterize` with a known
            load; for other sensors it is found in the run or in replay, where possible.
        clock: a `ScriptedClock` for tests.

    Returns:
        The profile; `print` it for the table.

    Raises:
        ArgumentError: an empty loader, not a torch module, an unknown sensor, a rate out of range.
        BatchError: the model cannot be called with the loader's first batch.
        SensorError: a sensor asked for by name cannot be read.
        Exception: whatever the model or the loader raises. What was measured until then is in the
            exception's `partial_profile`.
    """
    check_count("warmup", warmup, 0, or_else="auto")
    check_count("max_batches", max_batches, 1, or_else=None)
    check_positive("budget_s", budget_s, "30 for thirty seconds")
    if not (forward is None or callable(forward)):
        raise ArgumentError(f"forward must be a function (model, batch), not {forward!r}")
    if isinstance(loader, (torch.Tensor, Mapping, str)) or not can_iterate(loader):
        raise BatchError(f"the loader is {describe(loader)}: give batches, such as [batch]")
    profiler = Profiler(
        model,
        sensors=sensors,
        rate_hz=rate_hz,
        method=method,
        accuracy=accuracy,
        unit=unit,
        count=count,
        device="cpu" if device is None else device,
        sensor_models=sensor_models,
        clock=clock,
    )
    target = torch.device(profiler.device if device is None else device)
    call = _no_grad_call if forward is None else forward
    explain = explain_call_errors if forward is None else nullcontext
    with preserved_state(model):
        batches = Batches(loader, max_batches)
        # The model may write into its input, so each pass gets a copy.
        kept = duplicate(batches.first, target)

        def run_pass() -> None:
            with preserved_state(model):
                call(model, duplicate(kept, target))

        def run_replay_pass() -> None:
            # Replay ends passes early, which may leave the model's attributes half-updated.
            with preserved_attributes(model):
                run_pass()

        before = _parameter_state(model)

        def trains() -> bool:
            return _parameter_state(model) != before

        # Checked after the warm-up where there is one: a check in the run would add to its energy.
        trained: bool | None = None

        def is_enough() -> bool:
            nonlocal trained
            late = profiler.duration_s > REPEAT_SHARE * budget_s
            if not repeat or late or profiler.knows_energy_to(TARGET_STD):
                return True
            trained = trains() if trained is None else trained
            return trained

        lazy = any(map(nn.parameter.is_lazy, model.parameters()))
        with explain(kept):
            for _ in range(1 if warmup == "auto" else warmup):
                run_pass()
        if lazy:
            before = _parameter_state(model)  # the first pass has only made its parameters
        if warmup:
            trained = trains()
        if warmup == "auto" and not trained:
            profiler.warm_up(run_pass)
        try:
            with (
                progress_bar("profiling", batches.count, progress) as advance,
                profiler,
            ):
                for number, batch in enumerate(batches.until(is_enough)):
                    moved = move(batch, target)
                    # After a warm-up the model is known to accept the first batch.
                    with explain(moved) if number == warmup == 0 else nullcontext():
                        output = call(model, moved)
                    profiler.step(moved, output)
                    advance()
            profiler.add_notes(batches.notes)
            if profiler.wants_replay and trains():
                profiler.skip_replay(
                    "the run changed the model's parameters or gradients, and so would each pass"
                )
            elif profiler.wants_replay:
                profiler.replay(run_replay_pass, budget_s=budget_s, progress=progress)
        except BaseException as error:
            profiler._ensure_left(error)
            keep_partial(error, profiler.result)
            raise
    return profiler.result()


def _no_grad_call(model: nn.Module, batch: Any) -> Any:
    with torch.no_grad():
        return call_model(model, batch)


def _parameter_state(model: nn.Module) -> list[Hashable]:
    """Return a fingerprint of parameters and gradients, to compare two moments."""
    return [
        (id(p), _checksum(p), None if p.grad is None else (id(p.grad), _checksum(p.grad)))
        for p in model.parameters()
    ]


def _checksum(tensor: torch.Tensor) -> Hashable:
    """Return a checksum of the content: version counters miss writes through `.data`."""
    try:
        total = float(tensor.detach().sum(dtype=torch.float64))
    except Exception:  # no numbers in it, or none that torch can sum: lazy, meta, quantized
        total = 0.0
    return repr(total)  # so that NaN equals NaN
