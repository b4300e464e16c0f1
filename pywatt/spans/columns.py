"""Spans: named intervals with parents, kept as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.errors import ArgumentError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]

BLOCK_SPANS = 1 << 18

# Times rounded differently may differ by this much, and by the rounding of doubles for times since
# 1970: that is no overlap.
SAME_MOMENT_S = 1e-9
ROUNDINGS = 4.0

# Many tools write microseconds, and a span's end as its start and duration: a span may seem to
# extend this far beyond its parent.
BEYOND_PARENT_S = 2e-6


@dataclass(frozen=True, slots=True)
class Span:
    """A named interval with a parent: one call of a module, or one window of the user's.

    Attributes:
        name: what ran.
        start_s: start, in seconds of the monotonic clock.
        end_s: end, in seconds of the same clock.
        parent: the span inside which it ran; None at the top.
    """

    name: str
    start_s: float
    end_s: float
    parent: Span | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CallPaths:
    """The tree of recorded calls: path i is name[i] called inside path parent[i].

    Attributes:
        name: index of the name, shape (paths,).
        parent: index of the parent's path, always smaller; -1 at the top; shape (paths,).
        nearest: index of the nearest path above that has spans in the same collection; differs from
            `parent` if some of the calls ran on another device; shape (paths,).
    """

    name: IntArray
    parent: IntArray
    nearest: IntArray

    @classmethod
    def of(cls, name: IntArray, parent: IntArray, has_spans: npt.NDArray[np.bool_]) -> CallPaths:
        """Build the tree of a collection in which only some paths have spans."""
        nearest = parent.copy()
        for path, above in enumerate(parent):
            # Parents come before children, so the paths above are already done.
            if above >= 0 and not has_spans[above]:
                nearest[path] = nearest[above]
        return cls(name, parent, nearest)

    def __len__(self) -> int:
        return len(self.name)

    def outermost(self) -> npt.NDArray[np.bool_]:
        """Return for each path whether no path above it has the same name (recursion)."""
        first = np.ones(len(self), dtype=bool)
        names = self.name.tolist()
        # One more list: parent -1 is the last, that of the top.
        children: list[list[int]] = [[] for _ in range(len(self) + 1)]
        for path, parent in enumerate(self.parent.tolist()):
            children[parent].append(path)
        above: set[int] = set()
        pending = children[-1]
        while pending:
            path = pending.pop()
            if path < 0:  # all paths below ~path are done
                above.remove(names[~path])
                continue
            if names[path] in above:
                first[path] = False
            else:
                above.add(names[path])
                pending.append(~path)
            pending += children[path]
        return first

    def minus_children(self, inclusive: FloatArray) -> FloatArray:
        """Subtract from each path's value those of the spans inside it; shape (paths,)."""
        own = inclusive.astype(np.float64, copy=True)
        nested = self.nearest >= 0
        np.subtract.at(own, self.nearest[nested], inclusive[nested])
        return own

    def plus_children(self, own: FloatArray) -> FloatArray:
        """Add to each path's value those of all paths below it; shape (paths,)."""
        inclusive = own.astype(np.float64, copy=True)
        for path in range(len(self) - 1, -1, -1):
            if self.parent[path] >= 0:
                inclusive[self.parent[path]] += inclusive[path]
        return inclusive


@dataclass(frozen=True, slots=True, eq=False)
class SpanBlock:
    """Columns of some spans, each of shape (n,): start, end, call path and thread."""

    start_s: FloatArray
    end_s: FloatArray
    path: IntArray
    thread: npt.NDArray[np.uint32]


