"""The native recorder of spans and its hooks."""

import copy
import pickle
import threading

import numpy as np
import pytest
from fakes.recorded import paths, rows

from pywatt import _core


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
