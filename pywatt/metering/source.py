"""One source of power: its traces, and its energy over a window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pywatt.metering.energies import WindowEnergy
from pywatt.metering.energy_curve import UNKNOWN_DELAY_S, EnergyCurve, counter_curve, power_curve
from pywatt.metering.freshness import is_fine, poll_period_s
from pywatt.metering.undersampling import any_power_std_w, most_power_w
from pywatt.sampling.trace import Trace
from pywatt.sensors.info import SensorInfo

# Energies of these may be added. Others lie inside them (core in package) or around them (psys, a
# superchip's module), differently on each machine: they are reported separately, and used for the
# total only if there is nothing else.
ADDED_DOMAINS = frozenset({"gpu", "package", "dram"})

# A busy machine can delay the reading at a window's edge by this much.
MAX_EDGE_GAP_S = 0.02


@dataclass(frozen=True, eq=False)
class Source:
    """One thing whose power is metered: its power trace, its energy counter, or both.

    `silent` is set if it was read and gave nothing: then its energy is not known, nor any sum with
    it.
    """

    name: str
    power: Trace | None = None
    counter: Trace | None = None
    silent: SensorInfo | None = None

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The counter, the power, or both in this order."""
        return tuple(trace for trace in (self.counter, self.power) if trace is not None)

    @property
    def info(self) -> SensorInfo:
        """The sensor that gives the total."""
        if self.silent is not None:
            return self.silent
        return self.traces[0].sensor

    @cached_property
    def _counted(self) -> Trace | EnergyCurve | None:
        """The counter itself if it is fine, else a curve through its updates."""
        if self.counter is None or is_fine(self.counter):
            return self.counter
        return counter_curve(self.counter, self.power)

    @cached_property
    def _metered(self) -> Trace | EnergyCurve | None:
        """The power itself if it is fine, else a curve through its updates."""
        if self.power is None or is_fine(self.power):
            return self.power
        return power_curve(self.power)

    def known_energy(self, start_s: float, end_s: float) -> Trace | EnergyCurve | None:
        """Return what gives the energy of a window: the counter if it changed, else the power.

        None if neither was read up to the window's edges, or both changed too little.
        """
        if self.counter is not None and reaches(self.counter, start_s, end_s) and self._counted:
            return self._counted
        if self.power is not None and reaches(self.power, start_s, end_s):
            return self._metered
        return None

    @property
    def aliasing_cycles_s(self) -> tuple[float, ...]:
        """Times in s in which the readings of its power rise and fall, if these are aliased."""
        curve = self._metered
        missed = curve.undersampling if isinstance(curve, EnergyCurve) else None
        return () if missed is None else tuple(one.cycle_s for one in missed.aliased)

    @classmethod
    def of(cls, trace: Trace) -> Source:
        """Make a source of a single trace."""
        name = trace.sensor.source or trace.sensor.name
        return cls(name, counter=trace) if trace.power_w is None else cls(name, power=trace)


def sources_of(traces: Mapping[str, Trace], infos: Iterable[SensorInfo] = ()) -> tuple[Source, ...]:
    """Group sensors into sources whose energies may be added, since none contains another.

    Args:
        traces: traces by sensor name.
        infos: all sensors that were read, whether or not they gave a trace.
    """
    known = {info.name: info for info in infos} | {n: t.sensor for n, t in traces.items()}
    has_added = any(info.domain in ADDED_DOMAINS for info in known.values())
    grouped: dict[tuple[str, str], Source] = {}
    for name, info in known.items():
        if has_added and info.domain not in ADDED_DOMAINS:
            continue
        if info.estimated and _is_metered(info, known.values()):
            continue
        container = known.get(info.contained_in)
        if container is not None and (container.domain in ADDED_DOMAINS or not has_added):
            continue
        key = (info.source or name, info.domain)
        source = grouped.get(key, Source(key[0], silent=info))
        trace = traces.get(name)
        if trace is None:
            grouped[key] = source
        elif info.kind == "counter":
            grouped[key] = Source(source.name, source.power, trace)
        else:
            grouped[key] = Source(source.name, trace, source.counter)
    return tuple(grouped.values())


def _is_metered(estimate: SensorInfo, infos: Iterable[SensorInfo]) -> bool:
    """Return whether a meter covers what an estimate was made for."""
    return any(
        not info.estimated and info.domain == estimate.domain and info.device == estimate.device
        for info in infos
    )


