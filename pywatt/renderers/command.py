"""The energy of a command as a few lines."""

import shlex
import signal
import textwrap
from collections.abc import Iterator

from pywatt.command.run import CommandEnergy
from pywatt.renderers.facts import notes_beside, sensor_text, short_notes, source_of
from pywatt.renderers.text import Fact, facts_text, plain, short_text
from pywatt.support.quantities import quantity, with_std

MORE = "--explain"


def render(ran: CommandEnergy, width: int) -> str:
    """Return headline and at most six lines."""
    notes = short_notes(ran.sensors, ran.notes)
    return f"{_headline(ran, width)}\n{short_text(_short_facts(ran), notes, width, MORE)}"


def explain(ran: CommandEnergy, width: int) -> str:
    """Return every figure, sensor and note."""
    return f"{_headline(ran, width)}\n{facts_text(_all_facts(ran), width)}"


def _headline(ran: CommandEnergy, width: int) -> str:
    return plain(textwrap.shorten(f"pywatt: {shlex.join(ran.command)}", width, placeholder=" ..."))


def _short_facts(ran: CommandEnergy) -> Iterator[Fact]:
    source = source_of(ran.sensors, ran.estimated)
    if ran.energy_j is None:
        yield "energy", "unavailable"
    else:
        yield "energy", f"{with_std(ran.energy_j, ran.energy_j_std, 'J')}, {source}"
    if ran.power_w is not None:
        yield "power", f"{quantity(ran.power_w, 'W')} on average, {_peak(ran)}"
    yield "time", quantity(ran.duration_s, "s")
    if ran.exit_status:
        yield "exit", _exit(ran.exit_status)


def _all_facts(ran: CommandEnergy) -> Iterator[Fact]:
    yield from _short_facts(ran)
    for info in ran.sensors:
        quality = ran.quality.get(info.name)
        rate = "" if quality is None else f"read at {quality.achieved_rate_hz:,.0f} Hz"
        yield "sensor", sensor_text(info, ran.energy_by_sensor.get(info.name), rate)
    for note in notes_beside(ran.sensors, ran.notes):
        yield "note", note


def _peak(ran: CommandEnergy) -> str:
    over = f"{ran.peak_interval_s:g} s"
    if ran.peak_power_w is None:
        return f"peak n/a (ran less than {over})"
    return f"{quantity(ran.peak_power_w, 'W')} at the peak (highest mean of {over})"


def _exit(status: int) -> str:
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        return f"status {status}"
    return f"status {status} ({name})"
