"""Accuracy against energy, with error bars and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pywatt.errors import ArgumentError
from pywatt.scores.pareto import pareto_front
from pywatt.study.pictures.canvas import (
    Theme,
    canvas,
    label_axes,
    legend,
    literal,
    origin,
    remark,
    theme,
)
from pywatt.study.row import StudyRow
from pywatt.support.quantities import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AREAS = (40.0, 500.0)  # of the smallest and the largest bubble, in points squared
_AREA_UNKNOWN = 60.0
_BEYOND = 0.05  # room on the accuracy axis below 0 and above 1: half a bubble


@dataclass(frozen=True, slots=True)
class _Point:
    name: str
    accuracy: float
    accuracy_std: float
    energy_j: float
    energy_j_std: float
    parameters: int | None
    estimated: bool


def accuracy_against_energy(rows: Sequence[StudyRow], *, dark: bool = False) -> Figure:
    """Draw models by energy per sample (log) and accuracy; bubble size shows the parameters.

    Error bars are one standard deviation, of accuracy within 0 and 1. Models on the Pareto front
    are filled; nothing else beats them in both beyond the uncertainty.

    Raises:
        ArgumentError: no model has both an accuracy and an energy per sample above 0.
        ImportError: without the extra `report`.
    """
    points = _points(rows)
    colors = theme(dark)
    figure, axes = canvas(8.5, 5.2, colors, "Accuracy against energy")
    front = pareto_front(
        [p.accuracy for p in points],
        [p.energy_j for p in points],
        [p.accuracy_std for p in points],
        [p.energy_j_std for p in points],
    )
    axes.set_xscale("log")
    axes.grid(color=colors.faint, linewidth=0.5, alpha=0.6)
    # The line joins the front without uncertainties: with them it would not be monotonic.
    line = pareto_front([p.accuracy for p in points], [p.energy_j for p in points])
    axes.plot(
        [points[index].energy_j for index in line],
        [points[index].accuracy for index in line],
        color=colors.first,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        zorder=2,
    )
    area_of = _areas(points)
    kinds = origin(point.estimated for point in points)
    mixed = kinds == "partly estimated"
    for index, point in enumerate(points):
        marker = "D" if mixed and point.estimated else "o"
        _draw(axes, colors, point, area_of(point.parameters), marker, on_front=index in front)
    _limits(axes, points)
    mark = "; diamonds are estimated" if mixed else ""
    label_axes(axes, colors, x=f"energy per sample, {kinds} (J, log scale{mark})", y="accuracy")
    _explain(axes, colors, points, area_of)
    drawn = {point.name for point in points}
    left_out = [row.name for row in rows if row.name not in drawn]
    remark(figure, colors, [f"not known, so not shown: {', '.join(left_out)}"] if left_out else ())
    _place_names(figure, axes, colors, points, area_of)
    return figure


def _points(rows: Sequence[StudyRow]) -> list[_Point]:
    points = [
        _Point(
            row.name,
            row.accuracy,
            row.accuracy_std or 0.0,
            row.sample_energy_j,
            row.sample_energy_j_std or 0.0,
            row.parameters,
            row.estimated,
        )
        for row in rows
        if row.accuracy is not None and row.sample_energy_j
    ]
    if not points:
        raise ArgumentError("no model with both an accuracy and an energy to draw")
    return points


def _draw(
    axes: Axes, colors: Theme, point: _Point, area: float, marker: str, *, on_front: bool
) -> None:
    color = colors.first if on_front else colors.second
    low, high = _bar(point)
    lowest, highest = _accuracy_bar(point)
    axes.errorbar(
        point.energy_j,
        point.accuracy,
        xerr=[[point.energy_j - low], [high - point.energy_j]],
        yerr=[[point.accuracy - lowest], [highest - point.accuracy]],
        ecolor=colors.ink,
        elinewidth=1.0,
        capsize=2.5,
        fmt="none",
        zorder=5,  # above the bubble, which may be wider
    )
    axes.scatter(
        point.energy_j,
        point.accuracy,
        # A diamond of half the area is as wide as a circle.
        s=area / 2.0 if marker == "D" else area,
        marker=marker,
        facecolor=color if on_front else colors.ground,
        edgecolor=color,
        linewidth=1.6,
        zorder=4,
    )


def _areas(points: Sequence[_Point]) -> Callable[[int | None], float]:
    """Return a function from parameters to bubble area: the same step for each factor of ten."""
    known = [math.log10(max(p.parameters, 1)) for p in points if p.parameters is not None]
    least, most = min(known, default=0.0), max(known, default=0.0)

    def area(parameters: int | None) -> float:
        if parameters is None or most == least:
            return _AREA_UNKNOWN
        step = (math.log10(max(parameters, 1)) - least) / (most - least)
        return _AREAS[0] + step * (_AREAS[1] - _AREAS[0])

    return area


def _limits(axes: Axes, points: Sequence[_Point]) -> None:
    """Leave room for names, and put ticks on axes of less than a decade too."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    lows, highs = zip(*map(_bar, points), strict=True)
    least, most = min(lows), max(highs)
    margin = (most / least) ** 0.16 * 1.05
    axes.set_xlim(least / margin, most * margin)
    decades = math.log10(most / least)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.0 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    bottoms, tops = zip(*map(_accuracy_bar, points), strict=True)
    bottom, top = min(bottoms), max(tops)
    room = 0.15 * max(top - bottom, 0.01)
    axes.set_ylim(max(bottom - room, -_BEYOND), min(top + room, 1.0 + _BEYOND))


