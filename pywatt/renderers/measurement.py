"""The energy of a block of code: one line; all that is known of it."""

from collections.abc import Iterator

from pywatt.measurement.measure import Measurement
from pywatt.renderers.text import Fact, facts_text, plain
from pywatt.support.quantities import NOT_AVAILABLE, quantity, with_std


def render(measured: Measurement, width: int) -> str:
    """Return one line of any width: energy ± one standard deviation, time, power, sensors."""
    duration = f"{measured.duration_s:.4g} s"
    if measured.energy_j is None or measured.energy_j_std is None:
        return plain(
            f"energy unavailable over {duration}: {'; '.join(measured.notes) or 'no sensor'}"
        )
    sensors = ", ".join(sensor.source or sensor.name for sensor in measured.sensors)
    power = "" if measured.power_w is None else f", {measured.power_w:.4g} W"
    return plain(
        f"{measured.energy_j:.4g} ± {measured.energy_j_std:.2g} J over {duration}{power} "
        f"({_origin(measured)}: {sensors})"
    )


def explain(measured: Measurement, width: int) -> str:
    """Return the line, and below it windows, sensors and all notes."""
    return f"{render(measured, width)}\n\n{facts_text(_facts(measured), width)}"


def _facts(measured: Measurement) -> Iterator[Fact]:
    for window in measured.windows:
        energy = NOT_AVAILABLE
        if window.energy_j is not None:
            energy = with_std(window.energy_j, window.energy_j_std, "J")
        calls = f"{window.calls:,} time{'s' * (window.calls != 1)}"
        yield "window", f"{window.name}: {energy} in {quantity(window.time_s, 's')}, {calls}"
    for name, energy_j in measured.energy_by_sensor.items():
        yield "sensor", f"{name}, {NOT_AVAILABLE if energy_j is None else quantity(energy_j, 'J')}"
    for note in measured.notes:
        yield "note", note


def _origin(measured: Measurement) -> str:
    return "estimated" if measured.estimated else "measured"
