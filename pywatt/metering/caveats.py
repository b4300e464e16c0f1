"""Notes on the energy of a source: what its sensor cannot measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pywatt.metering.energies import SpanEnergy, WindowEnergy
from pywatt.metering.energy_curve import UNKNOWN_DELAY_S, EnergyCurve
from pywatt.metering.freshness import is_fine
from pywatt.metering.source import Source, reaches, window_energy
from pywatt.sampling.trace import Trace

# Counter and power of one source may differ by this share without a note.
MAX_DISAGREEMENT = 0.03

# A short window with a standard deviation above this share of its energy is not resolved.
MAX_UNRESOLVED_STD = 0.1


def caveats(sources: Iterable[Source]) -> Iterator[str]:
    """Say what the sensors of some sources cannot measure."""
    for source in sources:
        if source.counter is None and source.power is not None and not is_fine(source.power):
            for cycle_s in source.aliasing_cycles_s:
                yield (
                    f"{source.name}: its readings rise and fall evenly every {cycle_s:.3g} s, as "
                    "with a load that repeats nearly at the sensor's update rate (aliasing): "
                    "their mean is used as the power"
                )
            yield (
                f"{source.name} has no energy counter, and its power may average only a small part "
                "of the time: the energy of a load that repeats at the sensor's update rate can be "
                "far off"
            )


def unknowns(sources: Iterable[Source], start_s: float, end_s: float) -> Iterator[str]:
    """Say why the energy of a window is not known, unless a note of the monitor does."""
    for source in sources:
        if not source.traces or any(trace.ended is not None for trace in source.traces):
            continue  # the monitor says why there is none, or why it ended
        if window_energy(source, start_s, end_s) is not None:
            continue
        failed = sum(t.quality.failed_readings for t in source.traces if t.quality is not None)
        if any(reaches(trace, start_s, end_s) for trace in source.traces):
            reason = "its counter did not move: measure for longer"
        else:
            reason = "its readings do not reach from the beginning to the end"
        failures = f" ({failed} reads failed)" if failed else ""
        yield f"the energy of {source.name} is not known: {reason}{failures}"


def unresolved(
    sources: Iterable[Source], start_s: float, end_s: float, *, quiet: bool = False
) -> Iterator[str]:
    """Say which sources do not resolve a window, because it is too short."""
    for source in sources:
        found = window_energy(source, start_s, end_s, quiet=quiet)
        if not resolves(source, start_s, end_s, found):
            advice = "; repeat with measure_call"
            if source.counter is not None and not quiet:
                advice += ", or wait for idle around it with quiet=True"
            short = f"{source.name}: {(end_s - start_s) * 1e3:.3g} ms"
            yield f"{short} is below the sensor's resolution{advice}"


def resolves(source: Source, start_s: float, end_s: float, found: WindowEnergy | None) -> bool:
    """Return whether a window is long enough for a source, or known anyway, or not at all."""
    known = source.known_energy(start_s, end_s)
    step_s = known.step_s if isinstance(known, EnergyCurve) else UNKNOWN_DELAY_S
    if isinstance(known, Trace) or end_s - start_s >= 2.0 * step_s:
        return True
    return found is None or not is_unsure(found)


def is_unsure(found: WindowEnergy | SpanEnergy) -> bool:
    """Return whether an energy is so uncertain that the figure alone would mislead."""
    if found.energy_j is None or found.energy_j_std is None:
        return False
    return found.energy_j_std > MAX_UNRESOLVED_STD * abs(found.energy_j)


def disagreement(source: Source, start_s: float, end_s: float) -> str | None:
    """Say if counter and power of one source disagree more than they should."""
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
        f"{source.name}: the energy counter reads {counted.energy_j:.4g} J, and its power adds up "
        f"to {integrated.energy_j:.4g} J ({apart_j / counted.energy_j:+.1%}): the total is the "
        "counter's; the power may average only part of the time"
    )
