from __future__ import annotations

import threading

import numpy as np
import pytest
from fakes.simulated_cuda import Ran, SimulatedCuda

import pywatt
from pywatt.model import cuda_timeline as cuda_clock
from pywatt.model.cuda_timeline import BACKLOG, CudaTimeline


@pytest.fixture
def clock() -> pywatt.ScriptedClock:
    return pywatt.ScriptedClock(1000.0)


def call(timeline: CudaTimeline, cuda: SimulatedCuda, duration_s: float, path: int = 0) -> Ran:
    """Call a module that launches one kernel and returns; return when its events happen."""
    stream = cuda.current_stream()
    started = timeline.start()
    start_s = stream.free_s
    ran = cuda.launch(duration_s)
    assert started is not None
    assert ran is not None
    timeline.finish(started, path)
    assert start_s <= ran.start_s < ran.end_s <= stream.free_s or duration_s == 0.0
    return Ran(start_s, stream.free_s)


def columns(timeline: CudaTimeline) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    blocks = list(timeline.blocks())
    return (
        np.concatenate([block.start_s for block in blocks]),
        np.concatenate([block.end_s for block in blocks]),
        np.concatenate([block.path for block in blocks]),
        np.concatenate([block.thread for block in blocks]),
    )


def errors_s(timeline: CudaTimeline, truth: list[Ran]) -> np.ndarray:
    """Return the errors of starts and ends; `truth` is in the order of `path`."""
    start_s, end_s, path, _ = columns(timeline)
    starts_s = np.array([truth[p].start_s for p in path])
    ends_s = np.array([truth[p].end_s for p in path])
    return np.concatenate((start_s - starts_s, end_s - ends_s))


