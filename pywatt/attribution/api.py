"""`pywatt.characterize` and `pywatt.attribute`, for traces and spans from any source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pywatt.attribution.choose import Method
from pywatt.attribution.choose import attribute as attribute_source
from pywatt.attribution.problem import Attributed, typical_self_time_s
from pywatt.attribution.result import PathTimes, fold_by_name, fold_outermost
from pywatt.errors import ArgumentError, CoverageError
from pywatt.metering import sensor_model as characterization
from pywatt.metering.caveats import caveats
from pywatt.metering.energies import SpanEnergy
from pywatt.metering.freshness import poll_period_s, stale_period_s
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import Source
from pywatt.metering.updates import update_times
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Span, Spans

# Calls of fewer polls get a note: a slow meter would show part of their neighbors' power.
FEW_POLLS = 10.0


@dataclass(frozen=True, slots=True)
class Attribution:
    """Energy of the time from the first span's start to the last span's end, by name.

    The rows' self energies and `outside_j` add up to `energy_j`.

    Attributes:
        rows: one for each name, in the order in which the spans name them.
        energy_j: measured energy of the window in J.
        energy_j_std: one standard deviation of it.
        outside_j: energy drawn while no span ran.
        outside_j_std: one standard deviation of it.
        method: the method that shared the energy among the spans.
        reason: what that means, and why it was chosen.
        conditioning: condition number of the readings as mixtures of the names' powers, where the
            method solves for these; else None. Large: the readings hardly separate the names.
        notes: what to know before relying on the figures.
    """

    rows: tuple[SpanEnergy, ...]
    energy_j: float
    energy_j_std: float
    outside_j: float
    outside_j_std: float
    method: str
    reason: str
    conditioning: float | None
    notes: tuple[str, ...]


def characterize(trace: Trace, spans: Sequence[Span] | Spans | None = None) -> SensorModel:
    """Determine how a sensor samples power, from its trace and, if given, a known load.

    Args:
        trace: readings of the sensor, polled several times as often as it publishes.
        spans: what ran meanwhile, of a few names each with a power of its own. Without it the
            averaging window and the delay stay unknown.

    Returns:
        Update times, period and jitter, averaging window, delay and resolution, as far as the trace
        shows them; its notes say what is missing, and what would determine it.
    """
    return characterization.characterize(trace, None if spans is None else _columns(spans))


def attribute(
    trace: Trace | Iterable[Trace] | Mapping[str, Trace],
    spans: Sequence[Span] | Spans,
    *,
    method: Method = "auto",
    sensor_model: SensorModel | None = None,
) -> Attribution:
    """Share a trace's energy among spans: joules per name, with one standard deviation.

    Args:
        trace: readings of one source: a power, a counter, or one of each (a tuple, or a mapping as
            a monitor reads): then the counter gives the total, and the power the shape. The
            sensor's update period is taken from the readings if they show it; if they do not, and
            ``trace.sensor.update_period_s`` is None, each reading is taken as fresh.
        spans: what ran, on the clock of the trace. If the method needs it, spans of one name are
            assumed to have the same power.
        method: ``overlap``: each span has the energy read between its start and end; for sensors
            faster than the spans. ``regression``: solves for the names' powers from the sensor's
            averaging windows; for a few names, in spans of milliseconds, whose phase to the sensor
            varies. ``time``: shares of time. ``auto``: the most certain of them without doubts.
        sensor_model: how the sensor samples power, from `characterize` with a known load; None:
            determined from this trace, if possible.

    Raises:
        ArgumentError: no spans, spans that end before they start or reach out of their parents, or
            traces that are not one power and one counter.
        AttributionError: an unknown method.
        CoverageError: the trace does not reach from the first span to the last.
    """
    columns = _columns(spans)
    start_s, end_s = _reach(columns)
    source = _source(trace)
    times = PathTimes.of(columns)
    found = attribute_source(
        source, columns, start_s, end_s, method=method, times=times, sensor_model=sensor_model
    )
    if found is None:
        read = ", ".join(f"{t.start_s:.6g} to {t.end_s:.6g} s" for t in source.traces)
        raise CoverageError(
            f"the spans last from {start_s:.6g} to {end_s:.6g} s, but {source.name} was read from "
            f"{read}: read from before the first span until after the last, on the spans' clock"
        )
    return Attribution(
        rows=_rows(found, columns, times),
        energy_j=found.total.energy_j,
        energy_j_std=found.total.energy_j_std,
        outside_j=found.energies.outside_j,
        outside_j_std=found.energies.outside_j_std,
        method=found.method,
        reason=found.reason,
        conditioning=found.conditioning,
        notes=(*found.notes, *caveats([source]), *_taken_as_fresh(source, times)),
    )


def _columns(spans: Sequence[Span] | Spans) -> Spans:
    return spans if isinstance(spans, Spans) else Spans.of(tuple(spans))


def _reach(spans: Spans) -> tuple[float, float]:
    """Return the start of the first span and the end of the last."""
    blocks = [block for block in spans.blocks() if len(block.path)]
    if not blocks:
        raise ArgumentError("there are no spans to share the energy among")
    start_s = min(float(np.min(block.start_s)) for block in blocks)
    return start_s, max(float(np.max(block.end_s)) for block in blocks)


def _source(trace: Trace | Iterable[Trace] | Mapping[str, Trace]) -> Source:
    if isinstance(trace, Trace):
        return Source.of(_with_update_period(trace))
    traces = list(trace.values() if isinstance(trace, Mapping) else trace)
    if not all(isinstance(each, Trace) for each in traces):
        raise ArgumentError(f"give traces of one source as pywatt.Trace, not {trace!r:.80}")
    powers = [_with_update_period(each) for each in traces if each.power_w is not None]
    counters = [_with_update_period(each) for each in traces if each.power_w is None]
    if not traces or len(powers) > 1 or len(counters) > 1:
        raise ArgumentError(
            f"{len(powers)} powers and {len(counters)} counters are not one source: give one of "
            "either or one of each, and call attribute for each source by itself"
        )
    main = Source.of((counters or powers)[0])
    return replace(main, power=powers[0] if powers else None)


def _with_update_period(trace: Trace) -> Trace:
    """Add the update period to a trace that pywatt did not sample, if its readings show it."""
    if trace.quality is not None or trace.sensor.update_period_s is not None:
        return trace
    updates = update_times(trace)
    period_s = stale_period_s(trace) if updates is None else updates.period_s
    if period_s is None:
        return trace
    return replace(trace, sensor=replace(trace.sensor, update_period_s=period_s))


def _taken_as_fresh(source: Source, times: PathTimes) -> tuple[str, ...]:
    """Note that each power reading is taken as fresh, where the meter may be slow."""
    power = source.power
    if power is None or power.quality is not None or power.sensor.update_period_s is not None:
        return ()
    repeats = len(power.run_value) < len(power) / 2
    if not repeats and typical_self_time_s(times) >= FEW_POLLS * poll_period_s(power):
        return ()
    return (
        "each power reading is taken as the power at that moment, since the sensor's update period "
        "is unknown: if it is late, or a mean of the time before, calls get part of their "
        "neighbors' energy; set the trace's sensor.update_period_s to include this in the "
        "deviations, or give a sensor_model",
    )


def _rows(found: Attributed, spans: Spans, times: PathTimes) -> tuple[SpanEnergy, ...]:
    """Fold paths to names; paths of one name share their error, so deviations add up."""
    paths, names, energies = spans.paths, len(spans.names), found.energies
    calls = fold_by_name(paths, times.calls, names)
    columns = [
        fold_outermost(paths, times.time_s, names),
        fold_outermost(paths, energies.energy_j, names),
        fold_outermost(paths, energies.energy_j_std, names),
        fold_by_name(paths, energies.self_energy_j, names),
        fold_by_name(paths, energies.self_energy_j_std, names),
    ]
    return tuple(
        SpanEnergy(name, int(calls[k]), *(float(column[k]) for column in columns))
        for k, name in enumerate(spans.names)
        if calls[k] > 0  # a parent need not be among the spans
    )
