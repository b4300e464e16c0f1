"""Cutting a curve of energy along the spans: what all methods without a model have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Energy over time as knots; power is linear between them, or constant where it is None.

    What lies outside of [start_s, end_s], which the knots cover, does not count.
    """

    time_s: FloatArray
    power_w: FloatArray | None
    energy_j: FloatArray
    start_s: float
    end_s: float

    def integrate(self, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
        """Energy of the parts of windows that count."""
        return _core.integrate(
            self.time_s,
            self.power_w,
            self.energy_j,
            np.clip(start_s, self.start_s, self.end_s),
            np.clip(end_s, self.start_s, self.end_s),
        )


def self_energies(spans: Spans, *shapes: Shape) -> list[FloatArray]:
    """Energy of each call path's own time under each curve, in its unit, each of shape (paths,).

    Where calls run side by side, in several threads or on several streams, their power cannot be
    told apart: each moment is shared equally among the calls open then that have none inside them.
    """
    if _is_concurrent(spans):
        return _shared_self_energies(spans, shapes)
    inclusive = [np.zeros(len(spans.paths)) for _ in shapes]
    for block in spans.blocks():
        for total, shape in zip(inclusive, shapes, strict=True):
            energy_j = shape.integrate(block.start_s, block.end_s)
            total += np.bincount(block.path, energy_j, minlength=len(total))
    return [spans.paths.minus_children(total) for total in inclusive]


def _is_concurrent(spans: Spans) -> bool:
    return any(bool(np.any(block.thread != 0)) for block in spans.blocks())


def _shared_self_energies(spans: Spans, shapes: Sequence[Shape]) -> list[FloatArray]:
    owner, edge_s, step = _edges(spans)
    order = np.lexsort((edge_s, owner))
    owner, edge_s = owner[order], edge_s[order]
    # Calls of a path less the calls inside them: how many work themselves. Each path's steps add up
    # to nothing, so one running sum serves all paths.
    working = np.maximum(np.cumsum(step[order]), 0)
    # After a path's last edge none of its calls is open: what follows there is never an interval.
    works = np.flatnonzero(working)
    knots_s, among = _knots(shapes, edge_s, np.diff(working, prepend=0))
    all_own_j: list[FloatArray] = []
    for shape in shapes:
        shared = _divided(shape, knots_s, among)
        energy_j = shared.integrate(edge_s[works], edge_s[works + 1]) * working[works]
        own_j = np.zeros(len(spans.paths))
        own_j += np.bincount(owner[works], energy_j, minlength=len(own_j))
        all_own_j.append(own_j)
    return all_own_j


def _edges(spans: Spans) -> tuple[npt.NDArray[np.int32], FloatArray, npt.NDArray[np.int8]]:
    """Where the number of a path's own working calls changes: path, time and change."""
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


def _knots(
    shapes: Sequence[Shape], edge_s: FloatArray, step: npt.NDArray[np.int64]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """All moments at which a curve or the number of working calls changes, and that number then."""
    order = np.argsort(edge_s, kind="stable")
    edge_s, working = edge_s[order], np.cumsum(step[order])
    knots_s = np.unique(np.concatenate((*(shape.time_s for shape in shapes), edge_s)))
    # How many work in the segment that begins at each knot.
    position = np.searchsorted(edge_s, knots_s[:-1], side="right") - 1
    return knots_s, np.where(position >= 0, working[np.maximum(position, 0)], 0)


def _divided(shape: Shape, knots_s: FloatArray, among: npt.NDArray[np.int64]) -> Shape:
    """Divide the power at each moment by the number of calls that work then."""
    segment_j = shape.integrate(knots_s[:-1], knots_s[1:]) / np.maximum(among, 1)
    energy_j = np.concatenate(([0.0], np.cumsum(segment_j)))
    return Shape(knots_s, None, energy_j, shape.start_s, shape.end_s)
