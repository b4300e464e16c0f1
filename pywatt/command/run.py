"""Energy of any command while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pywatt.attribution.result import WindowEnergy
from pywatt.command import process as commands
from pywatt.metering.energy_curve import is_fine
from pywatt.metering.source import Source, added, sources_of, unknowns, window_energy
from pywatt.sampling.monitor import Monitor
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.discovery import SensorChoice, SensorInfo, select

# The energy of a whole command needs no more. The estimate asks the kernel about each process of
# the command at every reading: with 100 processes, 1 kHz took 10 % of a CPU, and 100 Hz 3 %.
DEFAULT_RATE_HZ = 100.0

# Long enough for some fresh values of every known meter (NVML: every 0.1 s), and for the estimate,
# which learns of new processes within 0.05 s.
PEAK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnergy:
    """What a command took.

    Attributes:
        command: program and arguments.
        exit_status: its exit status; 128 + n where signal n ended it.
        duration_s: from its start to its end.
        energy_j: energy meanwhile; None where a sensor failed: see `notes`.
        energy_j_std: one standard deviation of `energy_j`, without errors in a meter's own scale.
        power_w: mean power.
        peak_power_w: highest mean power over any `peak_interval_s`; None for a shorter run.
        peak_interval_s: what the peak is a mean of.
        estimated: whether any of it was computed from a model instead of read from a meter.
        energy_by_sensor: sensor name to its energy; these may contain one another.
        sensors: what was read.
        quality: sensor name to how well it was read.
        notes: what a reader of the figures has to know.
    """

    command: tuple[str, ...]
    exit_status: int
    duration_s: float
    energy_j: float | None
    energy_j_std: float | None
    power_w: float | None
    peak_power_w: float | None
    peak_interval_s: float
    estimated: bool
    energy_by_sensor: Mapping[str, float | None]
    sensors: tuple[SensorInfo, ...]
    quality: Mapping[str, Quality]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"format": "pywatt run", "version": 1, **asdict(self)}


def run(
    command: Sequence[str],
    *,
    sensors: SensorChoice = "auto",
    rate_hz: float = DEFAULT_RATE_HZ,
) -> CommandEnergy:
    """Run a command and measure it; only in the main thread.

    Meters cover the whole machine; the software estimate covers the command and its descendants.

    Raises:
        ArgumentError, SensorError: before the command is started.
        CommandError: it could not be started.
    """
    selection = select(sensors, children=True)
    with Monitor(selection.sensors, rate_hz=rate_hz) as monitor:
        start_s = monitor.clock.now_s()
        exit_status = commands.run(command)
        end_s = monitor.clock.now_s()
        monitor.stop_after(end_s)
        monitor.wait()
    traces, notes = monitor.read()
    infos = tuple(info for sensor in selection.sensors for info in sensor.infos)
    return evaluate(
        tuple(command), exit_status, traces, infos, start_s, end_s, (*selection.notes, *notes)
    )


def evaluate(
    command: tuple[str, ...],
    exit_status: int,
    traces: Mapping[str, Trace],
    infos: tuple[SensorInfo, ...],
    start_s: float,
    end_s: float,
    notes: tuple[str, ...] = (),
) -> CommandEnergy:
    """Work out the figures of a command that ran from `start_s` to `end_s`."""
    sources = sources_of(traces, infos)
    total = added(_energy(source, start_s, end_s) for source in sources)
    energy_j = None if total is None else total.energy_j
    duration_s = end_s - start_s
    return CommandEnergy(
        command=command,
        exit_status=exit_status,
        duration_s=duration_s,
        energy_j=energy_j,
        energy_j_std=None if total is None else total.energy_j_std,
        power_w=None if energy_j is None or duration_s <= 0 else energy_j / duration_s,
        peak_power_w=None if total is None else peak_power_w(sources, start_s, end_s),
        peak_interval_s=PEAK_INTERVAL_S,
        estimated=any(source.info.estimated for source in sources),
        energy_by_sensor={info.name: _energy_by(traces, info, start_s, end_s) for info in infos},
        sensors=infos,
        quality={name: t.quality for name, t in traces.items() if t.quality is not None},
        notes=tuple(
            dict.fromkeys(
                (
                    *notes,
                    *unknowns(sources, start_s, end_s),
                    *(f"{info.name}: {info.note}" for info in infos if info.note),
                )
            )
        ),
    )


def _energy(source: Source, start_s: float, end_s: float) -> WindowEnergy | None:
    if source.info.estimated and source.counter is not None:
        # What a command's short-lived descendants have used is known once it has been waited for,
        # which is when its time ends: so the next reading belongs to it too, as a whole.
        time_s = source.counter.time_s
        next_reading = min(int(np.searchsorted(time_s, end_s)), len(time_s) - 1)
        end_s = max(end_s, float(time_s[next_reading]))
    return window_energy(source, start_s, end_s)


def _energy_by(
    traces: Mapping[str, Trace], info: SensorInfo, start_s: float, end_s: float
) -> float | None:
    trace = traces.get(info.name)
    if trace is None:
        return None
    energy = _energy(Source.of(trace), start_s, end_s)
    return None if energy is None else energy.energy_j


def peak_power_w(sources: Sequence[Source], start_s: float, end_s: float) -> float | None:
    """Highest mean power of all sources together over any `PEAK_INTERVAL_S` of the window in W.

    None where the window, or what the sensors saw of it, is shorter than that.
    """
    curves = [_curve(source) for source in sources]
    known = [curve for curve in curves if curve is not None]
    if not known or len(known) < len(curves):
        return None
    first_s = max(start_s, *(curve.start_s for curve in known))
    last_s = min(end_s, *(curve.end_s for curve in known)) - PEAK_INTERVAL_S
    if last_s < first_s:
        return None
    begins_s = np.append(np.arange(first_s, last_s, PEAK_INTERVAL_S / 20), last_s)
    energy_j = sum(curve.integrate(begins_s, begins_s + PEAK_INTERVAL_S) for curve in known)
    return float(np.max(energy_j)) / PEAK_INTERVAL_S


def _curve(source: Source) -> Trace | None:
    """A source's energy from the first moment at which it is known well."""
    counter = source.counter
    if counter is None or is_fine(counter):
        return counter or source.power
    # How long its first value had been standing when it was read is not known.
    if len(counter.changed_s) < 2:
        return source.power
    return Trace(counter.changed_s, None, counter.run_value[1:], counter.sensor)
