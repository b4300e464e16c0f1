"""One source of power: its traces, and its energy over a window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pywatt.attribution.result import SpanEnergy, WindowEnergy
from pywatt.metering.energy_curve import (
    UNKNOWN_DELAY_S,
    LatticeCurve,
    counter_curve,
    is_fine,
    poll_period_s,
    power_curve,
)
from pywatt.metering.undersampling import any_power_std_w, most_power_w
from pywatt.sampling.trace import Trace
from pywatt.sensors.discovery import SensorInfo

# Energies of these may be added. Others lie inside them (core in package) or around them (psys, a
# superchip's module), and how exactly differs between machines: they are reported beside, and used
# for the total only where there is nothing else.
ADDED_DOMAINS = frozenset({"gpu", "package", "dram"})

# Counter and power of one source may differ by so much without a note.
MAX_DISAGREEMENT = 0.03

# A window that is known no better than this share of its energy, and short, is not resolved.
MAX_UNRESOLVED_STD = 0.1

# A busy machine can delay the reading at a window's edge by as much.
MAX_EDGE_GAP_S = 0.02


@dataclass(frozen=True, eq=False)
class Source:
    """One thing whose power is metered: its power trace, its energy counter, or both.

    `silent` is set where it was read and gave nothing: then its energy is not known, and neither is
    any sum that it belongs to.
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
        """The sensor that the total comes from."""
        if self.silent is not None:
            return self.silent
        return self.traces[0].sensor

    @cached_property
    def _counted(self) -> Trace | LatticeCurve | None:
        """What the counter tells: itself where it is fine, else a curve through its moves."""
        if self.counter is None or is_fine(self.counter):
            return self.counter
        return counter_curve(self.counter, self.power)

    @cached_property
    def _metered(self) -> Trace | LatticeCurve | None:
        """What the power tells: itself where it is fine, else a curve through its updates."""
        if self.power is None or is_fine(self.power):
            return self.power
        return power_curve(self.power)

    def known_energy(self, start_s: float, end_s: float) -> Trace | LatticeCurve | None:
        """What tells the energy of a window: the counter where it moved, else the power.

        None where neither was read up to the window's edges, or both moved too little.
        """
        if self.counter is not None and _reaches(self.counter, start_s, end_s) and self._counted:
            return self._counted
        if self.power is not None and _reaches(self.power, start_s, end_s):
            return self._metered
        return None

    @property
    def beat_cycles_s(self) -> tuple[float, ...]:
        """Times in s in which its power's readings rise and fall, where these are beats."""
        curve = self._metered
        unseen = curve.unseen if isinstance(curve, LatticeCurve) else None
        return () if unseen is None else tuple(beat.cycle_s for beat in unseen.beats)

    @classmethod
    def of(cls, trace: Trace) -> Source:
        """Make a source of one trace alone."""
        name = trace.sensor.source or trace.sensor.name
        return cls(name, counter=trace) if trace.power_w is None else cls(name, power=trace)


