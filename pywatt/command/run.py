"""`pywatt run`: the energy of a command while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pywatt.command import process as commands
from pywatt.metering.caveats import unknowns
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.freshness import is_fine
from pywatt.metering.source import Source, added, sources_of, window_energy
from pywatt.sampling.monitor import Monitor
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.info import SensorInfo
from pywatt.sensors.selection import SensorChoice, select
from pywatt.support.display import explained, shown
from pywatt.support.notes import ordered

# The energy of a whole command needs no more. The estimate queries the kernel for each process of
# the command at every reading: with 100 processes, 1 kHz took 10 % of a CPU, and 100 Hz 3 %.
DEFAULT_RATE_HZ = 100.0

# Long enough for some fresh values of every known meter (NVML: every 0.1 s), and for the estimate,
# which finds new processes within 0.05 s.
PEAK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnergy:
    """Energy of a command.

    Attributes:
        command: program and arguments.
        exit_status: its exit status; 128 + n where signal n ended it.
        duration_s: time from its start to its end.
        energy_j: energy of that time; None where a sensor failed: see `notes`.
        energy_j_std: one standard deviation of `energy_j`, without errors in a meter's scale.
        power_w: mean power.
        peak_power_w: highest mean power over any `peak_interval_s`; None for a shorter run.
        peak_interval_s: length of the interval of the peak.
        estimated: whether any of it was computed from a model instead of read from a meter.
        energy_by_sensor: energy by sensor name; sensors may contain one another.
        sensors: the sensors that were read.
        quality: sampling quality by sensor name.
        notes: caveats on the figures.
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

    def explain(self) -> str:
        """Return what the printed lines omit: sensors and all notes."""
        return explained(self)

    def __str__(self) -> str:
        return shown(self)


def run(
    command: Sequence[str],
    *,
    sensors: SensorChoice = "auto",
    rate_hz: float = DEFAULT_RATE_HZ,
) -> CommandEnergy:
    """Run a command and measure it. Call it in the main thread only.

    Meters cover the whole machine; the software estimate covers the command and its descendants.

    Raises:
        ArgumentError, SensorError: before the command starts.
        CommandError: the command could not be started.
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
    """Compute the figures of a command that ran from `start_s` to `end_s`."""
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
        notes=ordered(
            (
                *notes,
                *unknowns(sources, start_s, end_s),
                *(f"{info.name}: {info.note}" for info in infos if info.note),
            )
        ),
    )


def _energy(source: Source, start_s: float, end_s: float) -> WindowEnergy | None:
    if source.info.estimated and source.counter is not None:
        # CPU time of a command's short-lived descendants is known only once the command has been
        # waited for, which is when its time ends: so the next reading is all of the command's.
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
    """Return the highest mean power of all sources over any `PEAK_INTERVAL_S` of the window in W.

    None where the window, or the part of it that the sensors cover, is shorter than that.
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
    """Return a source's trace from the first moment at which its energy is known well."""
    counter = source.counter
    if counter is None or is_fine(counter):
        return counter or source.power
    # The age of its first value when it was read is not known.
    if len(counter.changed_s) < 2:
        return source.power
    return Trace(counter.changed_s, None, counter.run_value[1:], counter.sensor)
