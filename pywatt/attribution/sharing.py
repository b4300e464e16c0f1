"""Cutting a curve of energy along the spans: what all methods without a model have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.spans import SpanBlock, Spans

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


def self_energies(shape: Shape, spans: Spans) -> FloatArray:
    """Energy of each call path's own time, in the unit of the shape, shape (paths,).

    Where several threads are inside spans at the same time, their power cannot be told apart: each
    moment is shared equally among them.
    """
    if _is_concurrent(spans):
        shape = _shared_among_threads(shape, spans)
    inclusive = np.zeros(len(spans.paths))
    for block in spans.blocks():
        energy_j = shape.integrate(block.start_s, block.end_s)
        inclusive += np.bincount(block.path, energy_j, minlength=len(inclusive))
    return spans.paths.minus_children(inclusive)


def _is_concurrent(spans: Spans) -> bool:
    return any(bool(np.any(block.thread != 0)) for block in spans.blocks())


def _top_level(spans: Spans, block: SpanBlock) -> npt.NDArray[np.bool_]:
    return spans.paths.nearest[block.path] < 0


def _shared_among_threads(shape: Shape, spans: Spans) -> Shape:
    """Divide the power at each moment by the number of top-level spans that are open then."""
    edges_s, steps = [], []
    for block in spans.blocks():
        top = _top_level(spans, block)
        edges_s += [block.start_s[top], block.end_s[top]]
        steps += [np.ones(np.count_nonzero(top)), -np.ones(np.count_nonzero(top))]
    edge_s, step = np.concatenate(edges_s), np.concatenate(steps)
    order = np.argsort(edge_s, kind="stable")
    inside = (edge_s[order] > shape.start_s) & (edge_s[order] < shape.end_s)
    knots_s = np.unique(np.concatenate((shape.time_s, edge_s[order][inside])))
    open_after = np.cumsum(step[order])
    # How many are open in the segment that begins at each knot.
    position = np.searchsorted(edge_s[order], knots_s[:-1], side="right") - 1
    opened = np.where(position >= 0, open_after[np.maximum(position, 0)], 0)
    segment_j = shape.integrate(knots_s[:-1], knots_s[1:]) / np.maximum(opened, 1.0)
    energy_j = np.concatenate(([0.0], np.cumsum(segment_j)))
    return Shape(knots_s, None, energy_j, shape.start_s, shape.end_s)
