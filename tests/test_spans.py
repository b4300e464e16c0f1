"""Spans: the native recorder and its hooks, and the tree of calls."""

import contextlib
import copy
import gc
import pickle
import threading
import time
import weakref

import numpy as np
import pytest

from pywatt import ArgumentError, ScriptedClock, _core
from pywatt.spans.columns import BLOCK_SPANS, CallPaths, RecordedSpans, Span, Spans


@pytest.fixture
def clock():
    return ScriptedClock(100.0)


@pytest.fixture
def recorder(clock):
    return _core.SpanRecorder(clock)


def rows(recorder):
    """All spans as (start_s, end_s, path, thread), in the order of their ends."""
    return list(zip(*(column.tolist() for column in recorder.rows(0, len(recorder))), strict=True))


def paths(recorder):
    """All paths as (name, parent)."""
    return list(zip(*(column.tolist() for column in recorder.paths()), strict=True))


def test_hooks_record_nested_calls(clock, recorder):
    before_outer, after_outer = recorder.hooks(4)
    before_inner, after_inner = recorder.hooks(9)
    before_outer()
    clock.advance(0.25)
    for _ in range(2):
        before_inner()
        clock.advance(0.5)
        after_inner()
    after_outer()
    assert paths(recorder) == [(4, -1), (9, 0)]
    assert rows(recorder) == [
        (100.25, 100.75, 1, 0),
        (100.75, 101.25, 1, 0),
        (100.0, 101.25, 0, 0),
    ]


def test_one_name_under_two_parents_is_two_paths(recorder):
    for outer in (0, 1):
        recorder.enter(outer)
        recorder.enter(2)
        assert recorder.exit(2) == 2 * outer
        assert recorder.exit(outer) == 2 * outer + 1
    assert paths(recorder) == [(0, -1), (2, 0), (1, -1), (2, 2)]


def test_hooks_take_any_arguments_and_give_none(recorder):
    before, after = recorder.hooks(0)
    for hook in (before, after):
        assert hook() is None
        assert hook(1, [2], None) is None
        assert hook(1, end=2, **{"not a name": 3}) is None
        assert hook(*range(100)) is None
    assert len(recorder) == 4


def test_an_end_without_a_beginning_is_no_span(recorder):
    recorder.hooks(0)[1]()
    recorder.enter(1)
    assert recorder.exit(2) is None
    assert len(recorder) == 0
    assert recorder.exit(1) == 0


@pytest.mark.parametrize("name", [-1, 2**32, "body", None, 1.5])
def test_names_are_small_numbers(recorder, name):
    with pytest.raises(TypeError):
        recorder.enter(name)
    with pytest.raises(TypeError):
        recorder.hooks(name)


def test_a_call_that_raises_ends_with_the_one_around_it(clock, recorder):
    recorder.enter(0)
    recorder.enter(1)
    recorder.enter(2)
    clock.advance(2.0)
    recorder.exit(0)
    assert [(end_s, path) for _, end_s, path, _ in rows(recorder)] == [
        (102.0, 2),
        (102.0, 1),
        (102.0, 0),
    ]


def test_close_all_ends_what_is_open(clock, recorder):
    recorder.enter(0)
    recorder.enter(1)
    clock.advance(0.5)
    recorder.close_all()
    recorder.close_all()
    assert rows(recorder) == [(100.0, 100.5, 1, 0), (100.0, 100.5, 0, 0)]


