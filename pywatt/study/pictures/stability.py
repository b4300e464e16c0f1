"""Stability of a ranking: rank of each model under each choice of exponent and unit."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pywatt.study.pictures.canvas import Theme, canvas, label_axes, literal, remark, theme
from pywatt.study.ranking import UNITS_J, Choice, Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_IN = 0.42
_METRICS = ("penalized_score", "sam")


def rank_stability(ranked: Ranking, *, dark: bool = False) -> Figure:
    """Draw a heat map of ranks: one row per model, one column per choice; 1 is the best.

    Choices under which a metric is not defined have no column; a remark below names them.

    Raises:
        ImportError: without the extra `report`.
    """
    colors = theme(dark)
    standings = ranked.standings
    defined = [c for c, rank in zip(ranked.choices, standings[0].ranks, strict=True) if rank]
    columns = sorted(
        defined, key=lambda c: (_METRICS.index(c.metric), list(UNITS_J).index(c.unit), c.alpha)
    )
    figure, axes = canvas(
        3.2 + _CELL_IN * len(columns),
        2.4 + _CELL_IN * len(standings),
        colors,
        "Rank under each choice",
        title_pad=42.0,  # above the names of the groups
    )
    import matplotlib
    from matplotlib.colors import Normalize

    palette = matplotlib.colormaps["cividis_r"]
    norm = Normalize(1, max(len(standings), 2))
    ranks = [
        [standing.ranks[ranked.choices.index(choice)] or 0 for choice in columns]
        for standing in standings
    ]
    axes.imshow(ranks, cmap=palette, norm=norm, aspect="equal")
    for y, row in enumerate(ranks):
        for x, rank in enumerate(row):
            axes.text(
                x,
                y,
                str(rank),
                ha="center",
                va="center",
                color=_on(palette(norm(rank))),
                fontsize=9,
            )
    axes.set_yticks(range(len(standings)), [literal(standing.name) for standing in standings])
    axes.set_xticks(range(len(columns)), [f"{choice.alpha:g}" for choice in columns])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _head(axes, colors, columns)
    label_axes(axes, colors, x="alpha, the exponent of accuracy")
    remark(figure, colors, [note for note in ranked.notes if note.startswith("sam ")])
    return figure


def _head(axes: Axes, colors: Theme, columns: list[Choice]) -> None:
    """Name each group of columns above it, and separate it from the next."""
    start = 0
    for (metric, unit), group in groupby(columns, key=lambda choice: (choice.metric, choice.unit)):
        width = len(list(group))
        axes.text(
            start + (width - 1) / 2,
            -0.7,
            f"{'score' if metric == 'penalized_score' else metric}\nin {unit}",
            ha="center",
            va="bottom",
            color=colors.ink,
            fontsize=9,
        )
        if start:
            axes.axvline(start - 0.5, color=colors.ground, linewidth=4)
        start += width


def _on(color: tuple[float, float, float, float]) -> str:
    """Return black or white for text on a color, by relative luminance (ITU-R BT.709)."""
    red, green, blue = color[:3]
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"