class Spans:
    """Many spans, read in blocks, so that ten million take no more memory than their record.

    Args:
        names: what the name indices of `paths` mean.
        paths: the tree of calls.
        blocks: the spans; each end is at or after its start.
    """

    def __init__(self, names: Sequence[str], paths: CallPaths, blocks: Sequence[SpanBlock]) -> None:
        self.names = tuple(names)
        self.paths = paths
        self._blocks = blocks

    def __len__(self) -> int:
        return sum(len(block.path) for block in self._blocks)

    def blocks(self) -> Iterator[SpanBlock]:
        """Yield the spans in blocks of bounded size."""
        yield from self._blocks

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Spans:
        """Put span objects into columns.

        Raises:
            ArgumentError: a span that ends before it starts or extends beyond its parent, a time
                that is not finite, or an item that is not a span.
        """
        for item in spans:
            if not isinstance(item, Span):
                raise ArgumentError(f"{item!r:.80} is not a pywatt.Span")
        name_index: dict[str, int] = {}
        path_index: dict[tuple[int, int], int] = {}
        path_of_span: dict[int, int] = {}

        def path_of(span: Span) -> int:
            chain: list[Span] = []
            above: Span | None = span
            while above is not None and id(above) not in path_of_span:
                chain.append(above)
                above = above.parent
            path = -1 if above is None else path_of_span[id(above)]
            for entered in reversed(chain):
                name = name_index.setdefault(entered.name, len(name_index))
                path = path_index.setdefault((path, name), len(path_index))
                path_of_span[id(entered)] = path
            return path

        path = np.array([path_of(span) for span in spans], dtype=np.int32)
        start_s = np.array([span.start_s for span in spans], dtype=np.float64)
        end_s = np.array([span.end_s for span in spans], dtype=np.float64)
        good = np.isfinite(start_s) & np.isfinite(end_s) & (end_s >= start_s)
        if not np.all(good):
            bad = spans[int(np.argmin(good))]
            raise ArgumentError(f"span {bad.name!r} ends before it starts, or has no finite times")
        _check_parents(spans)
        parents, names = np.array(list(path_index), dtype=np.int32).reshape(-1, 2).T.copy()
        # A parent need not be among the spans itself.
        has_spans = np.bincount(path, minlength=len(names)) > 0
        above = parents[path] if len(path) else path
        block = SpanBlock(start_s, end_s, path, _threads(above, start_s, end_s))
        return cls(list(name_index), CallPaths.of(names, parents, has_spans), [block])


def _check_parents(spans: Sequence[Span]) -> None:
    """Refuse spans beyond their parents, from whose energy theirs would be subtracted."""
    for span in spans:
        above = span.parent
        if above is None:
            continue
        early_s, late_s = above.start_s - span.start_s, span.end_s - above.end_s
        if not max(early_s, late_s) <= BEYOND_PARENT_S:
            raise ArgumentError(
                f"span {span.name!r} ({span.start_s:.9g} to {span.end_s:.9g} s) extends beyond its "
                f"parent {above.name!r} ({above.start_s:.9g} to {above.end_s:.9g} s): leave parent "
                "out if it does not run inside of it"
            )


def _threads(above: IntArray, start_s: FloatArray, end_s: FloatArray) -> npt.NDArray[np.uint32]:
    """Return 0 for spans that follow one another in their parent, 1 for one that overlaps."""
    order = np.lexsort((start_s, above))
    gap_s = start_s[order][1:] - end_s[order][:-1]
    rounding_s = ROUNDINGS * np.spacing(np.max(np.abs(end_s), initial=0.0))
    overlaps = (np.diff(above[order]) == 0) & (gap_s < -max(SAME_MOMENT_S, rounding_s))
    thread = np.zeros(len(above), dtype=np.uint32)
    thread[order[1:][overlaps]] = 1
    return thread


class RecordedSpans(Spans):
    """The spans of a native recorder, copied from it only when read."""

    def __init__(self, names: Sequence[str], recorder: _core.SpanRecorder) -> None:
        name, parent = recorder.paths()
        super().__init__(names, CallPaths(name, parent, parent), ())
        self._recorder = recorder

    def __len__(self) -> int:
        return len(self._recorder)

    def blocks(self) -> Iterator[SpanBlock]:
        """Yield the spans in blocks of bounded size, in the order in which they ended."""
        for first in range(0, len(self._recorder), BLOCK_SPANS):
            yield SpanBlock(*self._recorder.rows(first, BLOCK_SPANS))
