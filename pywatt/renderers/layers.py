"""The table of a profile's layers: a tree, so folded that the self energies add up to the total."""

from collections.abc import Sequence
from dataclasses import dataclass

from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.renderers.text import cell_len, drawn, plain, right_aligned
from pywatt.renderers.tree import Fold, Node
from pywatt.support.quantities import NOT_AVAILABLE, Scale, count, fixed, total

_GAP = 2
_LEAST_LAYER = 24
_LEAST_TYPE = 10
# What a narrow table goes without, first to last.
_EXPENDABLE = ("Params", "Type", "Calls", "Power", "Time", "Energy")


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    unit: str
    cells: tuple[str, ...]
    foot: str = ""

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, self.unit, self.foot, *self.cells)))


def layer_table(profile: Profile, folded: Fold, width: int) -> tuple[str, list[str], int]:
    """Return the table, the titles of the columns left out, and the width that the table needs."""
    columns, left_out = _fitted(_columns(profile, folded), width)
    width = max(width, _needed(columns))
    return _drawn(columns), left_out, width


def _columns(profile: Profile, folded: Fold) -> list[_Column]:
    """Every column: the shown layers, the fold, what is outside the modules; the total below."""
    layers = [node.layer for node in folded.nodes]
    hidden = len(folded.folded)
    hidden_j = total(layer.self_energy_j for layer in folded.folded)

    def below(fold: str, outside: str) -> tuple[str, ...]:
        return (fold, outside) if hidden else (outside,)

    energy = Scale.of(profile.energy_j or 0.0, "J")
    time = Scale.of(max((profile.duration_s, *(layer.time_s for layer in layers))), "s")
    powers = [layer.power_w for layer in layers]
    power = Scale.whole(max(p or 0.0 for p in (profile.power_w, *powers)), "W")
    estimated = "est. " if profile.estimated else ""
    mixed = profile.estimated and not all(sensor.estimated for sensor in profile.sensors)

    total_label = "total"
    if profile.estimated:
        total_label += ", partly estimated" if mixed else ", estimated"

    def mark(layer: LayerEnergy) -> str:
        return "~" if mixed and profile.layer_label(layer) == "estimated" else ""

    def share(energy_j: float | None) -> str:
        if energy_j is None or not profile.energy_j:
            return NOT_AVAILABLE
        return fixed(100 * energy_j / profile.energy_j, 1)

    std = None if profile.estimated else profile.energy_j_std
    *self_energies, self_total = _with_stds(
        energy,
        [
            *((x.self_energy_j, x.self_energy_j_std, mark(x), x.resolved is False) for x in layers),
            # How the errors of the folded layers go together is not known.
            *([(hidden_j, None, "", False)] if hidden else []),
            (profile.outside_j, profile.outside_j_std, "", False),
            (profile.energy_j, std, "", False),
        ],
    )
    return [
        _Column(
            "Layer",
            "",
            tuple(map(_indented, folded.nodes))
            + below(f"… {hidden:,} more module{'s' * (hidden > 1)}", "outside the modules"),
            total_label,
        ),
        _Column("Type", "", tuple(plain(x.type) for x in layers) + below("", "")),
        _Column("Calls", "", tuple(f"{x.calls:,}" for x in layers) + below("", "")),
        _Column(
            "Time",
            time.unit,
            tuple(time.text(x.time_s) for x in layers) + below("", ""),
            time.text(profile.duration_s),
        ),
        _Column("Self energy", estimated + energy.unit, tuple(self_energies), self_total),
        _Column(
            "Share",
            "%",
            tuple(share(x.self_energy_j) for x in layers)
            + below(share(hidden_j), share(profile.outside_j)),
            share(profile.energy_j),
        ),
        _Column(
            "Energy",
            estimated + energy.unit,
            tuple(
                NOT_AVAILABLE if x.energy_j is None else mark(x) + energy.text(x.energy_j)
                for x in layers
            )
            + below("", ""),
        ),
        _Column(
            "Power",
            power.unit,
            tuple(map(power.text, powers)) + below("", ""),
            power.text(profile.power_w),
        ),
        _Column("Params", "", tuple(count(x.parameters) for x in layers) + below("", "")),
    ]


def _indented(node: Node) -> str:
    return "  " * node.level + plain(node.label)


def _with_stds(
    scale: Scale, energies: Sequence[tuple[float | None, float | None, str, bool]]
) -> list[str]:
    """Texts such as 1.23 ± 0.04, numbers under numbers and ± under ±; [brackets] where asked for.

    Each energy comes with its standard deviation, what stands before it, and whether in brackets.
    """
    stds = [
        "" if std is None or j is None else f" ± {fixed(std * scale.factor, scale.decimals)}"
        for j, std, _, _ in energies
    ]
    longest = max(map(len, stds))
    blank = " " if any(brackets for *_, brackets in energies) else ""

    def text(j: float | None, before: str, std: str, brackets: bool) -> str:
        if j is None:
            return NOT_AVAILABLE + blank
        left, right = ("[", "]") if brackets else ("", blank)
        return f"{left}{before}{scale.text(j)}{_right(std, longest)}{right}"

    return [
        text(j, before, std, brackets)
        for (j, _, before, brackets), std in zip(energies, stds, strict=True)
    ]


def _right(std: str, width: int) -> str:
    return std[:3] + std[3:].rjust(width - 3) if std else " " * width


def _fitted(columns: list[_Column], width: int) -> tuple[list[_Column], list[str]]:
    """The columns that fit and the titles of those left out; long names are shortened first."""
    left_out = []
    for title in (*_EXPENDABLE, ""):
        least = sum(_least(column) for column in columns) + _GAP * (len(columns) - 1)
        if least <= width or not title:
            break
        left_out.append(title)
        columns = [column for column in columns if column.title != title]
    spare = max(0, width - least)
    fitted = []
    for column in columns:  # the layers' names come first and get what they need
        most = _least(column) + spare
        spare -= max(0, min(column.width, most) - _least(column))
        fitted.append(_shortened(column, most))
    return fitted, left_out


def _least(column: _Column) -> int:
    limits = {"Layer": _LEAST_LAYER, "Type": _LEAST_TYPE}
    return min(column.width, limits.get(column.title, column.width))


def _needed(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _shortened(column: _Column, width: int) -> _Column:
    return _Column(
        column.title,
        column.unit,
        tuple(_short(cell, width) for cell in column.cells),
        column.foot,
    )


def _short(cell: str, width: int) -> str:
    """Take the middle out of a name, and from a deep one some of the indent."""
    if cell_len(cell) <= width:
        return cell
    name = cell.lstrip(" ")
    indent = min(len(cell) - len(name), width // 2)
    head = (width - indent) // 3
    tail = name[head:]
    while tail and cell_len(name[:head] + tail) > width - indent - 1:
        tail = tail[1:]
    return " " * indent + name[:head] + "…" + tail


def _drawn(columns: Sequence[_Column]) -> str:
    def aligned(column: _Column) -> tuple[str, Sequence[str], str]:
        title = f"{column.title}\n{column.unit}"
        if column.title in ("Layer", "Type"):
            return title, column.cells, column.foot
        return right_aligned(title, column.cells, column.foot)

    return drawn([aligned(column) for column in columns])
