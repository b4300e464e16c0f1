"""A comparison as tables, one for each side that is compared with the first."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from pywatt.comparison.result import REAL_Z, Change, Comparison, Energy, Regression, Row
from pywatt.renderers.text import Fact, facts_text, plain, short_text, table_text
from pywatt.support.quantities import NOT_AVAILABLE, Scale, fixed, with_std

_ABSENT = "absent"
_SELF = "the model itself"
_LEGEND = (
    "Self energies: with what is outside of the layers they add up to the total. z: the change "
    f"over its standard deviation; |z| of {REAL_Z:g} or more is marked !. absent: no such layer. "
    "n/a: not known."
)

MORE = "explain(), or pywatt compare --explain"


def render(comparison: Comparison, width: int, *, max_rows: int = 40) -> str:
    """Return the tables and at most six lines."""
    parts = [_table(comparison, side, max_rows) for side in range(1, len(comparison.sides))]
    parts.append(short_text(_energies(comparison), comparison.notes, width, MORE))
    return "\n\n".join(parts)


def explain(comparison: Comparison, width: int) -> str:
    """Return what `render` leaves out: what the columns mean, unmatched layers and all notes."""
    return facts_text(_facts(comparison), width)


def verdict(
    comparison: Comparison, found: Sequence[Regression], over: float, width: int = 100
) -> str:
    """Return what `Comparison.regressions` found, for a log of CI."""
    if not found:
        return f"OK: no significant increase above {_percent(over)}."
    lines = []
    for one in found:
        change = one.row.change(one.side)
        relative = None if change is None else change.relative
        what = _name(one.row)
        lines.append(
            f"REGRESSION in {comparison.sides[one.side].name}: {what} "
            f"{_relative(relative)}, which is above +{_percent(one.allowed)} by "
            f"{_z(one.z)} standard deviations"
        )
    return "\n".join(line for text in lines for line in textwrap.wrap(plain(text), width))


def _table(comparison: Comparison, side: int, max_rows: int) -> str:
    old, new = comparison.sides[0], comparison.sides[side]
    totals = [one.energy_j for one in comparison.total.energies if one and one.energy_j is not None]
    scale = Scale.of(max(totals, default=0.0), "J")
    label = "ESTIMATED" if old.estimated else "MEASURED"
    unit = f"{'est. ' if old.estimated else ''}{scale.unit}"
    titles = ("Layer\n", f"Old\n{unit}", f"New\n{unit}", f"Change\n{unit}", "Change\n%", "z\n")
    shown, folded = _shown(comparison.layers, side, max_rows)
    rows = [(plain(_name(row)), *_cells(row, side, scale)) for row in shown]
    if folded:
        more = f"… {len(folded):,} more layer{'s' * (len(folded) > 1)}"
        rows.append((more, *_cells(_sum(folded, side), 1, scale)))
    rows.append(("outside the modules", *_cells(comparison.outside, side, scale)))
    total = ("total", *_cells(comparison.total, side, scale))
    headline = f"{old.name} -> {new.name} · {label} · self energy per {comparison.per}"
    return f"{plain(headline)}\n\n{table_text(titles, rows, total)}"


def _shown(rows: Sequence[Row], side: int, max_rows: int) -> tuple[list[Row], list[Row]]:
    """The rows that changed most, in their order, and the rest; those without any energy last."""

    def size(row: Row) -> float:
        old, new = (_known(row.energies[index]) for index in (0, side))
        return abs(new - old)

    def is_there(row: Row) -> bool:
        energies = [row.energies[index] for index in (0, side)]
        found = [one.energy_j for one in energies if one is not None]
        # Containers that are never called have 0 of their own.
        return any(found) or (bool(found) and found.count(None) == len(found))

    here = [row for row in rows if is_there(row)]
    if len(here) <= max_rows:
        return here, []
    largest = set(sorted(range(len(here)), key=lambda i: -size(here[i]))[: max_rows - 1])
    return (
        [row for index, row in enumerate(here) if index in largest],
        [row for index, row in enumerate(here) if index not in largest],
    )


def _sum(rows: Sequence[Row], side: int) -> Row:
    """The folded layers in one; how their errors go together is not known."""
    sums = [math.fsum(_known(row.energies[index]) for row in rows) for index in (0, side)]
    return Row("", "", tuple(Energy(energy_j, None) for energy_j in sums))


def _known(energy: Energy | None) -> float:
    return 0.0 if energy is None or energy.energy_j is None else energy.energy_j


def _cells(row: Row, side: int, scale: Scale) -> tuple[str, ...]:
    old, new = row.energies[0], row.energies[side]
    change = row.change(side)
    return (
        _energy(old, scale),
        _energy(new, scale),
        *(("", "", "") if change is None else _changed(change, scale)),
    )


def _energy(energy: Energy | None, scale: Scale) -> str:
    return _ABSENT if energy is None else scale.text(energy.energy_j)


def _changed(change: Change, scale: Scale) -> tuple[str, str, str]:
    if change.difference_j is None:
        return NOT_AVAILABLE, NOT_AVAILABLE, NOT_AVAILABLE
    std = change.difference_j_std
    spread = "" if std is None else f" ± {scale.text(std)}"
    difference = _signed(change.difference_j * scale.factor, scale.decimals)
    z = change.z
    real = z is not None and abs(z) >= REAL_Z
    return (
        difference + spread,
        NOT_AVAILABLE if change.relative is None else _signed(100 * change.relative, 1),
        NOT_AVAILABLE if z is None else _z(z) + ("!" if real else " "),
    )


def _signed(number: float, decimals: int) -> str:
    text = fixed(number, decimals)
    return f"+{text}" if round(number, decimals) > 0 else text


def _z(z: float) -> str:
    if abs(z) > 99.95:
        return ">100" if z > 0 else "<-100"
    return _signed(z, 1)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _relative(relative: float | None) -> str:
    return "rose from 0 J" if relative is None else f"{_signed(100 * relative, 1)} %"


def _name(row: Row) -> str:
    if row.type in ("total", "outside"):
        return row.type
    kind = f" ({row.type})" if " -> " in row.type or not row.name else ""
    return (row.name or _SELF) + kind


def _energies(comparison: Comparison) -> Iterator[Fact]:
    for index, side in enumerate(comparison.sides):
        total = comparison.total.energies[index]
        energy = NOT_AVAILABLE
        if total is not None and total.energy_j is not None:
            energy = with_std(total.energy_j, total.energy_j_std, "J")
        runs = f"{side.runs} run{'s' * (side.runs > 1)}"
        samples = "samples not known" if side.samples is None else f"{side.samples:,} samples"
        label = "estimated" if side.estimated else "measured"
        yield "energy", f"{side.name}: {energy} per {comparison.per}, {label}; {runs}, {samples}"
    if any(abs(z) >= REAL_Z for z in _zs(comparison)):
        yield "!", f"change of {REAL_Z:g} standard deviations or more: unlikely to be chance"


def _zs(comparison: Comparison) -> Iterator[float]:
    for side in range(1, len(comparison.sides)):
        for row in (*comparison.layers, comparison.outside, comparison.total):
            change = row.change(side)
            if change is not None and change.z is not None:
                yield change.z


def _facts(comparison: Comparison) -> Iterator[Fact]:
    yield from _energies(comparison)
    yield "table", _LEGEND
    for index, side in enumerate(comparison.sides):
        if names := comparison.only_in(index):
            yield (
                "only in",
                f"{side.name}: {', '.join(name or 'the model itself' for name in names)}",
            )
    for note in comparison.notes:
        yield "note", note
