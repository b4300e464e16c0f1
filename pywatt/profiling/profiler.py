"""`pywatt.Profiler`: hooks, monitor and attribution around the user's own loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import METHODS, Method
from pywatt.attribution.result import PathTimes, fold_by_name
from pywatt.errors import ArgumentError, PywattError
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import sources_of, total_energy
from pywatt.model.accuracy import Accuracy, AccuracyOf, CountOf, Units
from pywatt.model.batch import describe, samples_in
from pywatt.model.hooks import ModuleHooks
from pywatt.model.modules import known_device
from pywatt.profiling.assembly import assemble
from pywatt.profiling.result import Profile
from pywatt.profiling.segment import Recording, Shared, share, with_replay, without_replay_hint
from pywatt.profiling.warmup import warm_up
from pywatt.replay.runner import Replay
from pywatt.sampling.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.sensors.device_state import DeviceState, Moment, device_states
from pywatt.sensors.selection import Selection, SensorChoice, cover_devices, select
from pywatt.spans import windows
from pywatt.support.progress import progress_bar
from pywatt.support.signals import uninterrupted


class Profiler:
    """Profile a model inside a `with` statement, in the user's own loop.

    ::

        with pywatt.Profiler(model) as p:
            for batch in loader:
                output = model(batch)
                p.step(batch)
        print(p.result())

    Everything inside counts; energy used while no module runs is the profile's `outside_j`. The
    model, its buffers and random states are not touched. Hooks are removed on exit, also on an
    exception, and `result` returns what was measured until then.

    Args:
        model: the model.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings per second, 1 to 10,000.
        method: how energy is shared among modules: ``overlap``, ``regression``, ``time``, or
            ``auto``, the most certain of these that is reliable; see `pywatt.attribute`. For
            ``replay``, which runs passes of its own, use `pywatt.profile`.
        accuracy: ``auto`` (top-1 where batches have integer targets and outputs are class logits),
            a function (output, batch) -> share of right answers, or None. It needs the output
            passed to `step`.
        unit: what energy is reported per, such as ``token``.
        count: units in a batch, or a function (output, batch) -> number of units, which needs the
            output passed to `step`; None: its samples.
        device: device of a model that has no tensors.
        sensor_models: how sensors average, by sensor name, from `pywatt.characterize` with a known
            load; for other sensors it is found in the run, where possible.
        clock: a `ScriptedClock` for tests.

    Raises:
        ArgumentError: not a torch module, an unknown sensor or method, or a rate out of range.
        SensorError: a sensor asked for by name cannot be read.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sensors: SensorChoice = "auto",
        rate_hz: float = DEFAULT_RATE_HZ,
        method: Method = "auto",
        accuracy: AccuracyOf | str | None = "auto",
        unit: str = "sample",
        count: CountOf | int | None = None,
        device: torch.device | str = "cpu",
        sensor_models: Mapping[str, SensorModel] | None = None,
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
        self._recording: Recording | None = None
        self._shared: tuple[Shared, ...] = ()
        # Why replay was skipped, where it was asked for.
        self._skipped: str | None = "only pywatt.profile can run passes of its own"
        self._clock = _core.steady_clock() if clock is None else clock
        self._hooks = ModuleHooks(model, self._clock, default_device=known_device(device))
        selection = select(sensors, devices=self._hooks.devices)
        if sensors != "auto":
            selection = cover_devices(selection, self._hooks.devices)
        self._sensors = selection.sensors
        self._sensor_models = _known_models(sensor_models or {}, selection)
        self._monitor = self._new_monitor()
        self._notes = selection.notes
        self._device_states: tuple[DeviceState, ...] = ()
        self._accuracy = Accuracy(accuracy)
        self._batches = 0
        self._samples: int | None = 0
        self._units = Units(unit, count)
        self._training = False
        self._start_s: float | None = None
        self._end_s: float | None = None
        self._result: Profile | None = None

    def __enter__(self) -> Profiler:
        """Start sampling, wait until the slowest meter has shown idle power, and add the hooks."""
        if self._start_s is not None:
            raise PywattError("this profiler was already used: make a new one for another run")
        self._note_device_states("start")
        begun = ExitStack()
        try:
            with uninterrupted(), ExitStack() as undo:
                undo.enter_context(self._monitor)
                # So that a slow meter shows idle power separately from the run.
                self._monitor.idle(self._monitor.settle_s)
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
        """Remove the hooks and stop; the user's exception propagates."""
        try:
            with uninterrupted():
                self._leave(kind, error, traceback)
        except BaseException as late:
            self._ensure_left(late)
            raise

    def _ensure_left(self, error: BaseException) -> None:
        """Leave where Ctrl-C interrupted `__exit__` before it was deferred."""
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
            # An exception that bypasses the hooks, such as Ctrl-C, leaves calls open.
            self._hooks.recorder.close_all()
        finally:
            self._end_s = self._clock.now_s()
            try:
                # With a slow meter sampling continues for a moment: `result` waits for it.
                self._monitor.stop_after(self._end_s)
                self._note_device_states("end")
            finally:
                self._hooks.__exit__(kind, error, traceback)

    def _new_monitor(self) -> Monitor:
        return Monitor(self._sensors, rate_hz=self._rate_hz, clock=self._clock)

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
        """Open a named window in this profile, and return a function that closes it."""
        return self._hooks.open_window(name)

    def step(self, batch: Any = None, output: Any = None, *, samples: int | None = None) -> None:
        """Count one batch.

        Args:
            batch: the batch; the first dimension of its first tensor counts its samples.
            output: the model's output for it, for the accuracy.
            samples: number of samples, where it does not follow from the batch.
        """
        self._batches += 1
        counted = samples if samples is not None else samples_in(batch)
        if counted is None or self._samples is None:
            self._samples = None
        else:
            self._samples += counted
        self._units.add(output, batch, counted)
        if output is not None:
            self._accuracy.add(output, batch)

    @property
    def duration_s(self) -> float:
        """How long the run has taken so far."""
        if self._start_s is None:
            return 0.0
        return (self._clock.now_s() if self._end_s is None else self._end_s) - self._start_s

    def knows_energy_to(self, share: float) -> bool:
        """Return whether the run's energy so far is known to a share of it, or never will be."""
        infos = [info for sensor in self._sensors for info in sensor.infos]
        traces = self._monitor.traces
        lost = len(traces) < len(infos) or any(trace.ended for trace in traces.values())
        if self._start_s is None or lost or self.duration_s <= 0:
            return True
        total = total_energy(sources_of(traces, infos), self._start_s, self._clock.now_s())
        return total is not None and total.energy_j_std <= share * abs(total.energy_j)

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Add notes to the result."""
        self._notes += notes

    @property
    def wants_replay(self) -> bool:
        """Whether replay was asked for, or is needed to separate the modules."""
        if self._method not in ("auto", "replay"):
            return False
        asked = self._method == "replay"
        return any(asked or one.found.doubt is not None for one in self._recorded()[1])

    def warm_up(self, run_pass: Callable[[], None]) -> None:
        """Run passes, before the `with` statement, until the power that meters read is steady."""
        note = warm_up(run_pass, self._new_monitor())
        self._notes += () if note is None else (note,)

    def replay(
        self, run_pass: Callable[[], None], *, budget_s: float, progress: bool | None = None
    ) -> None:
        """Measure each module on its own, back to back; `result` then uses these energies.

        Args:
            run_pass: runs one pass without side effects; replay ends it early from inside.
            budget_s: how long this may take.
            progress: show a progress bar; None: only in a terminal.
        """
        recording, shared = self._recorded()
        hooks = self._hooks
        spans = hooks.spans(hooks.devices)
        times, paths, names = PathTimes.of(spans), spans.paths, len(hooks.entries)
        devices = {one.source.name: one.devices for one in shared}
        with progress_bar("replaying", round(budget_s), progress) as advance:
            replayed = Replay(
                hooks.entries,
                run_pass,
                self._new_monitor(),
                time_s=fold_by_name(paths, times.time_s * paths.outermost(), names),
                self_time_s=fold_by_name(paths, times.self_time_s, names),
                duration_s=recording.duration_s,
                devices=devices,
                budget_s=budget_s,
                advance=advance,
                sensor_models=self._sensor_models,
            ).run()
        self._skipped = None
        self._notes += replayed.notes
        self._shared = with_replay(recording, shared, replayed)

    def skip_replay(self, why: str) -> None:
        """Keep the modules' energies from the run alone; a note in `result` says why."""
        self._skipped = why
        self._shared = tuple(map(without_replay_hint, self._recorded()[1]))
        if self._method == "auto":
            self._notes += (f"nothing was replayed, since {why}",)

    def result(self) -> Profile:
        """Return the profile, once the `with` statement has been left.

        Raises:
            PywattError: the profiler has not been entered and left.
        """
        if self._result is None:
            recording, shared = self._recorded()
            notes = (*self._notes, *recording.notes)
            if self._method == "replay" and self._skipped is not None:
                notes += (
                    f"nothing was replayed, since {self._skipped}: energy is shared as by "
                    "method='auto'",
                )
            self._result = assemble(replace(recording, notes=notes), shared)
        return self._result

    def _recorded(self) -> tuple[Recording, tuple[Shared, ...]]:
        """Return the recording of the run and its energy, shared among the modules."""
        if self._start_s is None or self._end_s is None:
            raise PywattError("there is no result yet: exit the profiler's `with` statement first")
        if self._recording is None:
            self._monitor.wait()
            traces, notes = self._monitor.read()
            self._recording = Recording(
                hooks=self._hooks,
                infos=tuple(i for sensor in self._monitor.sensors for i in sensor.infos),
                traces=traces,
                start_s=self._start_s,
                end_s=self._end_s,
                batches=self._batches,
                training=self._training,
                samples=self._samples if self._batches else None,
                accuracy=self._accuracy,
                units=self._units,
                device_states=self._device_states,
                sensor_models=self._sensor_models,
                notes=notes,
                method=self._method,
            )
            self._shared = share(self._recording)
        return self._recording, self._shared


def _known_models(
    models: Mapping[str, SensorModel], selection: Selection
) -> Mapping[str, SensorModel]:
    names = [info.name for sensor in selection.sensors for info in sensor.infos]
    for name, model in models.items():
        if name not in names:
            raise ArgumentError(
                f"sensor_models has {name!r}, which is not read: name one of {', '.join(names)}"
            )
        if not isinstance(model, SensorModel):
            raise ArgumentError(
                f"sensor_models[{name!r}] is {describe(model)}: give a result of "
                "pywatt.characterize"
            )
    return models
