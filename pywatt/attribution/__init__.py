"""From traces and spans to energies with their uncertainty: pure functions, one file a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pywatt.attribution import overlap, time
from pywatt.attribution.lattice import update_period_s
from pywatt.attribution.result import PathEnergies, PathTimes, WindowEnergy
from pywatt.attribution.source import Source, window_energy
from pywatt.errors import AttributionError
from pywatt.spans import Spans
from pywatt.trace import Trace

Method = Literal["auto", "overlap", "time", "replay"]
METHODS: tuple[str, ...] = ("auto", "overlap", "time", "replay")

# A span is resolved where it lasts at least so many update periods of the sensor: then its two
# edges are off by at most a half of it.
RESOLVED_PERIODS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Attributed:
    """Energies of call paths, how they were found, and what that means."""

    energies: PathEnergies
    total: WindowEnergy
    method: str
    reason: str


def attribute(
    source: Source,
    spans: Spans,
    start_s: float,
    end_s: float,
    *,
    method: Method = "auto",
    times: PathTimes | None = None,
) -> Attributed | None:
    """Share a source's energy over the window [start_s, end_s] among the spans.

    Args:
        source: where the energy comes from.
        spans: what ran, in the clock of the source's traces.
        start_s: beginning of the window.
        end_s: end of the window.
        method: ``overlap``, ``time``, or ``auto``: overlap where the sensor resolves the spans.
        times: the spans' calls and times, where they are known already.

    Returns:
        The energies; None where the source has none to share for this window.

    Raises:
        AttributionError: a method that is not known, or overlap without a trace.
    """
    if method not in METHODS:
        raise AttributionError(f"method is {method!r}, but must be one of {', '.join(METHODS)}")
    if method == "replay":
        raise AttributionError(
            "replay runs modules again, which takes more than a trace and spans: use pywatt.profile"
        )
    total = window_energy(source, start_s, end_s)
    if total is None:
        return None
    times = times or PathTimes.of(spans)
    trace, period_s = _finest(source)
    length_s = typical_self_time_s(times)
    resolves = period_s is not None and length_s >= RESOLVED_PERIODS * period_s
    seen = "not known" if period_s is None else f"{period_s * 1e3:.3g} ms"
    facts = (
        f"half of the modules' own time is in calls shorter than {length_s * 1e3:.3g} ms, "
        f"and {trace.sensor.name} shows a new value every {seen}"
        if period_s is not None
        else f"how often {trace.sensor.name} shows a new value is not known"
    )
    if method == "overlap" or (method == "auto" and resolves):
        energies = overlap.attribute(
            trace, period_s or trace.duration_s, spans, times, start_s, end_s, total
        )
        why = f"each call has the energy that was read between its start and end; {facts}"
        return Attributed(energies, total, "overlap", why)
    energies = time.attribute(spans, times, start_s, end_s, total)
    why = (
        "the sensor cannot tell the modules apart, so each has the mean power and energy is shared "
        f"by time: differences in power between modules are not seen; {facts}"
    )
    return Attributed(energies, total, "time", why)


def typical_self_time_s(times: PathTimes) -> float:
    """Own time of one call such that half of all modules' own time is in calls shorter than it."""
    called = times.calls > 0
    if not np.any(called):
        return 0.0
    each_s = times.self_time_s[called] / times.calls[called]
    order = np.argsort(each_s)
    cumulative_s = np.cumsum(times.self_time_s[called][order])
    middle = int(np.searchsorted(cumulative_s, cumulative_s[-1] / 2))
    return float(each_s[order][min(middle, len(order) - 1)])


def _finest(source: Source) -> tuple[Trace, float | None]:
    """The trace that changes most often, with its update period."""
    known = [(update_period_s(trace), trace) for trace in source.traces]
    period_s, trace = min(known, key=lambda pair: np.inf if pair[0] is None else pair[0])
    return trace, period_s
