"""`pywatt.measure`: energy of a block of code, or of every call of a function."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from pywatt import _core
from pywatt.errors import ArgumentError, PywattError
from pywatt.metering.caveats import caveats, unknowns, unresolved
from pywatt.metering.energies import SpanEnergy, WindowEnergy
from pywatt.metering.quiet import BUDGET_S, wait_until_quiet
from pywatt.metering.source import Source, energy_by_sensor, sources_of, total_energy
from pywatt.metering.window_energies import WindowEnergies
from pywatt.sampling.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.sampling.trace import Trace
from pywatt.sensors.info import SensorInfo
from pywatt.sensors.selection import SensorChoice, select
from pywatt.spans import windows
from pywatt.spans.columns import RecordedSpans
from pywatt.support.callables import works_later
from pywatt.support.display import explained, shown
from pywatt.support.signals import uninterrupted

P = ParamSpec("P")
R = TypeVar("R")


class measure:  # noqa: N801  (used as a verb: with measure() as m)
    """Measure the energy of a block of code, or of every call of a function.

    ::

        with pywatt.measure() as m:
            work()
        print(m)

        @pywatt.measure()
        def work(): ...
        work()
        print(work.measurement)

    With a slow meter, sampling continues in its own thread for up to 0.25 s after the block. The
    block does not wait for that; the figures do, when they are read. Measurements nest.

    To separate a block shorter than a few updates of its meter (100 ms on NVIDIA GPUs) from what
    runs around it, use ``quiet=True``; see docs/short-runs.md. If the work can be repeated, repeat
    it instead: that is more accurate.

    Args:
        sensors: ``auto`` (all meters of this machine; without any, the software estimate of the
            CPU), names from `pywatt.sensors()`, or sensor objects. Where GPUs have meters and the
            CPU has none, ``auto`` adds no estimate to what was measured, and a note says so: to
            have it, name ``cpu:estimated`` too.
        rate_hz: readings per second, 1 to 10,000.
        quiet: wait before and after the block, for at most 5 s each, until slow meters show a
            steady power; the energy is what they counted between the two waits, less that power in
            the time outside of the block. The waits are not in `duration_s`. The work must be done
            when the block ends: synchronize CUDA in it.
        clock: a `ScriptedClock` for tests.

    Raises:
        ArgumentError: an unknown sensor or a rate out of range, before the block begins.
        SensorError: a sensor asked for by name cannot be read.
    """

    def __init__(
        self,
        *,
        sensors: SensorChoice = "auto",
        rate_hz: float = DEFAULT_RATE_HZ,
        quiet: bool = False,
        clock: _core.Clock | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "sensors": sensors,
            "rate_hz": rate_hz,
            "quiet": quiet,
            "clock": clock,
        }
        # Raises for a rate out of range or an unknown sensor here, not during the user's run.
        self._ready = [_open(**self._options)]
        self._entered = _Entered()

    def __enter__(self) -> Measurement:
        """Start, and return the measurement, which has its figures after the block."""
        try:
            measurement = self._ready.pop()
        except IndexError:
            measurement = _open(**self._options)
        self._entered.stack.append(measurement)
        try:
            measurement._begin()
            return measurement
        except BaseException:
            measurement._end(wait=False)
            self._entered.stack.pop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, also on an exception; what was measured until then is kept."""
        try:
            self._entered.stack[-1]._end(wait=error is None)
        except BaseException:
            self._entered.stack[-1]._end(wait=False)  # Ctrl-C came just before it was deferred
            raise
        finally:
            self._entered.stack.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure every call of `function`; its `measurement` is that of the last finished call.

        Raises:
            ArgumentError: `function` is a generator or coroutine function, whose work is done after
                its call.
        """
        if works_later(function):
            raise ArgumentError(
                f"a call of {function.__qualname__} returns before its work is done: use "
                "`with pywatt.measure()` inside it instead of the decorator"
            )
        options = self._options
        self._ready.clear()  # every call opens its own

        @functools.wraps(function)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            measurement = _open(**options)
            try:
                measurement._begin()
                return function(*args, **kwargs)
            finally:
                try:
                    measurement._end()
                finally:
                    measurement._end(wait=False)  # Ctrl-C can come just before it is deferred
                    measured.measurement = measurement  # type: ignore[attr-defined]  # set below

        measured.measurement = None  # type: ignore[attr-defined]  # a function has none
        return measured


class _Entered(threading.local):
    """Open measurements of one `measure`, per thread: blocks nest within a thread."""

    def __init__(self) -> None:
        self.stack: list[Measurement] = []


def _open(
    sensors: SensorChoice, rate_hz: float, quiet: bool, clock: _core.Clock | None
) -> Measurement:
    selection = select(sensors)
    monitor = Monitor(selection.sensors, rate_hz=rate_hz, clock=clock)
    return Measurement(monitor, selection.notes, quiet=quiet)


class Measurement:
    """Result of `measure`. Figures are None where nothing could be measured; `notes` say why."""

    def __init__(self, monitor: Monitor, notes: tuple[str, ...], *, quiet: bool = False) -> None:
        self._monitor = monitor
        self._selection_notes = notes
        self._recorder = _core.SpanRecorder(monitor.clock)
        self._window_names: list[str] = []
        self._start_s: float | None = None
        self._end_s: float | None = None
        self._quiet = quiet
        self._quiet_notes: tuple[str, ...] = ()  # set where the wait for quiet timed out
        self._energies: _Energies | None = None

    @property
    def started(self) -> bool:
        """Whether the block has been entered."""
        return self._start_s is not None

    def _begin(self) -> None:
        with uninterrupted():
            self._monitor.__enter__()
        self._wait_until_quiet("before", -math.inf)
        with uninterrupted():
            windows.activate(self)
            self._start_s = self._monitor.clock.now_s()

    def _end(self, *, wait: bool = True) -> None:
        """End the block; with `wait`, wait for quiet after it if `quiet` was given."""
        with uninterrupted():
            if self._end_s is not None:
                return
            self._end_s = self._monitor.clock.now_s()
            windows.deactivate(self)
            self._recorder.close_all()
            wait = wait and self._quiet and self._start_s is not None
            # Sampling ends then, also if the wait is interrupted.
            self._monitor.stop_after(self._end_s + (BUDGET_S if wait else 0.0))
        self._quiet = wait
        if wait:
            self._wait_until_quiet("after", self._end_s)
            self._monitor.stop()

    def _wait_until_quiet(self, when: str, since_s: float) -> None:
        if self._quiet and not wait_until_quiet(self._monitor, since_s):
            self._quiet_notes += (
                f"the power was not steady within {BUDGET_S:g} s {when} the block: its energy is "
                "computed as without quiet=True",
            )

    def open_window(self, name: str) -> Callable[[], None]:
        """Open a named window inside this measurement, and return a function that closes it."""
        if name not in self._window_names:
            self._window_names.append(name)
        index = self._window_names.index(name)
        self._recorder.enter(index)

        def close() -> None:
            self._recorder.exit(index)

        return close

    def _found(self) -> _Energies:
        if self._energies is not None:
            return self._energies
        start_s = self._start_s
        if start_s is None:
            raise PywattError("this measurement has not begun: use it in a `with` statement")
        ended = self._end_s is not None
        if ended:
            self._monitor.wait()
        end_s = self._end_s if self._end_s is not None else self._monitor.clock.now_s()
        traces, notes = self._monitor.read()
        infos = [info for sensor in self._monitor.sensors for info in sensor.infos]
        found = _Energies.of(
            traces,
            infos,
            start_s,
            end_s,
            (*self._selection_notes, *self._quiet_notes, *notes),
            quiet=ended and self._quiet and not self._quiet_notes,
        )
        if ended:
            self._energies = found
        return found

    @property
    def energy_j(self) -> float | None:
        """Energy of the block in J, over all sensors that do not contain one another."""
        total = self._found().total
        return None if total is None else total.energy_j

    @property
    def energy_j_std(self) -> float | None:
        """One standard deviation of `energy_j` from timing and edges in J.

        It includes no error in the scale of a meter or an estimate.
        """
        total = self._found().total
        return None if total is None else total.energy_j_std

    @property
    def duration_s(self) -> float:
        """Time from the beginning of the block to its end, or inside it to now, in s."""
        if self._start_s is None:
            return 0.0
        end_s = self._monitor.clock.now_s() if self._end_s is None else self._end_s
        return end_s - self._start_s

    @property
    def power_w(self) -> float | None:
        """Mean power over the block in W."""
        energy_j = self.energy_j
        return None if energy_j is None or self.duration_s <= 0 else energy_j / self.duration_s

    @property
    def energy_by_sensor(self) -> dict[str, float | None]:
        """Energy by sensor in J; these may contain one another, so they need not add up."""
        return dict(self._found().by_sensor)

    @property
    def traces(self) -> Mapping[str, Trace]:
        """The readings by sensor name, available inside the block too."""
        return self._found().traces

    @property
    def estimated(self) -> bool:
        """Whether any part of `energy_j` was computed from a model instead of read from a meter."""
        return any(source.info.estimated for source in self._found().sources)

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats on the figures."""
        return (*self._found().notes, *self._windows_found().notes)

    @property
    def windows(self) -> tuple[SpanEnergy, ...]:
        """Energy of each named window inside the block, in order of first use."""
        return self._windows_found().rows

    def _windows_found(self) -> WindowEnergies:
        found = self._found()
        if found.windows is not None:
            return found.windows
        windows = WindowEnergies.of(
            found.sources, RecordedSpans(self._window_names, self._recorder)
        )
        if found is self._energies:
            found.windows = windows
        return windows

    @property
    def sensors(self) -> tuple[SensorInfo, ...]:
        """The sensors whose energies add up to `energy_j`."""
        return tuple(source.info for source in self._found().sources)

    def explain(self) -> str:
        """Return what the printed line omits: windows, sensors and all notes."""
        return explained(self)

    def __str__(self) -> str:
        """Return one line: energy with its uncertainty, power, time and sensors."""
        return shown(self)

    def __repr__(self) -> str:
        """Return `str`, marked as a measurement."""
        return f"<Measurement {self}>" if self.started else "<Measurement, not begun>"


class _Energies:
    """The figures of a measurement."""

    def __init__(
        self,
        traces: dict[str, Trace],
        sources: tuple[Source, ...],
        total: WindowEnergy | None,
        by_sensor: dict[str, float | None],
        notes: tuple[str, ...],
    ) -> None:
        self.traces = traces
        self.sources = sources
        self.total = total
        self.by_sensor = by_sensor
        self.notes = notes
        self.windows: WindowEnergies | None = None  # computed when first read

    @classmethod
    def of(
        cls,
        traces: dict[str, Trace],
        infos: list[SensorInfo],
        start_s: float,
        end_s: float,
        notes: tuple[str, ...],
        *,
        quiet: bool,
    ) -> _Energies:
        sources = sources_of(traces, infos)
        sensor_notes = [f"{n}: {t.sensor.note}" for n, t in traces.items() if t.sensor.note]
        return cls(
            traces,
            sources,
            total_energy(sources, start_s, end_s, quiet=quiet),
            energy_by_sensor(traces, infos, start_s, end_s, quiet=quiet),
            (
                *notes,
                *unknowns(sources, start_s, end_s),
                *unresolved(sources, start_s, end_s, quiet=quiet),
                *sensor_notes,
                *caveats(sources),
            ),
        )
