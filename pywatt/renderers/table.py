"""A profile as a table of plain text, for a terminal, a file or a log."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.renderers.summary import UNRESOLVED, headline, plain, summary, total_std
from pywatt.renderers.tree import Fold, Node, fold
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
        return max(map(_cell_len, (self.title, self.unit, self.foot, *self.cells)))


class TableRenderer:
    """The layers as a tree, so folded that the self energies still add up to the total."""

    def __init__(self, *, width: int | None = None, max_rows: int = 40) -> None:
        """`width` in characters: by default the terminal's, or 100 where there is none.

        A narrow table leaves columns out and says so. Numbers are never cut: the lines of a very
        narrow one are longer than `width`.
        """
        self._width = width
        self._max_rows = max_rows

    def render(self, profile: Profile) -> str:
        """Return the table with the lines above and below it."""
        width = self._width or shutil.get_terminal_size(fallback=(100, 40)).columns
        folded = fold(profile, self._max_rows)
        columns, left_out = _fitted(_columns(profile, folded), width)
        width = max(width, _needed(columns))
        return "\n".join(
            (
                headline(profile, width),
                "",
                _drawn(columns, width),
                "",
                summary(profile, folded, left_out, width),
            )
        )


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

    def unresolved(layer: LayerEnergy) -> str:
        return UNRESOLVED if layer.resolved is False else ""

    def share(energy_j: float | None) -> str:
        if energy_j is None or not profile.energy_j:
            return NOT_AVAILABLE
        return fixed(100 * energy_j / profile.energy_j, 1)

    *self_energies, self_total = _with_stds(
        energy,
        [
            *((x.self_energy_j, x.self_energy_j_std, mark(x), unresolved(x)) for x in layers),
            # How the errors of the folded layers go together is not known.
            *([(hidden_j, None, "", "")] if hidden else []),
            (profile.outside_j, profile.outside_j_std, "", ""),
            (profile.energy_j, total_std(profile), "", ""),
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
    scale: Scale, energies: Sequence[tuple[float | None, float | None, str, str]]
) -> list[str]:
    """Texts such as 1.23 ± 0.04, padded so that numbers stand under numbers and ± under ±."""
    stds = [
        "" if std is None or j is None else f" ± {fixed(std * scale.factor, scale.decimals)}"
        for j, std, _, _ in energies
    ]
    longest = max(map(len, stds))
    widest = max(len(after) for _, _, _, after in energies)
    return [
        NOT_AVAILABLE
        if j is None
        else f"{before}{scale.text(j)}{_right(std, longest)}{after.ljust(widest)}"
        for (j, _, before, after), std in zip(energies, stds, strict=True)
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
    if _cell_len(cell) <= width:
        return cell
    name = cell.lstrip(" ")
    indent = min(len(cell) - len(name), width // 2)
    head = (width - indent) // 3
    tail = name[head:]
    while tail and _cell_len(name[:head] + tail) > width - indent - 1:
        tail = tail[1:]
    return " " * indent + name[:head] + "…" + tail


def _drawn(columns: Sequence[_Column], width: int) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pywatt.renderers.summary import printed

    table = Table(box=box.SIMPLE, show_footer=True, show_edge=False, padding=(0, 1, 0, 0))
    table.pad_edge = False
    for column in columns:
        text = column.title in ("Layer", "Type")
        table.add_column(
            Text(f"{column.title}\n{column.unit}"),
            Text(column.foot),
            justify="left" if text else "right",
            width=column.width,
            no_wrap=True,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    return printed(table, width)


def _cell_len(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