def window_energy(
    source: Source, start_s: float, end_s: float, *, quiet: bool = False
) -> WindowEnergy | None:
    """Return the energy of the window [start_s, end_s]; None if it is not known.

    From the counter if it changed, else the power; readings before and after the window are used
    for its edges. It is not known if the source was not read up to the edges (lost, or started too
    late). `quiet` says that there was steady idle around the window.
    """
    known = source.known_energy(start_s, end_s)
    if isinstance(known, EnergyCurve):
        return known.window(start_s, end_s, quiet=quiet)
    if known is not None:
        return _fine_window(known, start_s, end_s)
    if source.power is not None and reaches(source.power, start_s, end_s):
        return _unknown_delay_window(source.power, start_s, end_s)
    return None


def total_energy(
    sources: Iterable[Source], start_s: float, end_s: float, *, quiet: bool = False
) -> WindowEnergy | None:
    """Return the total energy of all sources; None if one is not known."""
    return added(window_energy(source, start_s, end_s, quiet=quiet) for source in sources)


def added(parts: Iterable[WindowEnergy | None]) -> WindowEnergy | None:
    """Add energies with independent errors; None if any is missing: a part is not the total."""
    known: list[WindowEnergy] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    if not known:
        return None
    return WindowEnergy(
        sum(part.energy_j for part in known),
        float(np.sqrt(sum(part.energy_j_std**2 for part in known))),
    )


def energy_by_sensor(
    traces: Mapping[str, Trace],
    infos: Iterable[SensorInfo],
    start_s: float,
    end_s: float,
    *,
    quiet: bool = False,
) -> dict[str, float | None]:
    """Return the energy of the window by each sensor alone; None for one without."""
    energies: dict[str, float | None] = {info.name: None for info in infos}
    for name, trace in traces.items():
        energy = window_energy(Source.of(trace), start_s, end_s, quiet=quiet)
        energies[name] = None if energy is None else energy.energy_j
    return energies


def reaches(trace: Trace, start_s: float, end_s: float) -> bool:
    """Return whether a trace was read up to a window's edges, up to a few readings."""
    slack_s = max(MAX_EDGE_GAP_S, 5.0 * poll_period_s(trace))
    return trace.start_s <= start_s + slack_s and trace.end_s >= end_s - slack_s


def _fine_window(trace: Trace, start_s: float, end_s: float) -> WindowEnergy:
    """Return the energy from a trace of fresh readings: the curve itself, edges interpolated."""
    first_s, last_s = np.clip((start_s, end_s), trace.start_s, trace.end_s)
    energy_j = float(trace.integrate(first_s, last_s))
    # Time at the edges that was not read, at most a few readings, gets the mean power.
    missing_s = (end_s - start_s) - float(last_s - first_s)
    if last_s > first_s:
        energy_j += energy_j / float(last_s - first_s) * missing_s
    edges = (_edge_std_j(trace, float(first_s)), _edge_std_j(trace, float(last_s)))
    quantum_j = trace.sensor.resolution if trace.power_w is None else 0.0
    return WindowEnergy(energy_j, float(np.hypot(np.hypot(*edges), quantum_j / np.sqrt(6.0))))


def _unknown_delay_window(power: Trace, start_s: float, end_s: float) -> WindowEnergy:
    """Return the energy from a power that changed too seldom to determine its delay."""
    polled = _fine_window(power, start_s, end_s)
    delay_j = float(np.ptp(power.run_value)) * UNKNOWN_DELAY_S / np.sqrt(3.0)
    if 0.0 < end_s - start_s < UNKNOWN_DELAY_S:  # perhaps between readings
        any_w = any_power_std_w(polled.energy_j / (end_s - start_s), most_power_w(power))
        delay_j = max(delay_j, any_w * (end_s - start_s))
    return WindowEnergy(polled.energy_j, float(np.hypot(polled.energy_j_std, delay_j)))


def _edge_std_j(trace: Trace, time_s: float) -> float:
    """Return the deviation of interpolation between readings: one sixth of a step between powers.

    A step from one power to another at an unknown moment of an interval T changes its energy by at
    most a quarter of their difference times T, and by a sixth on average over all moments.
    """
    k = int(np.searchsorted(trace.time_s, time_s, side="right"))
    first = max(0, min(k - 2, len(trace) - 4))
    around = slice(first, first + 4)
    times_s = trace.time_s[around]
    if len(times_s) < 2:
        return 0.0
    steps_s = np.diff(times_s)
    if trace.power_w is not None:
        spread_w = float(np.ptp(trace.power_w[around]))
    else:
        powers_w = np.diff(trace.energy_j[around]) / steps_s
        # A single interval does not show how even it was: its energy may have come all at once.
        spread_w = float(np.ptp(powers_w)) if len(powers_w) > 1 else float(powers_w[0])
    return spread_w * float(np.max(steps_s)) / 6.0
