"""The context manager over the native sampler."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType

from pywatt import _core
from pywatt.errors import ArgumentError, PywattError
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.info import OpenSensor, SensorInfo

DEFAULT_RATE_HZ = 1000.0

# How long a sensor with an unknown update period is read after a window: NVML's counters update
# every 100 ms at the latest, and two updates after the window give the power at its end.
UNKNOWN_PERIOD_SETTLE_S = 0.25


class Monitor:
    """Samples sensors in one native thread while it is entered.

    The traces can be read at any time, also while it runs.

    Args:
        sensors: what to read; without any there are no traces.
        rate_hz: readings a second, 1 to 10,000.
        clock: a `ScriptedClock` for tests; default: the monotonic clock.

    Raises:
        ArgumentError: a rate out of range.
    """

    def __init__(
        self,
        sensors: Sequence[OpenSensor],
        *,
        rate_hz: float = DEFAULT_RATE_HZ,
        clock: _core.Clock | None = None,
    ) -> None:
        self.sensors = tuple(sensors)
        self.clock = _core.steady_clock() if clock is None else clock
        self._infos: dict[str, SensorInfo] = {
            info.name: info for sensor in self.sensors for info in sensor.infos
        }
        try:
            rate_hz = float(rate_hz)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"rate_hz is {rate_hz!r}: give readings a second") from error
        self._sampler = (
            _core.Sampler([sensor.core for sensor in self.sensors], rate_hz, self.clock)
            if self.sensors
            else None
        )
        self._last_reading_s = -math.inf  # set by stop_after

    def __enter__(self) -> Monitor:
        """Start sampling; return when every sensor has been read once."""
        if self._sampler is not None:
            self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take one last reading and stop."""
        self.stop()

    def stop(self) -> None:
        """Take one last reading and stop, within 2 s even if a driver hangs."""
        if self._sampler is not None:
            self._sampler.stop()

    @property
    def settle_s(self) -> float:
        """How long after a window the slowest sensor must be read to know the window's end."""
        periods_s = [info.update_period_s for info in self._infos.values()]
        waits_s = [UNKNOWN_PERIOD_SETTLE_S if p is None else 2.5 * p for p in periods_s]
        return max(waits_s, default=0.0)

    def idle(self, duration_s: float) -> None:
        """Wait while sensors are read and nothing else runs; advance a `ScriptedClock`."""
        if isinstance(self.clock, _core.ScriptedClock):
            self.clock.advance(duration_s)
        else:
            time.sleep(duration_s)

    def stop_after(self, end_s: float) -> None:
        """Let the thread end by itself once it has read long enough after `end_s`."""
        if self._sampler is not None:
            if self.settle_s > 0.0:
                self._last_reading_s = end_s + self.settle_s
                self._sampler.stop_at(self._last_reading_s)
            else:
                self._sampler.stop()

    def wait(self) -> None:
        """Wait for the end set by `stop_after`, at most 2 s longer even if a driver hangs.

        A `ScriptedClock` is advanced to it.
        """
        if self._sampler is None:
            return
        if isinstance(self.clock, _core.ScriptedClock):
            self.idle(max(0.0, self._last_reading_s - self.clock.now_s()))
        else:
            while self._sampler.running() and self.clock.now_s() < self._last_reading_s:
                self.idle(0.005)
        # The thread ends by itself; this joins it, or abandons it if a driver hangs.
        self._sampler.stop()

    @property
    def has_settled(self) -> bool:
        """Return whether the end set by `stop_after` is over, so that `wait` returns at once."""
        return self.clock.now_s() >= self._last_reading_s

    @property
    def running(self) -> bool:
        """Return whether sensors are being read."""
        return self._sampler is not None and self._sampler.running()

    def read(self) -> tuple[dict[str, Trace], tuple[str, ...]]:
        """Return the traces so far by sensor name, and notes on what failed or ended early."""
        traces: dict[str, Trace] = {}
        notes: list[str] = []
        if self._sampler is None:
            return traces, ()
        for index in range(self._sampler.channel_count()):
            taken = self._sampler.trace(index)
            name = taken.channel.name
            try:
                trace = _trace_of(taken, self._infos[name])
            except PywattError:
                failures = taken.quality.failed_readings
                notes.append(f"{name} gave no reading: {taken.ended or f'{failures} reads failed'}")
                continue
            traces[name] = trace
            if trace.ended is not None:
                after_s = f"{trace.duration_s:.3g} s after it began"
                notes.append(f"the trace of {name} ended early, {after_s}: {trace.ended}")
        return traces, tuple(notes)

    @property
    def traces(self) -> dict[str, Trace]:
        """The traces so far, by sensor name."""
        return self.read()[0]


def _trace_of(taken: _core.ChannelTrace, info: SensorInfo) -> Trace:
    quality = taken.quality
    runs = taken.runs
    return Trace(
        time_s=taken.time_s,
        power_w=taken.power_w,
        energy_j=taken.energy_j,
        sensor=info,
        quality=Quality(
            asked_rate_hz=quality.asked_rate_hz,
            achieved_rate_hz=quality.achieved_rate_hz,
            missed_deadlines=quality.missed_deadlines,
            longest_gap_s=quality.longest_gap_s,
            failed_readings=quality.failed_readings,
            sampler_cpu_s=quality.sampler_cpu_s,
        ),
        ended=taken.ended or None,
        run_first_s=runs["first_s"],
        run_last_s=runs["last_s"],
        run_value=runs["value"],
    )
