"""The pictures of a study, as files in a folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pywatt.errors import ArgumentError
from pywatt.study.result import StudyTable


def draw(table: StudyTable, folder: Path, suffix: str) -> tuple[Path, ...]:
    """Draw what can be drawn, on light and dark backgrounds, and return the paths.

    Raises:
        ImportError: without the extra `report`.
        OSError: they cannot be written.
        ArgumentError: a suffix that is neither ".png" nor ".svg".
    """
    from pywatt.study import pictures

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for dark in (False, True):
        figures = {}
        # A picture without any known figure is left out.
        with suppress(ArgumentError):
            figures["accuracy"] = pictures.accuracy_against_energy(table.rows, dark=dark)
        with suppress(ArgumentError):
            figures["energy"] = pictures.energy_bars(table.rows, dark=dark)
        if table.ranking is not None:
            figures["score"] = pictures.score_bars(table.ranking, dark=dark)
            figures["ranks"] = pictures.rank_stability(table.ranking, dark=dark)
        for name, figure in figures.items():
            path = folder / f"{name}{'-dark' * dark}{suffix}"
            pictures.save(figure, path)
            paths.append(path)
    return tuple(paths)