def _explain(
    axes: Axes,
    colors: Theme,
    points: Sequence[_Point],
    area_of: Callable[[int | None], float],
) -> None:
    from matplotlib.lines import Line2D

    def mark(area: float, color: str, fill: str, label: str) -> Line2D:
        return Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            markersize=math.sqrt(area),
            markerfacecolor=fill,
            markeredgecolor=color,
            markeredgewidth=1.6,
            label=label,
        )

    handles = [
        mark(_AREA_UNKNOWN, colors.first, colors.first, "Pareto front, within uncertainty"),
        mark(_AREA_UNKNOWN, colors.second, colors.ground, "beaten in both"),
    ]
    sizes = sorted({p.parameters for p in points if p.parameters is not None})
    for size in sizes[:: max(len(sizes) - 1, 1)]:  # the smallest and the largest
        label = f"{count(size)} parameters"
        handles.append(mark(area_of(size), colors.ink, colors.ground, label))
    legend(axes, colors, handles=handles, labelspacing=1.3, handletextpad=1.0)


def _place_names(
    figure: Figure,
    axes: Axes,
    colors: Theme,
    points: Sequence[_Point],
    area_of: Callable[[int | None], float],
) -> None:
    """Put names where they cover no bubble, error bar, line or other name.

    If some name has no such place, points get numbers, and the names are listed beside the axes.
    """
    # The axes must have and keep their final place, since names are placed in pixels.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    if _written(figure, axes, colors, points, area_of, [point.name for point in points]):
        return
    by_accuracy = sorted(range(len(points)), key=lambda index: -points[index].accuracy)
    numbers = [str(by_accuracy.index(index) + 1) for index in range(len(points))]
    key = [f"{place}  {points[index].name}" for place, index in enumerate(by_accuracy, 1)]
    figure.set_size_inches(
        figure.get_figwidth() + 0.07 * max(0, max(map(len, key)) - 30),
        max(figure.get_figheight(), 2.6 + 0.19 * len(key)),
    )
    _list_names(axes, colors, key)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _written(figure, axes, colors, points, area_of, numbers, anyhow=True)


def _list_names(axes: Axes, colors: Theme, key: Sequence[str]) -> None:
    """List names below the legend."""
    from matplotlib.lines import Line2D

    above = axes.get_legend()
    assert above is not None
    axes.add_artist(above)
    bottom = above.get_window_extent().transformed(axes.transAxes.inverted()).y0
    handles = [Line2D([], [], linestyle="", label=literal(name)) for name in key]
    options = {"handlelength": 0.0, "handletextpad": 0.0, "labelspacing": 0.3}
    legend(axes, colors, handles=handles, top=bottom, **options)


def _written(
    figure: Figure,
    axes: Axes,
    colors: Theme,
    points: Sequence[_Point],
    area_of: Callable[[int | None], float],
    texts: Sequence[str],
    *,
    anyhow: bool = False,
) -> bool:
    """Write a text beside each point; return whether each has a free place, else write none."""
    try:
        import textalloc
    except ImportError as error:
        raise ImportError("pictures need textalloc: pip install 'pywatt[report]'") from error

    lines = [line.get_data() for line in axes.lines[:1]]
    for point in points:
        lines.append((_bar(point), (point.accuracy, point.accuracy)))
        lines.append(((point.energy_j, point.energy_j), _accuracy_bar(point)))
    # Areas are in points, 72 an inch.
    radii = [math.sqrt(area_of(p.parameters)) / 2.0 * figure.dpi / 72.0 for p in points]
    energies_j = [point.energy_j for point in points]
    accuracies = [point.accuracy for point in points]
    _, _, written, leaders = textalloc.allocate(
        axes,
        energies_j,
        accuracies,
        list(map(literal, texts)),
        x_scatter=energies_j,
        y_scatter=accuracies,
        scatter_sizes=radii,
        text_scatter_sizes=radii,
        x_lines=[x for x, _ in lines],
        y_lines=[y for _, y in lines],
        textsize=9,
        textcolor=colors.ink,
        linecolor=colors.faint,
        linewidth=0.8,
        max_distance=0.4,
        nbr_candidates=500,
        avoid_label_lines_overlap=True,
        draw_all=anyhow,
    )
    if all(text is not None for text in written):
        return True
    for artist in (*written, *leaders):
        if artist is not None:
            artist.remove()
    return False


def _bar(point: _Point) -> tuple[float, float]:
    """Return the ends of a point's energy error bar, cut at a tenth for the log scale."""
    low_j = max(point.energy_j - point.energy_j_std, point.energy_j / 10.0)
    return low_j, point.energy_j + point.energy_j_std


def _accuracy_bar(point: _Point) -> tuple[float, float]:
    """Return the ends of a point's accuracy error bar, within 0 and 1."""
    low, high = point.accuracy - point.accuracy_std, point.accuracy + point.accuracy_std
    return max(low, 0.0), min(high, 1.0)
