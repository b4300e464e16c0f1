"""The energy of one call as a few lines, and a table of the windows inside it."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pywatt.renderers.summary import plain, printed
from pywatt.support.quantities import NOT_AVAILABLE, quantity, with_std

if TYPE_CHECKING:
    from pywatt.calls.result import CallEnergy, CallWindow

# Names and numbers are whole, in a narrow terminal too.
_NEVER_CUT = 500


def render(call: "CallEnergy", width: int) -> str:
    """Return the report, without a line break at its end."""
    lines = [plain(textwrap.shorten(f"One call of {call.function}", width, placeholder=" ..."))]
    for heading, text in _facts(call):
        lines += textwrap.wrap(
            text,
            max(width, 40),
            initial_indent=f"  {heading:<12}",
            subsequent_indent=" " * 14,
            break_on_hyphens=False,
            break_long_words=False,
        )
    if call.windows:
        lines += ["", _table(call.windows)]
    return "\n".join(lines)


def _facts(call: "CallEnergy") -> Iterator[tuple[str, str]]:
    label = "estimated" if call.estimated else "measured"
    if call.energy_j is None:
        yield "energy", "unavailable"
    else:
        yield "energy", f"{with_std(call.energy_j, call.energy_j_std, 'J')} {label}"
    if call.net_energy_j is not None:
        yield "above idle", with_std(call.net_energy_j, call.net_energy_j_std, "J")
    spread = with_std(call.duration_s, call.duration_s_std, "s")
    yield "duration", f"{spread} (median, spread)"
    if call.power_w is not None and call.idle_power_w is not None:
        idle = with_std(call.idle_power_w, call.idle_power_w_std, "W")
        yield "power", f"{quantity(call.power_w, 'W')}, idle {idle}"
    yield "method", f"{call.method}, in {quantity(call.elapsed_s, 's')}"
    for info in call.sensors:
        if info.name not in call.energy_by_sensor:
            continue
        energy_j = call.energy_by_sensor[info.name]
        energy = "energy n/a" if energy_j is None else f"{quantity(energy_j, 'J')} a call"
        yield "sensor", plain(f"{info.name}, {info.origin}, {energy}")
    for note in call.notes:
        yield "note", plain(note)


def _table(windows: "tuple[CallWindow, ...]") -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    table.pad_edge = False
    table.add_column("Window", no_wrap=True)
    for title in ("A call", "Time", "Energy", "Power"):
        table.add_column(title, justify="right", no_wrap=True)
    for window in windows:
        energy = NOT_AVAILABLE
        if window.energy_j is not None:
            energy = with_std(window.energy_j, window.energy_j_std, "J")
        power = NOT_AVAILABLE if window.power_w is None else quantity(window.power_w, "W")
        cells = (plain(window.name), f"{window.count:.4g}", quantity(window.duration_s, "s"))
        table.add_row(*map(Text, (*cells, energy, power)))
    return printed(table, _NEVER_CUT)
