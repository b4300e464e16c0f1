"""A profile as text: a headline, the table of its layers, and what changes how to read it."""

from collections.abc import Iterator, Sequence

from pywatt.profiling.result import Profile
from pywatt.renderers.facts import (
    check_text,
    energy_text,
    method_text,
    notes_beside,
    per_sample_text,
    resolved_text,
    samples_text,
    sensor_text,
    short_notes,
    source_of,
)
from pywatt.renderers.layers import layer_table
from pywatt.renderers.text import Fact, facts_text, plain, short_text, wrapped
from pywatt.renderers.tree import fold
from pywatt.sensors.info import SensorInfo
from pywatt.support.quantities import quantity

MAX_ROWS = 40

MORE = "explain(), or pywatt show FILE --explain"

_NAMED = 3  # modules that were not called, by name


def render(profile: Profile, width: int, *, max_rows: int = MAX_ROWS) -> str:
    """Return headline, table and at most six lines.

    A narrow table leaves columns out and says so. Numbers are never cut: the lines of a very narrow
    one are longer than `width`.
    """
    folded = fold(profile, max_rows)
    table, left_out, width = layer_table(profile, folded, width)
    notes = short_notes(profile.sensors, profile.notes)
    short = short_text(_short_facts(profile, left_out), notes, width, MORE)
    return "\n\n".join((headline(profile, width), table, short))


def explain(profile: Profile, width: int) -> str:
    """Return what `render` leaves out: sensors, method, checks, scores and all notes."""
    return f"{headline(profile, width)}\n\n{facts_text(_all_facts(profile), width)}"


def headline(profile: Profile, width: int) -> str:
    """The model, whether its figures are measured, with what, and how they were shared."""
    source = source_of(profile.sensors, profile.estimated)
    return wrapped(f"{profile.model} · {source} · {method_text(profile.method)}", width)


def _short_facts(profile: Profile, left_out: Sequence[str]) -> Iterator[Fact]:
    yield "energy", energy_text(profile)
    if profile.unit != "sample" and profile.energy_per_unit_j is not None:
        each = quantity(profile.energy_per_unit_j, "J")
        yield f"per {profile.unit}", f"{each} ({profile.units:,} {profile.unit}s)"
    elif (per_sample := per_sample_text(profile)) is not None:
        yield "per sample", per_sample
    scores = []
    if profile.accuracy is not None:
        scores.append(f"{profile.accuracy:.4f}")
        if profile.score is not None:
            scores.append(f"score {profile.score:.4f}")
        if profile.sam is not None:
            scores.append(f"SAM {profile.sam:.4f}")
        yield "accuracy", ", ".join(scores)
    resolved = _resolved(profile)
    if resolved is not None:
        yield "layers", resolved
    if left_out:
        yield "columns", f"{', '.join(left_out)} hidden: terminal too narrow"


def _resolved(profile: Profile) -> str | None:
    """How well layers were resolved; None where no layer has an energy."""
    known = [layer for layer in profile.layers if layer.resolved is not None]
    if not known:
        return None
    vague = [layer for layer in known if not layer.resolved]
    vague_j = sum(layer.self_energy_j or 0.0 for layer in vague)
    return resolved_text(len(known), len(vague), vague_j, profile.energy_j)


def _all_facts(profile: Profile) -> Iterator[Fact]:
    yield "energy", energy_text(profile)
    yield "samples", samples_text(profile)
    if profile.unit != "sample":
        yield f"{profile.unit}s", _units(profile)
    yield "accuracy", "not known" if profile.accuracy is None else f"{profile.accuracy:.4f}"
    each = f"penalized_score of the {profile.label} J per sample"
    yield "score", _or_why(profile.score, profile.score_note, each)
    yield "SAM", _or_why(profile.sam, profile.sam_note, f"of the {profile.label} kWh")
    for sensor in profile.sensors:
        yield "sensor", _sensor(profile, sensor)
    used = {sensor.name for sensor in profile.sensors}
    for name, trace in profile.traces.items():
        if name not in used:
            yield "beside", _sensor(profile, trace.sensor)
    yield "method", f"{profile.method}: {profile.method_reason}"
    if profile.closure is not None and profile.closure_std is not None:
        yield "check", check_text(profile.closure, profile.closure_std)
    resolved = _resolved(profile)
    if resolved is not None:
        yield "layers", resolved
    not_called = fold(profile, len(profile.layers) + 1).not_called
    if not_called:
        yield "not called", _not_called(not_called)
    missing = sum(layer.self_energy_j is None for layer in profile.layers if layer.calls > 0)
    if missing:
        yield "n/a", f"no sensor gives the energy of {missing} module{'s' * (missing > 1)}"
    for note in notes_beside(profile.sensors, profile.notes):
        yield "note", note
    yield from profile.environment.items()


def _units(profile: Profile) -> str:
    if profile.units is None:
        return "not known"
    each = profile.energy_per_unit_j
    per_unit = "" if each is None else f", {quantity(each, 'J')} each, {profile.label}"
    return f"{profile.units:,}{per_unit}"


def _or_why(score: float | None, why: str | None, meaning: str) -> str:
    return f"not defined: {why}" if score is None else f"{score:.4f} ({meaning})"


def _sensor(profile: Profile, sensor: SensorInfo) -> str:
    trace = profile.traces.get(sensor.name)
    more = []
    if trace is not None and trace.quality is not None:
        quality = trace.quality
        readings = round(quality.achieved_rate_hz * trace.duration_s)
        more.append(
            f"about {readings:,} readings at {quality.achieved_rate_hz:,.0f} "
            f"of {quality.asked_rate_hz:,.0f} Hz"
        )
        more.append(f"longest gap {quantity(quality.longest_gap_s, 's')}")
        if quality.failed_readings:
            more.append(f"{quality.failed_readings:,} failed")
    if trace is not None and trace.ended:
        more.append(f"ended early: {trace.ended}")
    return sensor_text(sensor, profile.energy_by_sensor.get(sensor.name), *more)


def _not_called(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    listed = ", ".join(plain(name) for name in names[:_NAMED])
    return listed + (f" and {more:,} more" if more > 0 else "")
