"""Which method shares a source's energy: the one asked for, or the surest that can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from pywatt.attribution import by_time as time
from pywatt.attribution import overlap, regression
from pywatt.attribution.problem import Attribute, Attributed, Case
from pywatt.attribution.result import PathTimes
from pywatt.errors import AttributionError
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import Source, disagreement, window_energy
from pywatt.spans.columns import Spans

Method = Literal["auto", "overlap", "regression", "time", "replay"]

# What can tell modules' powers apart; a share by time claims nothing, and is always possible.
TELLING: Mapping[str, Attribute] = {
    "overlap": overlap.attribute,
    "regression": regression.attribute,
}
BY_NAME: Mapping[str, Attribute] = {**TELLING, "time": time.attribute}
METHODS: tuple[str, ...] = ("auto", *BY_NAME, "replay")

BETTER = "pywatt.profile can replay each module by itself, which would tell"


def attribute(
    source: Source,
    spans: Spans,
    start_s: float,
    end_s: float,
    *,
    method: Method = "auto",
    times: PathTimes | None = None,
    sensor_model: SensorModel | None = None,
) -> Attributed | None:
    """Share a source's energy over the window [start_s, end_s] among the spans.

    Args:
        source: where the energy comes from.
        spans: what ran, in the clock of the source's traces.
        start_s: beginning of the window.
        end_s: end of the window.
        method: ``overlap``, ``regression``, ``time``, or ``auto``: the surest of them that can be
            believed. A method that has doubts about its own figures says so in the notes, and one
            that has none to give leaves them to ``time``.
        times: the spans' calls and times, where they are known already.
        sensor_model: how the source's power is seen, where that is known from elsewhere.

    Returns:
        The energies; None where the source has none to share for this window.

    Raises:
        AttributionError: a method that is not known, or ``replay``, which takes more than spans.
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
    case = Case(source, spans, times or PathTimes.of(spans), start_s, end_s, total, sensor_model)
    found = _believed(case) if method == "auto" else _asked(case, method)
    beside = disagreement(source, start_s, end_s)
    return found if beside is None else replace(found, notes=(*found.notes, beside))


def _believed(case: Case) -> Attributed:
    """The surest of the methods without doubts; else a share by time, with what they doubted."""
    answers: list[Attributed] = []
    doubts: list[str] = []
    for name, method in TELLING.items():
        try:
            found = method(case)
        except AttributionError as error:
            doubts.append(f"{name}: {error}")
            continue
        if found.doubt is None:
            answers.append(found)
        else:
            doubts.append(f"{name}: {found.doubt}")
    if answers:
        return min(answers, key=lambda found: float(np.sum(found.energies.self_energy_j_std)))
    found = time.attribute(case)
    if len(case.spans) == 0:
        return found
    doubt = "; ".join(doubts)
    note = f"no method can tell the modules' powers apart; {doubt}; {BETTER}"
    return replace(found, doubt=doubt, notes=(*found.notes, note))


def _asked(case: Case, name: str) -> Attributed:
    """The method asked for, with its doubts."""
    try:
        found = BY_NAME[name](case)
    except AttributionError as error:
        found = time.attribute(case)
        note = f"{name} could not be done, so energy is shared by time: {error}"
        return replace(found, notes=(*found.notes, note))
    if found.doubt is None:
        return found
    note = f"{name} cannot be believed here, hence its wide uncertainties: {found.doubt}; {BETTER}"
    return replace(found, notes=(*found.notes, note))
