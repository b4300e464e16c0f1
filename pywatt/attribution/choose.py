"""Choose the method that shares a source's energy: the one asked for, or the most certain one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from pywatt.attribution import by_time as time
from pywatt.attribution import overlap, regression
from pywatt.attribution.problem import Attribute, Attributed, Problem
from pywatt.attribution.result import PathTimes
from pywatt.errors import AttributionError
from pywatt.metering.caveats import disagreement
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import Source, window_energy
from pywatt.spans.columns import Spans

Method = Literal["auto", "overlap", "regression", "time", "replay"]

# Methods that resolve modules; a share by time claims nothing, and is always possible.
RESOLVING: Mapping[str, Attribute] = {
    "overlap": overlap.attribute,
    "regression": regression.attribute,
}
BY_NAME: Mapping[str, Attribute] = {**RESOLVING, "time": time.attribute}
METHODS: tuple[str, ...] = ("auto", *BY_NAME, "replay")

# Begins the note on why no method separates the layers.
UNSEPARATED = "layers could not be separated"

ADVICE = "pywatt.profile can replay each module by itself, which would separate them"


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
        spans: what ran, on the clock of the source's traces.
        start_s: beginning of the window.
        end_s: end of the window.
        method: ``overlap``, ``regression``, ``time``, or ``auto``: the most certain of them without
            doubts. A method that doubts its own figures says so in the notes; one that has no
            figures is replaced by ``time``.
        times: the spans' calls and times, if known already.
        sensor_model: how the source's sensor samples power, if known from elsewhere.

    Returns:
        The energies; None if the source has none to share for this window.

    Raises:
        AttributionError: an unknown method, or ``replay``, which needs more than spans.
    """
    if method not in METHODS:
        raise AttributionError(f"method is {method!r}, but must be one of {', '.join(METHODS)}")
    if method == "replay":
        raise AttributionError(
            "replay runs modules again, which needs more than a trace and spans: use pywatt.profile"
        )
    total = window_energy(source, start_s, end_s)
    if total is None:
        return None
    problem = Problem(
        source, spans, times or PathTimes.of(spans), start_s, end_s, total, sensor_model
    )
    found = _best(problem) if method == "auto" else _requested(problem, method)
    beside = disagreement(source, start_s, end_s)
    return found if beside is None else replace(found, notes=(*found.notes, beside))


def _best(problem: Problem) -> Attributed:
    """Return the most certain result without doubts; else a share by time, with their doubts."""
    answers: list[Attributed] = []
    doubts: list[str] = []
    for name, method in RESOLVING.items():
        try:
            found = method(problem)
        except AttributionError as error:
            doubts.append(f"{name}: {error}")
            continue
        if found.doubt is None:
            answers.append(found)
        else:
            doubts.append(f"{name}: {found.doubt}")
    if answers:
        return min(answers, key=lambda found: float(np.sum(found.energies.self_energy_j_std)))
    found = time.attribute(problem)
    if len(problem.spans) == 0:
        return found
    doubt = "; ".join(doubts)
    note = f"{UNSEPARATED}; energy is split by time; {doubt}; {ADVICE}"
    return replace(found, doubt=doubt, notes=(*found.notes, note))


def _requested(problem: Problem, name: str) -> Attributed:
    """Return the result of the method asked for, with its doubts."""
    try:
        found = BY_NAME[name](problem)
    except AttributionError as error:
        found = time.attribute(problem)
        note = f"{name} failed; energy is split by run time: {error}"
        return replace(found, notes=(*found.notes, note))
    if found.doubt is None:
        return found
    note = (
        f"{name} is not valid for this run, so its uncertainties are wide: {found.doubt}; {ADVICE}"
    )
    return replace(found, notes=(*found.notes, note))
