"""Spans in columns, and the tree of calls."""

import time

import numpy as np
import pytest

from pywatt import ArgumentError
from pywatt.spans.columns import BLOCK_SPANS, CallPaths, RecordedSpans, Span, Spans


def test_recorded_spans_come_in_blocks(clock, recorder):
    names = ["", "body"]
    recorder.enter(0)
    spans = BLOCK_SPANS + 2
    for _ in range(spans - 1):
        recorder.enter(1)
        recorder.exit(1)
    clock.advance(1.0)
    recorder.exit(0)
    recorded = RecordedSpans(names, recorder)
    assert (recorded.names, len(recorded), len(recorded.paths)) == (("", "body"), spans, 2)
    blocks = list(recorded.blocks())
    assert [len(block.path) for block in blocks] == [BLOCK_SPANS, 2]
    assert blocks[1].path.tolist() == [1, 0]
    assert blocks[1].end_s.tolist() == [100.0, 101.0]


def tree(*name_and_parent):
    name, parent = np.array(name_and_parent, dtype=np.int32).reshape(-1, 2).T
    return CallPaths(name, parent, parent)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        ([(7, -1)], [True]),
        # A name beside itself, and below itself over one that is not it.
        ([(0, -1), (1, 0), (1, 0), (0, 1)], [True, True, True, False]),
        # f calls g calls f calls g; another g lies at the top.
        ([(0, -1), (1, 0), (0, 1), (1, 2), (1, -1)], [True, True, False, False, True]),
        # After the whole branch below the first f, f is not above any more.
        ([(9, -1), (0, 0), (0, 1), (1, 0), (0, 3)], [True, True, False, True, True]),
    ],
)
def test_outermost(paths, expected):
    assert tree(*paths).outermost().tolist() == expected


def test_figures_with_and_without_children():
    paths = tree((0, -1), (1, 0), (2, 0), (3, 1), (4, -1))
    own = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    inclusive = np.array([15.0, 10.0, 4.0, 8.0, 16.0])
    assert paths.plus_children(own).tolist() == inclusive.tolist()
    assert paths.minus_children(inclusive).tolist() == own.tolist()
    assert (own[0], inclusive[0]) == (1.0, 15.0)  # both are left as they were


def test_paths_without_spans_are_skipped():
    name = np.array([0, 1, 2, 3], dtype=np.int32)
    parent = np.array([-1, 0, 1, 2], dtype=np.int32)
    paths = CallPaths.of(name, parent, np.array([True, False, False, True]))
    assert paths.nearest.tolist() == [-1, 0, 0, 0]
    assert paths.minus_children(np.array([10.0, 0.0, 0.0, 4.0])).tolist() == [6.0, 0.0, 0.0, 4.0]
    assert CallPaths.of(name, parent, np.zeros(4, bool)).nearest.tolist() == [-1, -1, -1, -1]


@pytest.mark.parametrize("names", [1, 100_000])
def test_a_hundred_thousand_paths_above_one_another(names):
    depth = 100_000
    above = np.arange(-1, depth - 1, dtype=np.int32)
    paths = CallPaths(np.arange(depth, dtype=np.int32) % names, above, above)
    started_s = time.perf_counter()
    assert np.count_nonzero(paths.outermost()) == names
    assert paths.plus_children(np.ones(depth))[0] == depth
    # About 0.3 s; steps from each path to the top would be five billion.
    assert time.perf_counter() - started_s < 10.0


def test_deep_recursion_is_recorded(clock, recorder):
    depth = 5000
    for _ in range(depth):
        recorder.enter(0)
    clock.advance(1.0)
    for _ in range(depth):
        recorder.exit(0)
    recorded = RecordedSpans([""], recorder)
    assert len(recorded.paths) == depth
    assert np.flatnonzero(recorded.paths.outermost()).tolist() == [0]
    (block,) = recorded.blocks()
    assert np.all(block.end_s - block.start_s == 1.0)


def test_span_objects_become_columns():
    outer = Span("outer", 1.0, 5.0)
    first, second = Span("inner", 1.0, 2.0, outer), Span("inner", 3.0, 4.0, outer)
    spans = Spans.of([first, outer, second, Span("inner", 6.0, 6.0)])
    assert spans.names == ("outer", "inner")
    assert len(spans) == 4
    assert spans.paths.name.tolist() == [0, 1, 1]
    assert spans.paths.parent.tolist() == [-1, 0, -1]
    (block,) = spans.blocks()
    assert block.start_s.tolist() == [1.0, 1.0, 3.0, 6.0]
    assert block.end_s.tolist() == [2.0, 5.0, 4.0, 6.0]
    assert block.path.tolist() == [1, 0, 1, 2]


def test_a_parent_need_not_be_among_the_spans():
    top = Span("top", 0.0, 9.0)
    middle = Span("middle", 1.0, 5.0, top)
    spans = Spans.of([top, Span("leaf", 1.0, 2.0, middle)])
    assert spans.paths.parent.tolist() == [-1, 0, 1]
    assert spans.paths.nearest.tolist() == [-1, 0, 0]


def test_no_spans_are_no_paths():
    spans = Spans.of([])
    assert (len(spans), len(spans.paths), spans.names) == (0, 0, ())


def test_span_objects_may_be_nested_deeply():
    span = Span("f", 0.0, 1.0)
    for _ in range(5000):
        span = Span("f", 0.0, 1.0, span)
    assert len(Spans.of([span]).paths) == 5001


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [
        (2.0, 1.0),
        (float("nan"), 1.0),
        (1.0, float("nan")),
        (float("-inf"), 1.0),
        (1.0, float("inf")),
    ],
)
def test_bad_times_of_a_span_are_refused(start_s, end_s):
    with pytest.raises(ArgumentError, match="'bad' ends before it starts, or has no finite times"):
        Spans.of([Span("good", 0.0, 1.0), Span("bad", start_s, end_s)])


def test_spans_that_overlap_in_their_parent_are_in_threads():
    outer = Span("outer", 0.0, 9.0)
    spans = [
        outer,
        Span("a", 1.0, 3.0, outer),
        Span("b", 3.0, 5.0, outer),
        Span("c", 4.0, 6.0, outer),
    ]
    (block,) = Spans.of(spans).blocks()
    assert block.thread.tolist() == [0, 0, 0, 1]
