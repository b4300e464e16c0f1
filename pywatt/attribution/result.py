"""Results of attribution: energies of call paths, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt.spans.columns import CallPaths, Spans

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PathTimes:
    """Calls and times of each call path, each of shape (paths,).

    Attributes:
        calls: number of spans.
        time_s: total duration.
        self_time_s: total duration less that of the children.
    """

    calls: FloatArray
    time_s: FloatArray
    self_time_s: FloatArray

    @classmethod
    def of(cls, spans: Spans) -> PathTimes:
        """Add up the spans of each path."""
        calls = np.zeros(len(spans.paths))
        time_s = np.zeros(len(spans.paths))
        for block in spans.blocks():
            calls += np.bincount(block.path, minlength=len(calls))
            time_s += np.bincount(block.path, block.end_s - block.start_s, minlength=len(calls))
        return cls(calls, time_s, np.maximum(spans.paths.minus_children(time_s), 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Deviations:
    """Standard deviations of the figures of `PathEnergies` that have the same names."""

    energy_j_std: FloatArray
    self_energy_j_std: FloatArray
    outside_j_std: float


@dataclass(frozen=True, slots=True, eq=False)
class PathEnergies:
    """Energies of call paths in J with one standard deviation, each of shape (paths,).

    The self energies and `outside_j` add up to the energy of the window.
    """

    energy_j: FloatArray
    energy_j_std: FloatArray
    self_energy_j: FloatArray
    self_energy_j_std: FloatArray
    outside_j: float
    outside_j_std: float

    def widened_to(
        self,
        other: Deviations,
        *,
        inclusive: npt.NDArray[np.bool_] | bool = True,
        own: npt.NDArray[np.bool_] | bool = True,
        outside: bool = True,
    ) -> PathEnergies:
        """Raise the selected deviations to at least those of `other`."""

        def raised(mine: FloatArray, theirs: FloatArray, where: Any) -> FloatArray:
            return np.where(where, np.maximum(mine, theirs), mine)

        outside_std = max(self.outside_j_std, other.outside_j_std if outside else 0.0)
        return replace(
            self,
            energy_j_std=raised(self.energy_j_std, other.energy_j_std, inclusive),
            self_energy_j_std=raised(self.self_energy_j_std, other.self_energy_j_std, own),
            outside_j_std=outside_std,
        )


def fold_by_name(paths: CallPaths, figures: FloatArray, names: int) -> FloatArray:
    """Add up the figures of all paths of each name, shape (names,)."""
    return np.bincount(paths.name, figures, minlength=names)[:names].astype(np.float64)


def fold_outermost(paths: CallPaths, figures: FloatArray, names: int) -> FloatArray:
    """Add up inclusive figures by name; a call inside one of its own name is in that already."""
    return fold_by_name(paths, np.where(paths.outermost(), figures, 0.0), names)
