"""What a probe found out about the sensors of a machine, as a table with the reasons below it."""

import textwrap
from collections.abc import Sequence

from pywatt.metering.probe import Probe
from pywatt.renderers.sensors import small
from pywatt.renderers.text import plain, table_text
from pywatt.support.quantities import NOT_AVAILABLE, quantity, with_std

_LEGEND = (
    "Update: mean time between new values, ± the deviation of one such time. Window: averaging "
    "window. Delay: from the window's end to the reading. Step: resolution. Reading: cost of one "
    "read. Counter/power: energy of the counter over the integrated power of the same time. n/a: "
    "not identified, for the reason in the notes."
)


def render(probes: Sequence[Probe], width: int) -> str:
    """Return the table as text, without a line break at its end."""
    if not probes:
        return "No sensor gave a reading, so none could be probed."
    titles = ("Probed", "Update", "Window", "Delay", "Step", "Reading", "Counter/power")
    table = table_text(titles, [_cells(probe) for probe in probes])
    parts = [table, "\n".join(textwrap.wrap(_LEGEND, width))]
    notes = dict.fromkeys(note for probe in probes for note in probe.notes)
    if notes:
        wrapped = (
            textwrap.fill(plain(note), width, initial_indent="  ", subsequent_indent="    ")
            for note in notes
        )
        parts.append("\n".join(("Notes", *wrapped)))
    return "\n\n".join(parts)


def _cells(probe: Probe) -> tuple[str, ...]:
    model, sensor = probe.model, probe.sensor
    cost_s, ratio = sensor.reading_cost_s, probe.counter_ratio
    # Around 1, where a prefix such as m would only confuse.
    agreement = NOT_AVAILABLE if ratio is None else f"{ratio:.3f} ± {probe.counter_ratio_std:.3f}"
    return (
        plain(sensor.name),
        _known(model.period_s, model.jitter_s, "s"),
        _known(model.window_s, model.window_s_std, "s"),
        _known(model.delay_s, model.delay_s_std, "s"),
        small(model.resolution, sensor.unit) if model.resolution else NOT_AVAILABLE,
        NOT_AVAILABLE if cost_s is None else quantity(cost_s, "s"),
        agreement,
    )


def _known(number: float | None, std: float | None, unit: str) -> str:
    return NOT_AVAILABLE if number is None else with_std(number, std, unit)
