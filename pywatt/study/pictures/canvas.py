"""Shared by all pictures: background, colors and axes."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pywatt.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")
_DPI = 150
_REMARK_PER_INCH = 14  # characters of a remark that fit at least


@dataclass(frozen=True, slots=True)
class Theme:
    """Colors on one background.

    Colors with a meaning are from Okabe and Ito's color-blind-safe palette; of its two blues, the
    one with more contrast to the background.
    """

    ground: str
    ink: str
    faint: str
    first: str
    second: str


LIGHT = Theme(ground="#ffffff", ink="#1b1f23", faint="#c9ced3", first="#0072b2", second="#e69f00")
DARK = Theme(ground="#15181c", ink="#e8eaec", faint="#4a5159", first="#56b4e9", second="#e69f00")


def theme(dark: bool) -> Theme:
    """Return the colors for a dark or a light background."""
    return DARK if dark else LIGHT


def canvas(
    width_in: float, height_in: float, colors: Theme, title: str, *, title_pad: float = 12.0
) -> tuple[Figure, Axes]:
    """Return a new figure and its axes, independent of pyplot's current figure and settings."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'pywatt[report]'") from error
    figure = Figure(figsize=(width_in, height_in), facecolor=colors.ground, layout="constrained")
    axes = figure.add_subplot(facecolor=colors.ground)
    axes.set_title(
        title, color=colors.ink, loc="left", fontsize=12, fontweight="bold", pad=title_pad
    )
    axes.tick_params(colors=colors.ink, which="both", labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colors.faint)
    axes.set_axisbelow(True)
    return figure, axes


def label_axes(axes: Axes, colors: Theme, *, x: str = "", y: str = "") -> None:
    """Name the axes, with units."""
    axes.set_xlabel(x, color=colors.ink, fontsize=10)
    axes.set_ylabel(y, color=colors.ink, fontsize=10)


def legend(axes: Axes, colors: Theme, *, top: float = 1.0, **options: Any) -> None:
    """Draw the legend beside the axes, where it covers nothing.

    `top` is its upper end, 0 at the bottom of the axes and 1 at their top.
    """
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, top),
        frameon=False,
        labelcolor=colors.ink,
        fontsize=9,
        **options,
    )


def literal(text: str) -> str:
    """Escape a text for matplotlib, which takes text between two dollar signs as math."""
    return text.replace("$", r"\$")


def remark(figure: Figure, colors: Theme, lines: Iterable[str]) -> None:
    """Write caveats below the picture."""
    width = int(figure.get_figwidth() * _REMARK_PER_INCH)
    text = "\n".join(literal(part) for line in lines for part in textwrap.wrap(line, width))
    if text:
        figure.supxlabel(text, x=0.01, ha="left", color=colors.ink, fontsize=8)


def origin(estimated: Iterable[bool]) -> str:
    """Return whether energies are measured, estimated or partly estimated, as text."""
    kinds = set(estimated)
    if len(kinds) > 1:
        return "partly estimated"
    return "estimated" if True in kinds else "measured"


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG or SVG, by the ending of its name. Raises ArgumentError, OSError."""
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise ArgumentError(f"{os.fspath(path)} must end in {' or '.join(_SUFFIXES)}")
    figure.savefig(path, dpi=_DPI, facecolor=figure.get_facecolor())
