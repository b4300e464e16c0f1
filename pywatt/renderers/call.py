"""The energy of one call as a few lines, and a table of the windows inside it."""

from collections.abc import Iterator

from pywatt.calls.result import CallEnergy, CallWindow
from pywatt.renderers.facts import notes_beside, sensor_text, short_notes, source_of
from pywatt.renderers.text import Fact, facts_text, plain, short_text, table_text, wrapped
from pywatt.sensors.info import SensorInfo
from pywatt.support.quantities import NOT_AVAILABLE, quantity, with_std

MORE = "explain(), or --explain"


def render(call: CallEnergy, width: int) -> str:
    """Return headline, the windows, and at most six lines."""
    parts = [_headline(call, width)]
    if call.windows:
        parts.append(_windows(call.windows))
    notes = short_notes(_used(call), call.notes)
    return "\n\n".join((*parts, short_text(_short_facts(call), notes, width, MORE)))


def explain(call: CallEnergy, width: int) -> str:
    """Return every figure, sensor and note, and the method."""
    return f"{_headline(call, width)}\n\n{facts_text(_all_facts(call), width)}"


def _headline(call: CallEnergy, width: int) -> str:
    source = source_of(() if call.energy_j is None else _used(call), call.estimated)
    return wrapped(f"One call of {call.function} · {source}", width)


def _used(call: CallEnergy) -> list[SensorInfo]:
    """The sensors whose energies add up."""
    return [info for info in call.sensors if info.name in call.energy_by_sensor]


def _short_facts(call: CallEnergy) -> Iterator[Fact]:
    label = "estimated" if call.estimated else "measured"
    if call.energy_j is None:
        yield "energy", "unavailable"
    else:
        yield "energy", f"{with_std(call.energy_j, call.energy_j_std, 'J')} {label}"
    if call.net_energy_j is not None:
        yield "above idle", with_std(call.net_energy_j, call.net_energy_j_std, "J")
    spread = with_std(call.duration_s, call.duration_s_std, "s")
    yield "time", f"{spread} (median, spread of {call.calls:,} calls)"
    if call.power_w is not None and call.idle_power_w is not None:
        idle = with_std(call.idle_power_w, call.idle_power_w_std, "W")
        yield "power", f"{quantity(call.power_w, 'W')}, idle {idle}"


def _all_facts(call: CallEnergy) -> Iterator[Fact]:
    yield from _short_facts(call)
    yield "method", f"{call.method} (took {quantity(call.elapsed_s, 's')})"
    for info in _used(call):
        yield "sensor", sensor_text(info, call.energy_by_sensor[info.name], per_call=True)
    for note in notes_beside(call.sensors, call.notes):
        yield "note", note


def _windows(windows: tuple[CallWindow, ...]) -> str:
    rows = []
    for window in windows:
        energy = NOT_AVAILABLE
        if window.energy_j is not None:
            energy = with_std(window.energy_j, window.energy_j_std, "J")
        power = NOT_AVAILABLE if window.power_w is None else quantity(window.power_w, "W")
        cells = (plain(window.name), f"{window.count:.4g}", quantity(window.duration_s, "s"))
        rows.append((*cells, energy, power))
    return table_text(("Window", "A call", "Time", "Energy", "Power"), rows)
