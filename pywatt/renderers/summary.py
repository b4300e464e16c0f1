"""What stands above and below the table: what was measured, how well, and what came out."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from pywatt.profiling.result import Profile
from pywatt.renderers.tree import Fold
from pywatt.support.quantities import quantity, with_std

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pywatt.sensors.discovery import SensorInfo

UNRESOLVED = "†"

_NAMED = 3  # modules that were not called, by name
_INDENT = 10  # of the texts beside headings


def total_std(profile: Profile) -> float | None:
    """What may stand behind the total: an estimate's scale errs by far more than its timing."""
    return None if profile.estimated else profile.energy_j_std


def headline(profile: Profile, width: int) -> str:
    """The model, whether its figures are measured, with what, and how they were shared."""
    from rich.text import Text

    estimated = ", ".join(sensor.name for sensor in profile.sensors if sensor.estimated)
    measured = ", ".join(sensor.name for sensor in profile.sensors if not sensor.estimated)
    if not profile.sensors:
        source = "ENERGY UNAVAILABLE"
    elif not profile.estimated:
        source = f"MEASURED with {measured}"
    elif measured:
        source = f"PARTLY ESTIMATED: ~ with {estimated}, the rest measured with {measured}"
    else:
        source = f"ESTIMATED with {estimated}, not measured"
    return printed(Text(f"{plain(profile.model)} · {source} · method: {profile.method}"), width)


def summary(profile: Profile, folded: Fold, left_out: Sequence[str], width: int) -> str:
    """The lines below the table."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for heading, text in _facts(profile, folded, left_out):
        grid.add_row(Text(heading), Text(text))
    return printed(grid, width)


def printed(renderable: "RenderableType", width: int) -> str:
    """A rich renderable as plain text, without control codes or blanks at the ends of lines."""
    from rich.console import Console

    text = StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def wrapped_facts(facts: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Lines of headings with their texts beside them, no narrower than 40 columns."""
    for heading, text in facts:
        yield from textwrap.wrap(
            plain(text),
            max(width, 40),
            initial_indent=heading.ljust(_INDENT),
            subsequent_indent=" " * _INDENT,
            break_on_hyphens=False,
            break_long_words=False,
        )


def plain(text: str) -> str:
    """A name without what would break a line or the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _facts(profile: Profile, folded: Fold, left_out: Sequence[str]) -> Iterator[tuple[str, str]]:
    power = "" if profile.power_w is None else f", {quantity(profile.power_w, 'W')} on average"
    energy = (
        "unavailable"
        if profile.energy_j is None
        else f"{with_std(profile.energy_j, total_std(profile), 'J')} {profile.label}"
    )
    yield "energy", f"{energy} in {quantity(profile.duration_s, 's')}{power}"
    yield "samples", _samples(profile)
    if profile.unit != "sample":
        yield f"{profile.unit}s", _units(profile)
    yield "accuracy", "not known" if profile.accuracy is None else f"{profile.accuracy:.4f}"
    yield "SAM", _or_why(profile.sam, profile.sam_note, f"from the {profile.label} kWh")
    per_sample = f"penalized_score, from the {profile.label} J per sample"
    yield "score", _or_why(profile.score, profile.score_note, per_sample)
    for sensor in profile.sensors:
        yield "sensor", _sensor(profile, sensor)
    used = {sensor.name for sensor in profile.sensors}
    for name, trace in profile.traces.items():
        if name not in used:
            yield "beside", _sensor(profile, trace.sensor)
    yield "method", f"{profile.method}: {profile.method_reason}"
    if profile.closure is not None and profile.closure_std is not None:
        closure = f"{profile.closure:.4f} ± {profile.closure_std:.4f}"
        yield "closure", f"{closure}, measured energy over what replay tells of the run"
    if any(node.layer.resolved is False for node in folded.nodes):
        yield UNRESOLVED, "power not told from that of others: hardly more than a share by time"
    if folded.not_called:
        yield "not called", _not_called(folded.not_called)
    missing = sum(node.layer.self_energy_j is None for node in folded.nodes)
    missing += sum(layer.self_energy_j is None for layer in folded.folded)
    if missing:
        yield "n/a", f"no sensor gives the energy of {missing} module{'s' * (missing > 1)}"
    told = {f"{sensor.name}: {sensor.note}" for sensor in profile.sensors}
    for note in profile.notes:
        if note not in told:
            yield "note", plain(note)
    if left_out:
        yield "columns", f"{', '.join(left_out)} left out: the table is too narrow for them"


def _samples(profile: Profile) -> str:
    batches = f"{profile.batches:,} batch{'es' * (profile.batches != 1)}"
    if profile.samples is None:
        return f"not known, in {batches}"
    each = profile.energy_per_sample_j
    per_sample = "" if each is None else f", {quantity(each, 'J')} each, {profile.label}"
    return f"{profile.samples:,} in {batches}{per_sample}"


def _units(profile: Profile) -> str:
    if profile.units is None:
        return "not known"
    each = profile.energy_per_unit_j
    per_unit = "" if each is None else f", {quantity(each, 'J')} each, {profile.label}"
    return f"{profile.units:,}{per_unit}"


def _or_why(score: float | None, note: str | None, meaning: str) -> str:
    return f"not defined: {note}" if score is None else f"{score:.4f} ({meaning})"


def _sensor(profile: Profile, sensor: "SensorInfo") -> str:
    energy_j = profile.energy_by_sensor.get(sensor.name)
    parts = [sensor.name, "estimated" if sensor.estimated else "measured"]
    parts.append("energy n/a" if energy_j is None else quantity(energy_j, "J"))
    trace = profile.traces.get(sensor.name)
    if trace is not None and trace.quality is not None:
        quality = trace.quality
        readings = round(quality.achieved_rate_hz * trace.duration_s)
        parts.append(
            f"about {readings:,} readings at {quality.achieved_rate_hz:,.0f} "
            f"of {quality.asked_rate_hz:,.0f} Hz"
        )
        parts.append(f"longest gap {quantity(quality.longest_gap_s, 's')}")
        if quality.failed_readings:
            parts.append(f"{quality.failed_readings:,} failed")
    if trace is not None and trace.ended:
        parts.append(f"ended early: {trace.ended}")
    if sensor.note:
        parts.append(sensor.note)
    return plain(", ".join(parts))


def _not_called(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    listed = ", ".join(plain(name) for name in names[:_NAMED])
    return listed + (f" and {more:,} more" if more > 0 else "")
