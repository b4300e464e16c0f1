"""What every attribution method gets, and what it returns: one interface for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.freshness import is_fine, update_period_s
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Spans


@dataclass(frozen=True)
class Problem:
    """Energy of a window and the spans to share it among; costly properties are cached.

    Attributes:
        source: where the energy comes from.
        spans: what ran, on the clock of the source's traces.
        times: the spans' calls and times by path.
        start_s: beginning of the window.
        end_s: end of the window.
        total: measured energy of the window.
        known_model: how the source's sensor samples power, if known from elsewhere.
    """

    source: Source
    spans: Spans
    times: PathTimes
    start_s: float
    end_s: float
    total: WindowEnergy
    known_model: SensorModel | None = None

    @cached_property
    def finest(self) -> Trace:
        """The trace that changes most often."""

        def period_s(trace: Trace) -> float:
            known_s = update_period_s(trace)
            return np.inf if known_s is None else known_s

        return min(self.source.traces, key=period_s)

    @cached_property
    def shape(self) -> Trace:
        """The trace that shows how power changed: the power, else the counter."""
        return self.source.power or self.source.traces[0]

    @cached_property
    def sensor_model(self) -> SensorModel:
        """How the sensor of `shape` samples power, with the update times of these readings."""
        if self.known_model is None or not self.known_model.window_s:
            return characterize(self.shape, self.spans)
        return self.known_model.in_trace(self.shape)

    @cached_property
    def resolved_s(self) -> float | None:
        """Shortest time that `finest` resolves: its update period, or the averaging window.

        None if it changed too little to show this.
        """
        period_s = update_period_s(self.finest)
        if period_s is None or is_fine(self.finest) or self.finest is not self.shape:
            return period_s
        return max(period_s, self.sensor_model.window_s or 0.0)

    @cached_property
    def call_s(self) -> float:
        """Own time of one call: half of the modules' own time is in calls shorter than it."""
        return typical_self_time_s(self.times)

    @property
    def facts(self) -> str:
        """How long calls are, and how often the sensor updates."""
        period_s = update_period_s(self.finest)
        if period_s is None:
            return f"the update period of {self.finest.sensor.name} is not known"
        return (
            f"half of the calls' run time is in calls below {self.call_s * 1e3:.3g} ms; "
            f"{self.finest.sensor.name} updates every {period_s * 1e3:.3g} ms"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Attributed:
    """Energies of call paths, how they were found, and what that means.

    Attributes:
        energies: the energies.
        total: measured energy of the window.
        method: what found them.
        reason: what that means, and what it rests on.
        doubt: why another method should be used; None if there is no such reason.
        conditioning: largest over smallest influence of any mixture of the modules' powers on the
            readings, if the method solves for them; else None.
        notes: what to know before relying on the energies.
    """

    energies: PathEnergies
    total: WindowEnergy
    method: str
    reason: str
    doubt: str | None = None
    conditioning: float | None = None
    notes: tuple[str, ...] = ()


# Raises AttributionError if it has no answer.
Attribute = Callable[[Problem], Attributed]


def typical_self_time_s(times: PathTimes) -> float:
    """Return the own time of a call such that half of all own time is in shorter calls."""
    called = times.calls > 0
    if not np.any(called):
        return 0.0
    each_s = times.self_time_s[called] / times.calls[called]
    order = np.argsort(each_s)
    cumulative_s = np.cumsum(times.self_time_s[called][order])
    middle = int(np.searchsorted(cumulative_s, cumulative_s[-1] / 2))
    return float(each_s[order][min(middle, len(order) - 1)])
