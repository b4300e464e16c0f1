"""Guards and marks, which record what runs inside a `with` statement."""

import contextlib
import gc
import threading
import weakref

import pytest
from fakes.recorded import paths, rows

from pywatt import _core


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
