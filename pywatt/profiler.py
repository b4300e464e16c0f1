"""Runs the work: hooks, monitor and attribution together make a profile."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any, SupportsIndex

import torch
from torch import nn

from pywatt import _core, windows
from pywatt.assembly import Recording, assemble, devices_of
from pywatt.attribution import METHODS, Method
from pywatt.attribution.result import PathTimes, fold_by_name
from pywatt.batches import (
    Accuracy,
    AccuracyOf,
    Forward,
    call_model,
    describe,
    duplicate,
    explained,
    move,
    samples_in,
)
from pywatt.device_state import DeviceState, Moment, device_states
from pywatt.errors import ArgumentError, BatchError, PywattError
from pywatt.hooks import ModuleHooks
from pywatt.interrupts import uninterrupted
from pywatt.modules import known_device
from pywatt.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.preserve import preserved_state
from pywatt.progress import progress_bar
from pywatt.replay.findings import Replayed
from pywatt.replay.runner import Replay, replay_progress
from pywatt.results import Profile
from pywatt.sensors import Selection, SensorChoice, select

DEFAULT_BUDGET_S = 30.0


class Profiler:
    """Profiles what a model does inside a `with` statement, in the user's own loop.

    ::

        with pywatt.Profiler(model) as p:
            for batch in loader:
                output = model(batch)
                p.step(batch)
        print(p.result())

    All that happens inside counts; what happens while no module runs is the profile's `outside_j`.
    The model, its buffers and random states are not touched. Hooks are removed on exit, whatever
    happened, and what was measured until then can be had from `result`.

    Args:
        model: the model.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings a second, 1 to 10,000.
        method: how energy is shared among modules: ``overlap``, ``regression``, ``time``, or
            ``auto``, the surest of these that can be believed; see `pywatt.attribute`. For
            ``replay``, which runs passes of its own, use `pywatt.profile`.
        accuracy: ``auto`` (top-1 where batches have integer targets and outputs are class logits),
            a function (output, batch) -> share of right answers, or None. For it `step` needs the
            output.
        device: device of a model that has no tensors.
        clock: a `ScriptedClock` for tests.

    Raises:
        ArgumentError: not a torch module, an unknown sensor or method, or a rate out of range.
        SensorError: a sensor asked for by name that cannot be read.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sensors: SensorChoice = "auto",
        rate_hz: float = DEFAULT_RATE_HZ,
        method: Method = "auto",
        accuracy: AccuracyOf | str | None = "auto",
        device: torch.device | str = "cpu",
        clock: _core.Clock | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"the model must be a torch.nn.Module, not {type(model).__name__}; "
                "for other work use pywatt.measure()"
            )
        if method not in METHODS:
            raise ArgumentError(f"method is {method!r}, but must be one of {', '.join(METHODS)}")
        if not (accuracy is None or accuracy == "auto" or callable(accuracy)):
            raise ArgumentError(f"accuracy must be 'auto', a function or None, not {accuracy!r}")
        self._model = model
        self._method: Method = method
        self._rate_hz = rate_hz
        self._replayed: Replayed | None = None
        self._clock = _core.steady_clock() if clock is None else clock
        self._hooks = ModuleHooks(model, self._clock, default_device=known_device(device))
        selection = select(sensors, devices=self._hooks.devices)
        if sensors != "auto":
            selection = _stand_in(selection, self._hooks.devices)
        self._monitor = Monitor(selection.sensors, rate_hz=rate_hz, clock=self._clock)
        self._notes = selection.notes
        self._device_states: tuple[DeviceState, ...] = ()
        self._accuracy = Accuracy(accuracy)
        self._batches = 0
        self._samples: int | None = 0
        self._training = False
        self._start_s: float | None = None
        self._end_s: float | None = None
        self._result: Profile | None = None

    def __enter__(self) -> Profiler:
        """Start sampling and put the hooks on."""
        if self._start_s is not None:
            raise PywattError("this profiler was used already: make a new one for another run")
        self._note_device_states("start")
        begun = ExitStack()
        try:
            with uninterrupted(), ExitStack() as undo:
                undo.enter_context(self._monitor)
                undo.enter_context(self._hooks)
                undo.callback(windows.deactivate, self)
                windows.activate(self)
                self._start_s = self._clock.now_s()
                # A frozen TorchScript module has no mode.
                self._training = getattr(self._model, "training", False)
                begun.push(undo.pop_all())
            return self
        except BaseException:
            with uninterrupted():
                begun.close()
                self._start_s = None
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the hooks off and stop; the user's exception goes on."""
        try:
            with uninterrupted():
                self._leave(kind, error, traceback)
        except BaseException as late:
            self._make_sure(late)
            raise

    def _make_sure(self, error: BaseException) -> None:
        """Leave after all where Ctrl-C came to `__exit__` before it was held back."""
        if self._start_s is not None and self._end_s is None:
            with uninterrupted():
                self._leave(type(error), error, error.__traceback__)

    def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        windows.deactivate(self)
        if kind is not None:
            self._notes += (f"the run ended early with {kind.__name__}: this is what was measured",)
        try:
            self._hooks.synchronize()
            # An exception that hooks do not see, such as Ctrl-C, leaves calls open.
            self._hooks.recorder.close_all()
        finally:
            self._end_s = self._clock.now_s()
            try:
                # Sampling goes on for a moment where the meter is slow: `result` waits for it.
                self._monitor.stop_after(self._end_s)
                self._note_device_states("end")
            finally:
                self._hooks.__exit__(kind, error, traceback)

    def _note_device_states(self, moment: Moment) -> None:
        names = [sensor.core.name for sensor in self._monitor.sensors]
        states, notes = device_states(names, moment)
        self._device_states += states
        self._notes += notes

    @property
    def device(self) -> str:
        """Device of the model."""
        return self._hooks.device

    def open_window(self, name: str) -> Callable[[], None]:
        """Open a named window in this profile; returns what closes it."""
        return self._hooks.open_window(name)

    def step(self, batch: Any = None, output: Any = None, *, samples: int | None = None) -> None:
        """Count one batch.

        Args:
            batch: the batch; its samples are counted by its first tensor's first dimension.
            output: what the model gave for it, for the accuracy.
            samples: number of samples, where the batch does not tell.
        """
        self._batches += 1
        counted = samples if samples is not None else samples_in(batch)
        if counted is None or self._samples is None:
            self._samples = None
        else:
            self._samples += counted
        if output is not None:
            self._accuracy.add(output, batch)

    def replay(
        self, run_pass: Callable[[], None], *, budget_s: float, progress: bool | None = None
    ) -> None:
        """Measure each module on its own, back to back, for the profile's method "replay".

        Args:
            run_pass: runs one pass on an input, leaving no trace; it is ended early from inside.
            budget_s: how long this may take.
            progress: show a progress bar; None: only in a terminal.
        """
        if self._start_s is None or self._end_s is None:
            raise PywattError("there is nothing to replay yet: leave the `with` statement first")
        self._monitor.wait()
        hooks = self._hooks
        spans = hooks.spans(hooks.devices)
        times, paths, names = PathTimes.of(spans), spans.paths, len(hooks.entries)
        claimed = {info.device for sensor in self._monitor.sensors for info in sensor.infos}
        with replay_progress(budget_s, progress) as advance:
            self._replayed = Replay(
                hooks.entries,
                run_pass,
                Monitor(self._monitor.sensors, rate_hz=self._rate_hz, clock=self._clock),
                time_s=fold_by_name(paths, times.time_s * paths.outermost(), names),
                self_time_s=fold_by_name(paths, times.self_time_s, names),
                duration_s=self._end_s - self._start_s,
                devices_of=lambda source: devices_of(source, hooks, claimed),
                budget_s=budget_s,
                advance=advance,
            ).run()

    def result(self) -> Profile:
        """Return the profile, once the `with` statement has been left.

        Raises:
            PywattError: the profiler has not been entered and left.
        """
        if self._start_s is None or self._end_s is None:
            raise PywattError("there is no result yet: leave the profiler's `with` statement first")
        if self._result is None:
            self._monitor.wait()
            traces, trace_notes = self._monitor.read()
            self._result = assemble(
                Recording(
                    hooks=self._hooks,
                    infos=tuple(i for sensor in self._monitor.sensors for i in sensor.infos),
                    traces=traces,
                    start_s=self._start_s,
                    end_s=self._end_s,
                    batches=self._batches,
                    training=self._training,
                    samples=self._samples if self._batches else None,
                    accuracy=self._accuracy,
                    device_states=self._device_states,
                    notes=(*self._notes, *trace_notes),
                    method=self._method,
                    replayed=self._replayed,
                )
            )
        return self._result


