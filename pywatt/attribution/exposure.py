"""How long each name ran within each of many windows: what a sensor's readings are means of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywatt.spans import Spans

FloatArray = npt.NDArray[np.float64]


class Exposure:
    """Own time of each name up to any moment, from spans sorted once.

    Args:
        spans: what ran. Spans of several threads count each for itself.
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
        # One axis for all paths, each on a stretch of its own, so that one search serves all.
        self._stretch_s = 2.0 * (self.end_s - self.start_s) + 1.0
        self._starts = _Edges(path, start_s - self.start_s, len(spans.paths), self._stretch_s)
        self._ends = _Edges(path, end_s - self.start_s, len(spans.paths), self._stretch_s)

    def until(self, time_s: FloatArray) -> FloatArray:
        """Own time in s that each name ran before each moment; shape (names, moments)."""
        order = np.argsort(time_s)  # what is looked up in order is found faster
        at_s = np.clip(time_s[order], self.start_s, self.end_s) - self.start_s
        inclusive_s = self._starts.passed(at_s) - self._ends.passed(at_s)
        own_s = self._spans.paths.minus_children(inclusive_s)
        sorted_s = np.zeros((len(self._spans.names), len(time_s)))
        np.add.at(sorted_s, self._spans.paths.name, own_s)
        by_name = np.empty_like(sorted_s)
        by_name[:, order] = sorted_s
        return by_name

    def shares(self, end_s: FloatArray, window_s: FloatArray | float) -> FloatArray:
        """Share of each window [end_s - window_s, end_s] in each name, and in none of them last.

        Returns:
            Shares of shape (windows, names + 1); each row's sum is 1 where spans do not overlap.
        """
        until_s = self.until(np.concatenate((end_s - window_s, end_s)))
        ran = ((until_s[:, len(end_s) :] - until_s[:, : len(end_s)]) / window_s).T
        return np.column_stack((ran, np.maximum(0.0, 1.0 - np.sum(ran, axis=1))))


class _Edges:
    """Beginnings (or ends) of all paths, sorted, with their running sums."""

    def __init__(self, path: npt.NDArray[np.int32], at_s: FloatArray, paths: int, stretch_s: float):
        self._offset_s = stretch_s * np.arange(paths)[:, None]
        order = np.argsort(path, kind="stable")
        key = at_s[order] + stretch_s * path[order]
        # Within a path they mostly are in order already.
        if np.any(np.diff(key) < 0):
            resort = np.argsort(key, kind="stable")
            order, key = order[resort], key[resort]
        self._key = key
        self._sum_s = np.concatenate(([0.0], np.cumsum(at_s[order])))
        self._first = np.searchsorted(key, self._offset_s[:, 0])[:, None]

    def passed(self, at_s: FloatArray) -> FloatArray:
        """Sum of max(0, at_s - edge) over the edges of each path; shape (paths, moments)."""
        last = np.searchsorted(self._key, self._offset_s + at_s, side="right")
        sums_s = self._sum_s[last] - self._sum_s[self._first]
        return np.asarray((last - self._first) * at_s - sums_s)
