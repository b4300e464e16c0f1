"""The energy of a command as a few lines."""

import shlex
import signal
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pywatt.renderers.summary import plain
from pywatt.support.quantities import quantity, with_std

if TYPE_CHECKING:
    from pywatt.command.run import CommandEnergy


def render(ran: "CommandEnergy", width: int) -> str:
    """Return the report, without a line break at its end."""
    lines = [
        plain(textwrap.shorten(f"pywatt: {shlex.join(ran.command)}", width, placeholder=" ..."))
    ]
    for heading, text in _facts(ran):
        lines += textwrap.wrap(
            text,
            max(width, 40),
            initial_indent=f"  {heading:<10}",
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines)


def _facts(ran: "CommandEnergy") -> Iterator[tuple[str, str]]:
    label = "estimated" if ran.estimated else "measured"
    if ran.energy_j is None:
        yield "energy", "unavailable"
    else:
        yield "energy", f"{with_std(ran.energy_j, ran.energy_j_std, 'J')} {label}"
    if ran.power_w is not None:
        yield "power", f"{quantity(ran.power_w, 'W')} on average, {_peak(ran)}"
    yield "duration", quantity(ran.duration_s, "s")
    if ran.exit_status:
        yield "exit", _exit(ran.exit_status)
    for info in ran.sensors:
        energy_j = ran.energy_by_sensor.get(info.name)
        energy = "energy n/a" if energy_j is None else quantity(energy_j, "J")
        quality = ran.quality.get(info.name)
        rate = "" if quality is None else f", read at {quality.achieved_rate_hz:,.0f} Hz"
        yield "sensor", plain(f"{info.name}, {info.origin}, {energy}{rate}")
    for note in ran.notes:
        yield "note", plain(note)


def _peak(ran: "CommandEnergy") -> str:
    over = f"{ran.peak_interval_s:g} s"
    if ran.peak_power_w is None:
        return f"peak n/a in less than {over}"
    return f"{quantity(ran.peak_power_w, 'W')} at the peak (highest mean of {over})"


def _exit(status: int) -> str:
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        return f"status {status}"
    return f"status {status} ({name})"
