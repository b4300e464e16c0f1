"""How long each name ran within each of many windows, such as a sensor's averaging windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.spans.columns import Spans

FloatArray = npt.NDArray[np.float64]

# Number of edges between kept sums over all earlier edges; larger if there are more paths, so that
# the sums take no more memory than the edges.
EDGES_APART = 16


class Exposure:
    """Own time of each name up to any moment, from edges of spans sorted once.

    A span that began at a and ended at b has run for (t - a) - (t - b) by any t after both: a path
    has run for t times its open spans, less the sum of its edges so far, ends counted negative.

    Args:
        spans: what ran. Spans of several threads count separately.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self.names = len(spans.names)
        blocks = list(spans.blocks())
        start_s = np.concatenate([block.start_s for block in blocks] or [np.zeros(0)])
        end_s = np.concatenate([block.end_s for block in blocks] or [np.zeros(0)])
        path = np.concatenate([block.path for block in blocks] or [np.zeros(0, dtype=np.int32)])
        self.start_s = float(np.min(start_s)) if len(start_s) else 0.0
        self.end_s = float(np.max(end_s)) if len(end_s) else 0.0
        self.concurrent = any(bool(np.any(block.thread != block.thread[:1])) for block in blocks)

        edge_s = np.concatenate((start_s, end_s)) - self.start_s
        order = np.argsort(edge_s, kind="stable")  # mostly two sorted halves, which merge fast
        self._edge_s = edge_s[order]
        self._sign = np.where(order < len(start_s), 1.0, -1.0)
        self._path = np.concatenate((path, path))[order]
        self._apart = max(EDGES_APART, len(spans.paths))
        cell = (np.arange(len(order)) // self._apart + 1) * len(spans.paths) + self._path
        shape = (len(order) // self._apart + 2, len(spans.paths))
        self._open = _sums(cell, self._sign, shape).cumsum(axis=0)
        self._sum_s = _sums(cell, self._sign * self._edge_s, shape).cumsum(axis=0)

    def until(self, time_s: FloatArray) -> FloatArray:
        """Return the own time in s of each name before each moment; shape (names, moments)."""
        at_s = np.clip(time_s, self.start_s, self.end_s) - self.start_s
        passed = np.searchsorted(self._edge_s, at_s)
        kept, rest = np.divmod(passed, self._apart)
        # The edges that the kept sums lack, moment after moment.
        moment = np.repeat(np.arange(len(at_s)), rest)
        edge = np.arange(len(moment)) + np.repeat(passed - np.cumsum(rest), rest)
        cell = moment * len(self._spans.paths) + self._path[edge]
        shape = (len(at_s), len(self._spans.paths))
        sign = self._sign[edge]
        is_open = self._open[kept] + _sums(cell, sign, shape)
        sum_s = self._sum_s[kept] + _sums(cell, sign * self._edge_s[edge], shape)
        own_s = self._spans.paths.minus_children((is_open * at_s[:, None] - sum_s).T)
        by_name = np.zeros((len(self._spans.names), len(at_s)))
        np.add.at(by_name, self._spans.paths.name, own_s)
        return by_name

    def shares(self, end_s: FloatArray, window_s: FloatArray | float) -> FloatArray:
        """Return the share of each window [end_s - window_s, end_s] in each name, and last in none.

        Returns:
            Shares of shape (windows, names + 1); each row's sum is 1 where spans do not overlap.
        """
        until_s = self.until(np.concatenate((end_s - window_s, end_s)))
        ran = ((until_s[:, len(end_s) :] - until_s[:, : len(end_s)]) / window_s).T
        return np.column_stack((ran, np.maximum(0.0, 1.0 - np.sum(ran, axis=1))))


def _sums(cell: npt.NDArray[np.int64], weight: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Sum the weights in each cell of a table, given the cells' flat indices."""
    sums = np.bincount(cell, weight, minlength=shape[0] * shape[1])
    return np.asarray(sums, dtype=np.float64).reshape(shape)