def test_kernels_that_run_after_the_call_returned_have_their_own_times(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    for path in range(3):
        call(timeline, cuda, 0.25, path)
    assert clock.now_s() == 1000.0
    clock.advance(10.0)
    assert timeline.end() is None
    start_s, end_s, path, stream = columns(timeline)
    np.testing.assert_allclose(start_s, [1000.0, 1000.25, 1000.5], atol=1e-8)
    np.testing.assert_allclose(end_s, [1000.25, 1000.5, 1000.75], atol=1e-8)
    assert path.tolist() == [0, 1, 2]
    assert stream.tolist() == [0, 0, 0]
    assert timeline.device_name == "Simulated GPU 0"


@pytest.mark.parametrize("drift", [100e-6, -100e-6])
def test_times_are_accurate_to_a_microsecond_over_a_minute_of_a_drifting_clock(
    clock: pywatt.ScriptedClock, drift: float
) -> None:
    cuda = SimulatedCuda(clock, drift=drift, latency_s=4e-6, jitter_s=2e-6, tick_s=32e-9)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    truth = []
    for path in range(6000):
        truth.append(call(timeline, cuda, 0.004, path))
        clock.advance(0.01)
    assert timeline.end() is None
    assert 60.0 <= clock.now_s() - 1000.0 < 60.1
    errors = errors_s(timeline, truth)
    assert len(errors) == 12000
    assert np.max(np.abs(errors)) < 1e-6


def test_marks_chain_over_an_hour_without_losing_a_microsecond(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock, drift=37e-6)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    truth = []
    for path in range(20_000):
        truth.append(call(timeline, cuda, 0.0701, path))
        clock.advance(0.18)
    assert timeline.end() is None
    assert clock.now_s() - 1000.0 > 3599.9
    assert np.max(np.abs(errors_s(timeline, truth))) < 1e-6


def test_a_call_as_long_as_the_run_keeps_its_edges(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    outer = timeline.start()
    assert outer is not None
    for _ in range(3 * BACKLOG):
        call(timeline, cuda, 0.2, path=1)
        clock.advance(0.25)
    timeline.finish(outer, 0)
    end_s = clock.now_s()
    timeline.end()
    start_s, ends_s, path, _ = columns(timeline)
    whole = path == 0
    assert abs(start_s[whole][0] - 1000.0) < 1e-6
    assert abs(ends_s[whole][0] - end_s) < 1e-6


def test_a_short_run_is_not_stretched_by_the_uncertainty_of_its_anchors(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock, latency_s=50e-6, jitter_s=50e-6)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    call(timeline, cuda, 0.002)
    timeline.end()
    start_s, end_s, _, _ = columns(timeline)
    assert abs(end_s[0] - start_s[0] - 0.002) <= 0.002 * cuda_clock.MAX_DRIFT + 1e-9


def test_events_are_bounded_and_nothing_waits_during_calls(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    waits = cuda.waits
    for _ in range(100_000):
        call(timeline, cuda, 1e-4)
        clock.advance(1.1e-4)
    assert cuda.waits == waits
    assert cuda.events <= BACKLOG + 3 + cuda_clock.ANCHOR_TRIES
    timeline.end()
    assert len(columns(timeline)[0]) == 100_000
    # The simulation asserts that no event is recorded again before it is complete.


def test_events_are_bounded_while_one_stream_is_stalled(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    stalled = cuda.Stream()
    with cuda.stream(stalled):
        held = [call(timeline, cuda, 1.0, path) for path in range(100)]
    truth = [*held]
    for path in range(100, 20_100):
        truth.append(call(timeline, cuda, 1e-4, path))
        clock.advance(1.1e-4)
    assert cuda.events <= BACKLOG + 250 + cuda_clock.ANCHOR_TRIES
    timeline.end()
    _, _, path, stream = columns(timeline)
    assert sorted(path.tolist()) == list(range(20_100))
    assert set(stream[path < 100]) == {0}
    assert set(stream[path >= 100]) == {1}
    assert timeline.streams == 2
    # The end is 98 s after the last mark, where a 32-bit float of ms is accurate to 4 us.
    assert np.max(np.abs(errors_s(timeline, truth))) < 8e-6


def test_streams_that_finish_out_of_order(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    side = cuda.Stream()
    truth = [call(timeline, cuda, 0.5, 0)]
    with cuda.stream(side):
        truth.append(call(timeline, cuda, 0.125, 1))
    truth.append(call(timeline, cuda, 0.25, 2))
    timeline.end()
    assert columns(timeline)[3].tolist() == [0, 1, 0]
    assert np.max(np.abs(errors_s(timeline, truth))) < 1e-7


def test_a_call_that_ends_on_another_stream_than_it_began_on(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    cuda.launch(1.0)
    started = timeline.start()
    assert started is not None
    with cuda.stream(cuda.Stream()):
        cuda.launch(3.0)
        timeline.finish(started, 5)
    timeline.end()
    start_s, end_s, path, stream = columns(timeline)
    np.testing.assert_allclose([start_s[0], end_s[0]], [1001.0, 1003.0], atol=1e-6)
    assert (path[0], stream[0]) == (5, 0)


def test_events_go_to_the_device_of_the_timeline_whichever_is_current(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock, devices=2)
    timelines = [CudaTimeline(f"cuda:{i}", clock, cuda) for i in range(2)]
    for timeline in timelines:
        timeline.begin()
    side = cuda.Stream(device=1)
    with cuda.stream(side), cuda.device(0):
        started = timelines[1].start()
        cuda.launch(0.5, device=1)
        cuda.launch(2.0, device=0)
        assert started is not None
        timelines[1].finish(started, 0)
    for timeline in timelines:
        timeline.end()
    start_s, end_s, _, _ = columns(timelines[1])
    np.testing.assert_allclose([start_s[0], end_s[0]], [1000.0, 1000.5], atol=1e-7)
    assert list(timelines[0].blocks()) == []


@pytest.mark.parametrize("current", [0, 1])
def test_nothing_is_recorded_or_queried_while_a_graph_is_captured(
    clock: pywatt.ScriptedClock, current: int
) -> None:
    cuda = SimulatedCuda(clock, devices=2)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    for _ in range(BACKLOG):
        call(timeline, cuda, 1e-6)
        clock.advance(1e-6)
    with cuda.graph(cuda.Stream(device=0)), cuda.device(current):
        for _ in range(3):
            assert timeline.start() is None
    assert timeline.captured_calls == 3
    assert timeline.failure is None
    timeline.end()
    assert len(columns(timeline)[0]) == BACKLOG


def test_a_call_inside_which_a_capture_begins_has_no_time(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    started = timeline.start()
    assert started is not None
    with cuda.graph(cuda.Stream()):
        timeline.finish(started, 0)
    assert timeline.captured_calls == 1
    timeline.end()
    assert list(timeline.blocks()) == []


def test_calls_without_an_end_leave_nothing_behind(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    for _ in range(3 * BACKLOG):
        timeline.start()
        clock.advance(1e-6)
    assert cuda.events <= BACKLOG + 3 + cuda_clock.ANCHOR_TRIES
    assert timeline.end() is None
    assert list(timeline.blocks()) == []


def test_a_device_that_fails_keeps_what_was_read_and_raises_nothing_in_a_call(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    truth = [Ran(0.0, 0.0)] * (2 * BACKLOG)
    for path in range(2 * BACKLOG):
        truth[path] = call(timeline, cuda, 1e-3, path)
        clock.advance(1e-3)
    cuda.error = RuntimeError("CUDA error: device-side assert triggered")
    assert timeline.start() is None
    timeline.synchronize()
    assert timeline.end() is cuda.error
    assert timeline.failure is cuda.error
    path = columns(timeline)[2]
    # All but the calls of the unread events, two for each call.
    assert path.tolist() == list(range(len(path)))
    assert len(path) == 2 * BACKLOG - BACKLOG // 2
    assert np.max(np.abs(errors_s(timeline, truth))) < 1e-6


def test_an_error_that_passes_is_not_a_failed_device(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()
    call(timeline, cuda, 1.0)
    cuda.error = RuntimeError("CUDA error: out of memory")
    assert timeline.start() is None
    cuda.error = None
    assert timeline.start() is None
    assert timeline.end() is None
    assert str(timeline.failure) == "CUDA error: out of memory"
    assert len(columns(timeline)[0]) == 1


def test_a_device_that_cannot_be_used_raises_before_the_first_call(
    clock: pywatt.ScriptedClock,
) -> None:
    cuda = SimulatedCuda(clock)
    cuda.error = RuntimeError("CUDA error: no CUDA-capable device is detected")
    with pytest.raises(RuntimeError, match="no CUDA-capable device"):
        CudaTimeline("cuda:0", clock, cuda).begin()


def test_several_threads_share_a_timeline(clock: pywatt.ScriptedClock) -> None:
    cuda = SimulatedCuda(clock)
    timeline = CudaTimeline("cuda:0", clock, cuda)
    timeline.begin()

    def work() -> None:
        for _ in range(2 * BACKLOG):
            call(timeline, cuda, 0.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timeline.end()
    assert timeline.failure is None
    assert len(columns(timeline)[0]) == 8 * BACKLOG
