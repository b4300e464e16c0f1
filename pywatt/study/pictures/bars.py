"""Scores and energies of models as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pywatt.errors import ArgumentError
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
from pywatt.study.ranking import DEFAULT, Ranking
from pywatt.study.row import StudyRow, extrapolation
from pywatt.support.quantities import NOT_AVAILABLE, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR = 0.62
# Width of the axes over the longest bar, to leave room for the text beside it.
_ROOM = 1.5
_MORE_ROOM = 2.2  # for a longer text


def score_bars(ranked: Ranking, *, dark: bool = False) -> Figure:
    """Draw each model's `penalized_score`, and how often it is first within the uncertainty.

    The error bar is one standard deviation of the score.

    Raises:
        ImportError: without the extra `report`.
    """
    colors = theme(dark)
    standings = ranked.standings
    scores = [standing.scores[DEFAULT.metric] or 0.0 for standing in standings]
    figure, axes = canvas(9.5, 1.7 + 0.42 * len(standings), colors, "Score")
    fills = [colors.second if standing.dominated_by else colors.first for standing in standings]
    axes.barh(range(len(standings)), scores, height=_BAR, color=fills)
    stds = [standing.score_std for standing in standings]
    for index, (standing, score, std) in enumerate(zip(standings, scores, stds, strict=True)):
        _error_bar(axes, colors, index, score, std)
        share = standing.first_shares[0]
        often = "" if share is None else f"   1st in {percent(share)}"
        _beside(axes, colors, index, score + std, f"{score:#.4g}{often}")
    ends = [score + std for score, std in zip(scores, stds, strict=True)]
    _names(axes, [standing.name for standing in standings], max(ends))
    label_axes(
        axes, colors, x=f"penalized_score of J per sample, alpha {DEFAULT.alpha:g} (no unit)"
    )
    entries = [
        (colors.first, "Pareto front, within uncertainty"),
        (colors.second, "beaten in both"),
    ]
    _explain(axes, colors, entries)
    return figure


def energy_bars(rows: Sequence[StudyRow], *, dark: bool = False) -> Figure:
    """Draw stacked bars of each model's training and test energy, with both numbers in J.

    The scale is linear, since parts of a bar on a log scale have no meaningful length; a part too
    short to see has its number. The error bar is one standard deviation of the sum.

    Raises:
        ArgumentError: no energy is known.
        ImportError: without the extra `report`.
    """
    known = [r for r in rows if r.test_energy_j is not None or r.train_energy_j is not None]
    if not known:
        raise ArgumentError("no model with an energy to draw")
    known.sort(key=lambda row: (row.train_energy_j or 0.0) + (row.test_energy_j or 0.0))
    colors = theme(dark)
    figure, axes = canvas(9.5, 1.7 + 0.42 * len(known), colors, "Energy of training and test")
    from matplotlib.ticker import EngFormatter

    trains = [row.train_energy_j or 0.0 for row in known]
    tests = [row.test_energy_j or 0.0 for row in known]
    sums = [train + test for train, test in zip(trains, tests, strict=True)]
    stds = [math.hypot(r.train_energy_j_std or 0.0, r.test_energy_j_std or 0.0) for r in known]
    axes.barh(range(len(known)), trains, height=_BAR, color=colors.first)
    axes.barh(range(len(known)), tests, left=trains, height=_BAR, color=colors.second)
    kinds = origin(row.estimated for row in known)
    for index, (row, end_j, std_j) in enumerate(zip(known, sums, stds, strict=True)):
        _error_bar(axes, colors, index, end_j, std_j)
        extrapolated = row.train_extrapolated and row.train_energy_j is not None
        train = _joules(row.train_energy_j) + " (extrapolated)" * extrapolated
        text = f"train {train} + test {_joules(row.test_energy_j)}"
        estimated = ", estimated" if row.estimated and kinds == "partly estimated" else ""
        _beside(axes, colors, index, end_j + std_j, text + estimated)
    extrapolations = extrapolation(known)
    room = _MORE_ROOM if extrapolations else _ROOM
    _names(axes, [r.name for r in known], max(map(sum, zip(sums, stds, strict=True))), room)
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    kinds = ", ".join(filter(None, (kinds, extrapolations)))
    label_axes(axes, colors, x=f"energy, {kinds} (J)")
    _explain(axes, colors, [(colors.first, "training"), (colors.second, "test")])
    left_out = [row.name for row in rows if row not in known]
    remark(figure, colors, [f"not known, so not shown: {', '.join(left_out)}"] if left_out else ())
    return figure


def _joules(energy_j: float | None) -> str:
    """Return an energy of any size in three digits: 1.23 MJ."""
    from matplotlib.ticker import EngFormatter

    if energy_j is None:
        return NOT_AVAILABLE
    return str(EngFormatter(unit="J")(float(f"{energy_j:.3g}")))


def _error_bar(axes: Axes, colors: Theme, index: int, end: float, std: float) -> None:
    if std:
        axes.errorbar(
            end, index, xerr=std, ecolor=colors.ink, elinewidth=1.2, capsize=2.5, fmt="none"
        )


def _beside(axes: Axes, colors: Theme, index: int, end: float, text: str) -> None:
    axes.annotate(
        text,
        (end, index),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=colors.ink,
        fontsize=9,
    )


def _names(axes: Axes, names: Sequence[str], most: float, room: float = _ROOM) -> None:
    """Name the bars, the first on top, and leave room for the text beside the longest."""
    axes.set_yticks(range(len(names)), list(map(literal, names)))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0.0, room * most or 1.0)
    axes.tick_params(axis="y", length=0)


def _explain(axes: Axes, colors: Theme, entries: Sequence[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    legend(axes, colors, handles=[Patch(facecolor=color, label=label) for color, label in entries])
