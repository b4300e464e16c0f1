"""The sensors of a machine as a table, and what was looked for and not found."""

import textwrap
from collections.abc import Sequence

from pywatt.renderers.text import plain, printed, table_text
from pywatt.sensors.discovery import MissingSensor
from pywatt.sensors.info import SensorInfo
from pywatt.support.quantities import NOT_AVAILABLE, quantity

_LEGEND = "Step: resolution. Update: time between new values. Reading: cost of one read."


def render(found: Sequence[SensorInfo], missing: Sequence[MissingSensor], width: int) -> str:
    """Return the table as text, without a line break at its end.

    Step is a reading's smallest step, Update the time between fresh values, Reading what one costs.
    """
    from rich.table import Table
    from rich.text import Text

    parts = []
    if found:
        titles = ("Sensor", "Kind", "Domain", "Device", "Origin", "Step", "Update", "Reading")
        parts.append(table_text(titles, [_cells(info) for info in found], left=5))
        parts.append("\n".join(textwrap.wrap(_LEGEND, width)))
    else:
        parts.append("Nothing can be read on this machine.")
    notes = [(info.name, info.note) for info in found if info.note]
    for heading, lines in (
        ("Notes", notes),
        ("Looked for and not found", [(entry.name, entry.reason) for entry in missing]),
    ):
        if lines:
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(no_wrap=True)
            grid.add_column(overflow="fold")
            for name, text in lines:
                grid.add_row(Text(f"  {plain(name)}"), Text(plain(text)))
            parts.append(f"{heading}\n{printed(grid, width)}")
    return "\n\n".join(parts)


def _cells(info: SensorInfo) -> tuple[str, ...]:
    return (
        plain(info.name),
        info.kind,
        info.domain,
        info.device or NOT_AVAILABLE,
        info.origin,
        small(info.resolution, info.unit) if info.resolution else NOT_AVAILABLE,
        _period(info.update_period_s),
        NOT_AVAILABLE if info.reading_cost_s is None else quantity(info.reading_cost_s, "s"),
    )


def _period(period_s: float | None) -> str:
    if period_s is None:
        return "unknown"
    return quantity(period_s, "s") if period_s else "always"


def small(number: float, unit: str) -> str:
    """A quantity that may be far below one."""
    return quantity(number, unit) if number >= 1e-6 else f"{number * 1e9:,.3g} n{unit}"