def sources_of(traces: Mapping[str, Trace], infos: Iterable[SensorInfo] = ()) -> tuple[Source, ...]:
    """Group sensors into sources whose energies may be added: none of them contains another.

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
    """Tell whether a meter covers what an estimate was made for."""
    return any(
        not info.estimated and info.domain == estimate.domain and info.device == estimate.device
        for info in infos
    )


def window_energy(
    source: Source, start_s: float, end_s: float, *, quiet: bool = False
) -> WindowEnergy | None:
    """Energy of the window [start_s, end_s]; None where the source cannot tell.

    The counter where it moved, else the power; readings from before and after the window are used
    for its edges. A source that was not read up to the edges (lost, or begun too late) cannot tell.
    `quiet` says that there was steady idle around it.
    """
    known = source.known_energy(start_s, end_s)
    if isinstance(known, LatticeCurve):
        return known.window(start_s, end_s, quiet=quiet)
    if known is not None:
        return _fine_window(known, start_s, end_s)
    if source.power is not None and _reaches(source.power, start_s, end_s):
        return _unknown_delay_window(source.power, start_s, end_s)
    return None


def total_energy(
    sources: Iterable[Source], start_s: float, end_s: float, *, quiet: bool = False
) -> WindowEnergy | None:
    """Energy of all sources together; None where one cannot tell."""
    return added(window_energy(source, start_s, end_s, quiet=quiet) for source in sources)


def added(parts: Iterable[WindowEnergy | None]) -> WindowEnergy | None:
    """Sum of energies whose errors are independent; None without one, since a part is no whole."""
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
    """Energy of the window by each sensor alone; None for one that cannot tell."""
    energies: dict[str, float | None] = {info.name: None for info in infos}
    for name, trace in traces.items():
        energy = window_energy(Source.of(trace), start_s, end_s, quiet=quiet)
        energies[name] = None if energy is None else energy.energy_j
    return energies


def caveats(sources: Iterable[Source]) -> Iterator[str]:
    """Say what the sensors behind some sources cannot know."""
    for source in sources:
        if source.counter is None and source.power is not None and not is_fine(source.power):
            for cycle_s in source.beat_cycles_s:
                yield (
                    f"{source.name}: its readings rise and fall evenly every {cycle_s:.3g} s, as "
                    "those of a load that repeats nearly as often as they are published: their "
                    "mean is taken for the power meanwhile"
                )
            yield (
                f"{source.name} has no energy counter, and its power may be the mean of a small "
                "part of the time only: a load that repeats as often as it is published can be far "
                "off"
            )


def unknowns(sources: Iterable[Source], start_s: float, end_s: float) -> Iterator[str]:
    """Say why the energy of a window is not known, where the monitor has nothing to say."""
    for source in sources:
        if not source.traces or any(trace.ended is not None for trace in source.traces):
            continue  # the monitor says why there is none, or why it ended
        if window_energy(source, start_s, end_s) is not None:
            continue
        failed = sum(t.quality.failed_readings for t in source.traces if t.quality is not None)
        if any(_reaches(trace, start_s, end_s) for trace in source.traces):
            reason = "its counter did not move: measure for longer"
        else:
            reason = "its readings do not reach from the beginning to the end"
        failures = f" ({failed} reads failed)" if failed else ""
        yield f"the energy of {source.name} is not known: {reason}{failures}"


def unresolved(
    sources: Iterable[Source], start_s: float, end_s: float, *, quiet: bool = False
) -> Iterator[str]:
    """Say which sources do not resolve a window: it is too short to be told from what is around."""
    for source in sources:
        found = window_energy(source, start_s, end_s, quiet=quiet)
        if not resolves(source, start_s, end_s, found):
            advice = "; repeat with measure_call"
            if source.counter is not None and not quiet:
                advice += ", or wait for idle around it with quiet=True"
            short = f"{source.name}: {(end_s - start_s) * 1e3:.3g} ms"
            yield f"{short} is below the sensor's resolution{advice}"


def resolves(source: Source, start_s: float, end_s: float, found: WindowEnergy | None) -> bool:
    """Tell whether a window is long enough for a source, or known all the same, or not at all."""
    known = source.known_energy(start_s, end_s)
    step_s = known.step_s if isinstance(known, LatticeCurve) else UNKNOWN_DELAY_S
    if isinstance(known, Trace) or end_s - start_s >= 2.0 * step_s:
        return True
    return found is None or not is_unsure(found)


def is_unsure(found: WindowEnergy | SpanEnergy) -> bool:
    """Tell whether an energy is so little known that its figure alone would mislead."""
    if found.energy_j is None or found.energy_j_std is None:
        return False
    return found.energy_j_std > MAX_UNRESOLVED_STD * abs(found.energy_j)


def disagreement(source: Source, start_s: float, end_s: float) -> str | None:
    """Say where counter and power of one source tell energies further apart than they should."""
    if source.counter is None or source.power is None:
        return None
    counted = window_energy(Source.of(source.counter), start_s, end_s)
    integrated = window_energy(Source.of(source.power), start_s, end_s)
    if counted is None or integrated is None or counted.energy_j <= 0:
        return None
    apart_j = integrated.energy_j - counted.energy_j
    unsure_j = float(np.hypot(counted.energy_j_std, integrated.energy_j_std))
    if abs(apart_j) <= max(2.0 * unsure_j, MAX_DISAGREEMENT * counted.energy_j):
        return None
    return (
        f"{source.name}: the energy counter tells {counted.energy_j:.4g} J, and its power adds up "
        f"to {integrated.energy_j:.4g} J ({apart_j / counted.energy_j:+.1%}): the total is the "
        "counter's; the power may be the mean of a part of the time only"
    )


def _reaches(trace: Trace, start_s: float, end_s: float) -> bool:
    """Tell whether a trace was read up to a window's edges, give or take a few readings."""
    slack_s = max(MAX_EDGE_GAP_S, 5.0 * poll_period_s(trace))
    return trace.start_s <= start_s + slack_s and trace.end_s >= end_s - slack_s


def _fine_window(trace: Trace, start_s: float, end_s: float) -> WindowEnergy:
    """Energy from a trace whose every reading is fresh: the curve itself, edges interpolated."""
    first_s, last_s = np.clip((start_s, end_s), trace.start_s, trace.end_s)
    energy_j = float(trace.integrate(first_s, last_s))
    # The time at the edges that was not read, at most a few readings, goes on with the mean power.
    missing_s = (end_s - start_s) - float(last_s - first_s)
    if last_s > first_s:
        energy_j += energy_j / float(last_s - first_s) * missing_s
    edges = (_edge_std_j(trace, float(first_s)), _edge_std_j(trace, float(last_s)))
    quantum_j = trace.sensor.resolution if trace.power_w is None else 0.0
    return WindowEnergy(energy_j, float(np.hypot(np.hypot(*edges), quantum_j / np.sqrt(6.0))))


def _unknown_delay_window(power: Trace, start_s: float, end_s: float) -> WindowEnergy:
    """Energy from a power that moved too seldom to tell how far behind it is."""
    polled = _fine_window(power, start_s, end_s)
    delay_j = float(np.ptp(power.run_value)) * UNKNOWN_DELAY_S / np.sqrt(3.0)
    if 0.0 < end_s - start_s < UNKNOWN_DELAY_S:  # perhaps no reading has seen it
        any_w = any_power_std_w(polled.energy_j / (end_s - start_s), most_power_w(power))
        delay_j = max(delay_j, any_w * (end_s - start_s))
    return WindowEnergy(polled.energy_j, float(np.hypot(polled.energy_j_std, delay_j)))


def _edge_std_j(trace: Trace, time_s: float) -> float:
    """How wrong interpolation between two readings can be: one sixth of a step between powers.

    A step from one power to another at an unknown moment of an interval T moves its energy by at
    most a quarter of their difference times T, a sixth in the mean over all moments.
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
        # One interval tells nothing of how even it was: its power may have come all at once.
        spread_w = float(np.ptp(powers_w)) if len(powers_w) > 1 else float(powers_w[0])
    return spread_w * float(np.max(steps_s)) / 6.0
