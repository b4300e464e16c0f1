"""Cut a curve of energy along the spans, as all methods without a sensor model do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Energy over time at points; power is linear between them, or constant where it is None.

    What lies outside of [start_s, end_s], which the points cover, does not count.
    """

    time_s: FloatArray
    power_w: FloatArray | None
    energy_j: FloatArray
    start_s: float
    end_s: float

    def integrate(self, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
        """Return the energy of the parts of windows that count."""
        return _core.integrate(
            self.time_s,
            self.power_w,
            self.energy_j,
            np.clip(start_s, self.start_s, self.end_s),
            np.clip(end_s, self.start_s, self.end_s),
        )


def self_energies(spans: Spans, *curves: Curve) -> list[FloatArray]:
    """Return the energy of each path's own time under each curve, in its unit, of shape (paths,).

    Calls that run at the same time, in several threads or on several streams, cannot be separated:
    each moment is shared equally among the calls open then that have none inside them.
    """
    if _is_concurrent(spans):
        return _shared_self_energies(spans, curves)
    inclusive = [np.zeros(len(spans.paths)) for _ in curves]
    for block in spans.blocks():
        for total, curve in zip(inclusive, curves, strict=True):
            energy_j = curve.integrate(block.start_s, block.end_s)
            total += np.bincount(block.path, energy_j, minlength=len(total))
    return [spans.paths.minus_children(total) for total in inclusive]


def _is_concurrent(spans: Spans) -> bool:
    return any(bool(np.any(block.thread != 0)) for block in spans.blocks())


def _shared_self_energies(spans: Spans, curves: Sequence[Curve]) -> list[FloatArray]:
    owner, edge_s, step = _edges(spans)
    order = np.lexsort((edge_s, owner))
    owner, edge_s = owner[order], edge_s[order]
    # Open calls of a path less the calls inside them: how many are active. Each path's steps add up
    # to zero, so one running sum serves all paths.
    active = np.maximum(np.cumsum(step[order]), 0)
    # After a path's last edge none of its calls is open: what follows there is never an interval.
    first = np.flatnonzero(active)
    points_s, among = _points(curves, edge_s, np.diff(active, prepend=0))
    all_own_j: list[FloatArray] = []
    for curve in curves:
        shared = _divided(curve, points_s, among)
        energy_j = shared.integrate(edge_s[first], edge_s[first + 1]) * active[first]
        own_j = np.zeros(len(spans.paths))
        own_j += np.bincount(owner[first], energy_j, minlength=len(own_j))
        all_own_j.append(own_j)
    return all_own_j


def _edges(spans: Spans) -> tuple[npt.NDArray[np.int32], FloatArray, npt.NDArray[np.int8]]:
    """Return where the number of a path's active calls changes: path, time and change."""
    blocks = list(spans.blocks())
    path = np.concatenate([block.path for block in blocks])
    start_s = np.concatenate([block.start_s for block in blocks])
    end_s = np.concatenate([block.end_s for block in blocks])
    above = spans.paths.nearest[path]
    inside = above >= 0
    up, down = np.ones(len(path), np.int8), -np.ones(len(path), np.int8)
    return (
        np.concatenate((path, path, above[inside], above[inside])),
        np.concatenate((start_s, end_s, start_s[inside], end_s[inside])),
        np.concatenate((up, down, down[inside], up[inside])),
    )


def _points(
    curves: Sequence[Curve], edge_s: FloatArray, step: npt.NDArray[np.int64]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return all times at which a curve or the number of active calls changes, and that number."""
    order = np.argsort(edge_s, kind="stable")
    edge_s, active = edge_s[order], np.cumsum(step[order])
    points_s = np.unique(np.concatenate((*(curve.time_s for curve in curves), edge_s)))
    # How many are active in the segment that begins at each point.
    position = np.searchsorted(edge_s, points_s[:-1], side="right") - 1
    return points_s, np.where(position >= 0, active[np.maximum(position, 0)], 0)


def _divided(curve: Curve, points_s: FloatArray, among: npt.NDArray[np.int64]) -> Curve:
    """Divide the power at each moment by the number of calls active then."""
    segment_j = curve.integrate(points_s[:-1], points_s[1:]) / np.maximum(among, 1)
    energy_j = np.concatenate(([0.0], np.cumsum(segment_j)))
    return Curve(points_s, None, energy_j, curve.start_s, curve.end_s)
