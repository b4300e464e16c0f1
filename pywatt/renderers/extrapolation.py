"""What a whole training would take, as one line and its notes."""

from pywatt.renderers.text import facts_text, plain
from pywatt.support.quantities import quantity, with_std
from pywatt.training.result import Extrapolation


def render(found: Extrapolation, width: int) -> str:
    """Return one line, and the notes below it where there was something to extrapolate."""
    if found.epochs == found.measured_epochs:
        return plain(_line(found))
    notes = facts_text((("note", note) for note in found.notes), width)
    return "\n".join(filter(None, (plain(_line(found)), notes)))


def _line(found: Extrapolation) -> str:
    label = "estimated" if found.estimated else "measured"
    energy = with_std(found.energy_j, None if found.estimated else found.energy_j_std, "J")
    if found.epochs == found.measured_epochs:
        took = quantity(found.duration_s, "s")
        return f"{energy} for all {found.epochs:,} epochs, {label}, in {took}"
    spread = "spread unknown"
    if found.low_j is not None and found.high_j is not None:
        spread = f"95 % between {quantity(found.low_j, 'J')} and {quantity(found.high_j, 'J')}"
    return (
        f"{energy} EXTRAPOLATED to {found.epochs:,} epochs from {found.measured_epochs:,} "
        f"{label}, {spread}, in {quantity(found.duration_s, 's')}"
    )