def profile(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    sensors: SensorChoice = "auto",
    rate_hz: float = DEFAULT_RATE_HZ,
    forward: Forward | None = None,
    warmup: int = 1,
    max_batches: int | None = None,
    accuracy: AccuracyOf | str | None = "auto",
    device: torch.device | str | None = None,
    progress: bool | None = None,
    method: Method = "auto",
    budget_s: float = DEFAULT_BUDGET_S,
    clock: _core.Clock | None = None,
) -> Profile:
    """Profile a model's forward passes over a loader: energy of every layer, with its uncertainty.

    The model is called as it is: its mode is not changed, and afterwards its mode, its buffers and
    the random states are as before. Without `forward`, no gradients are recorded.

    Args:
        model: the model.
        loader: batches: a tensor, a mapping (keyword arguments), or a tuple or list whose first
            item is the input.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings a second, 1 to 10,000.
        forward: (model, batch) -> output, in place of calling the model with the batch.
        warmup: passes over the first batch before the measurement begins.
        max_batches: end after so many batches; None: all.
        accuracy: ``auto`` (top-1 where batches have integer targets and outputs are class logits),
            a function (output, batch) -> share of right answers, or None.
        device: where batches are moved before the call; default: the model's own device.
        progress: show a progress bar; None: only in a terminal.
        method: how energy is shared among modules: ``overlap``, ``regression``, ``time``, or
            ``auto``, the surest of these that can be believed (see `pywatt.attribute`); or
            ``replay``, which afterwards runs each module on its own for as long as the sensor
            needs to see it.
        budget_s: how long ``replay`` may take.
        clock: a `ScriptedClock` for tests.

    Returns:
        The profile; `print` it for the table.

    Raises:
        ArgumentError: an empty loader, not a torch module, an unknown sensor, a rate out of range.
        BatchError: the loader's first batch is not one the model can be called with.
        SensorError: a sensor asked for by name that cannot be read.
        Exception: whatever the model or the loader raises. What was measured until then is in the
            exception's `partial_profile`.
    """
    counts = (warmup, 0), (1 if max_batches is None else max_batches, 1)
    if any(not isinstance(n, SupportsIndex) or operator.index(n) < least for n, least in counts):
        raise ArgumentError(
            f"warmup is {warmup!r} and max_batches is {max_batches!r}; they must be whole numbers "
            "of at least 0 and 1"
        )
    if not (math.isfinite(budget_s) and budget_s > 0):
        raise ArgumentError(f"budget_s is {budget_s}, but must be a number of seconds above 0")
    if not (forward is None or callable(forward)):
        raise ArgumentError(f"forward must be a function (model, batch), not {forward!r}")
    if isinstance(loader, (torch.Tensor, Mapping, str)) or not _can_iterate(loader):
        raise BatchError(f"the loader is {describe(loader)}: give batches, such as [batch]")
    profiler = Profiler(
        model,
        sensors=sensors,
        rate_hz=rate_hz,
        method=method,
        accuracy=accuracy,
        device="cpu" if device is None else device,
        clock=clock,
    )
    target = torch.device(profiler.device if device is None else device)
    call = _no_grad_call if forward is None else forward
    explain = explained if forward is None else nullcontext
    with preserved_state(model):
        batches = iter(loader)
        first = list(itertools.islice(batches, 1))
        if not first:
            raise ArgumentError("the loader gave no batch: there is nothing to profile")
        with preserved_state(model):
            for _ in range(warmup):
                copied = duplicate(first[0], target)
                with explain(copied):
                    call(model, copied)
        # The model may write into its input, and what is replayed must be as it was.
        kept = duplicate(first[0], target) if method == "replay" else None
        todo = itertools.islice(itertools.chain(first, batches), max_batches)
        try:
            with (
                progress_bar("profiling", _length(loader, max_batches), progress) as advance,
                profiler,
            ):
                for number, batch in enumerate(todo):
                    moved = move(batch, target)
                    # After a warm-up the model is known to take the first batch.
                    with explain(moved) if number == warmup == 0 else nullcontext():
                        output = call(model, moved)
                    profiler.step(moved, output)
                    advance()
        except BaseException as error:
            profiler._make_sure(error)
            _keep_partial(error, profiler)
            raise

        def run_pass() -> None:
            with preserved_state(model):
                call(model, duplicate(kept, target))

        if method == "replay":
            profiler.replay(run_pass, budget_s=budget_s, progress=progress)
    return profiler.result()


def _no_grad_call(model: nn.Module, batch: Any) -> Any:
    with torch.no_grad():
        return call_model(model, batch)


def _can_iterate(loader: Any) -> bool:
    return hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")


def _stand_in(selection: Selection, devices: tuple[str, ...]) -> Selection:
    """Let the one sensor that was given stand for all devices, also those it was not made for."""
    if len(selection.sensors) != 1:
        return selection
    (sensor,) = selection.sensors
    others = [device for device in devices if sensor.device not in (None, device)]
    if not others:
        return selection
    note = f"{sensor.core.name} was the one sensor given: it stands for {', '.join(others)} too"
    return Selection((replace(sensor, device=None),), (*selection.notes, note))


def _length(loader: Iterable[Any], max_batches: int | None) -> int | None:
    try:
        length = len(loader)  # type: ignore[arg-type]  # not every loader has a length
    except Exception:  # whatever its __len__ says, the loader may be fine
        return max_batches
    return length if max_batches is None else min(length, max_batches)


def _keep_partial(error: BaseException, profiler: Profiler) -> None:
    """Put what was measured so far on the user's exception, which goes on as it is."""
    try:
        error.partial_profile = profiler.result()  # type: ignore[attr-defined]  # ours
    except Exception:
        return