COPIES = {
    "pickle": lambda original: pickle.loads(pickle.dumps(original)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
def test_copied_hooks_record_nothing(recorder, how):
    for hook in recorder.hooks(0):
        again = COPIES[how](hook)
        assert type(again) is type(hook)
        assert again is not hook
        assert again(1, two=2) is None
    recorder.close_all()
    assert len(recorder) == 0
    assert paths(recorder) == []


def test_a_hook_made_by_hand_records_nothing():
    assert _core.Hook(1, two=2)(3) is None


def test_hooks_keep_their_recorder_alive(clock):
    before, after = _core.SpanRecorder(clock).hooks(0)
    before()
    after()


def test_a_guard_holds_its_spans_open(clock, recorder):
    with recorder.guard([4, 9]) as guard:
        clock.advance(0.5)
    with contextlib.suppress(KeyError), guard:
        clock.advance(0.25)
        raise KeyError
    assert type(guard) is _core.SpanGuard
    assert paths(recorder) == [(4, -1), (9, 0)]
    assert rows(recorder) == [
        (100.0, 100.5, 1, 0),
        (100.0, 100.5, 0, 0),
        (100.5, 100.75, 1, 0),
        (100.5, 100.75, 0, 0),
    ]


def test_a_guard_inside_of_another_or_of_itself_records_nothing(clock, recorder):
    outer, inner = recorder.guard([0]), recorder.guard([1])
    with outer:
        with inner, outer:
            clock.advance(0.5)
        clock.advance(0.25)
    with inner:
        clock.advance(0.125)
    assert rows(recorder) == [(100.0, 100.75, 0, 0), (100.75, 100.875, 1, 0)]


def test_a_guard_is_of_the_thread_that_entered_first(clock, recorder):
    guard = recorder.guard([0])

    def other():
        with guard:
            clock.advance(0.5)

    with guard:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        clock.advance(0.25)
    assert rows(recorder) == [(100.0, 100.75, 0, 0)]


def test_a_guard_that_is_closed_from_outside_closes_nothing_else(clock, recorder):
    guard = recorder.guard([0])
    with guard:
        recorder.close_all()
        recorder.enter(1)
    assert recorder.exit(1) == 1
    with pytest.raises(TypeError):
        type(guard)()


def test_a_mark_leaves_what_it_has_entered(clock, recorder):
    """Though its target is another by then, as where a segment ends inside of a phase."""
    mark = _core.SpanMark()
    with mark as entered:
        clock.advance(0.5)
    assert entered is None
    assert mark.target is None
    mark.target = recorder.guard([0])
    with mark:
        clock.advance(0.25)
        mark.target = recorder.guard([1])
    with contextlib.suppress(KeyError), mark:
        clock.advance(0.125)
        mark.target = None
        raise KeyError
    assert rows(recorder) == [(100.5, 100.75, 0, 0), (100.75, 100.875, 1, 0)]


def test_a_mark_may_enter_anything_that_a_with_statement_may(clock):
    seen = []

    class Target:
        def __enter__(self):
            seen.append("in")
            if seen.count("in") > 2:
                raise ValueError("no")

        def __exit__(self, kind, error, traceback):
            seen.append(kind)
            return True  # which a mark does not do

    mark = _core.SpanMark()
    mark.target = Target()
    with mark:
        seen.append("inside")
    with pytest.raises(KeyError), mark:
        raise KeyError
    with pytest.raises(ValueError, match="no"), mark:
        seen.append("never")
    assert seen == ["in", "inside", None, "in", KeyError, "in"]
    with pytest.raises(RuntimeError, match="without having been entered"):
        mark.__exit__(None, None, None)


def test_a_mark_in_a_cycle_is_collected():
    class Target:
        def __enter__(self): ...
        def __exit__(self, *exception): ...

    mark = _core.SpanMark()
    mark.target = Target()
    mark.target.mark = mark
    mark.__enter__()  # and never left
    gone = weakref.ref(mark.target)
    del mark
    gc.collect()
    assert gone() is None


def test_threads_have_stacks_of_their_own(clock, recorder):
    """One is inside `outer` while the other opens and closes `inner`."""
    before, after = recorder.hooks(0)
    inner_before, inner_after = recorder.hooks(1)

    def other():
        inner_before()
        clock.advance(0.5)
        inner_after()

    before()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    after()
    assert recorder.threads == 2
    assert paths(recorder) == [(0, -1), (1, -1)]
    assert rows(recorder) == [(100.0, 100.5, 1, 1), (100.0, 100.5, 0, 0)]


def test_threads_that_record_at_once_lose_nothing(recorder):
    calls = 2000
    together = threading.Barrier(4)

    def record(name):
        before, after = recorder.hooks(name)
        together.wait()
        for _ in range(calls):
            before()
            after()

    threads = [threading.Thread(target=record, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paths(recorder)) == [(name, -1) for name in range(4)]
    _, _, path, _ = recorder.rows(0, len(recorder))
    assert np.bincount(path).tolist() == [calls] * 4


def test_rows_are_cut_at_the_last_span(recorder):
    for _ in range(3):
        recorder.enter(0)
        recorder.exit(0)
    for first, count, expected in ((0, 2, 2), (2, 5, 1), (3, 1, 0), (9, 9, 0), (0, 0, 0)):
        assert [len(column) for column in recorder.rows(first, count)] == [expected] * 4


def test_a_span_takes_sixteen_bytes(recorder):
    assert recorder.memory_bytes == 0
    spans = 1 << 17
    for _ in range(spans):
        recorder.enter(0)
        recorder.exit(0)
    assert 16 * spans <= recorder.memory_bytes < 16.1 * spans


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
    with pytest.raises(ArgumentError, match="'bad' ends before it starts, or has no time"):
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
