"""When work ran on a CUDA device, on the host's clock.

Kernels run after the call that launched them has returned, so events on the stream time them.
Events carry no host time: two anchors, before and after all calls, relate the device's clock to the
host's. Times in between are interpolated, since GPU clocks drift by 10 to 100 ppm. Nothing is
synchronized in between.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.spans.columns import BLOCK_SPANS, SpanBlock

FloatArray = npt.NDArray[np.float64]

ANCHOR_TRIES = 20

# An anchor is accurate to a few us, so over a short run two of them give the rate of the device's
# clock less accurately than this bound on the drift of any GPU's clock.
MAX_DRIFT = 5e-4

# elapsed_time is a 32-bit float in ms: accurate to 0.02 us from a mark half a second away.
MARK_EVERY_S = 0.5

# Number of events that may wait before the oldest are read. A stream queues about a thousand pieces
# of work, so the oldest events have happened by then.
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment on both clocks, in s; on the device's since the first anchor."""

    host_s: float
    device_s: float


@dataclass(slots=True)
class Call:
    """A call on the device; times in s since the first anchor, on the device's clock."""

    stream: int
    path: int = -1
    start_s: float = math.nan
    end_s: float = math.nan


class CudaTimeline:
    """Times calls on one device with pooled events, and converts to the host's clock.

    A device error while calls are recorded is kept in `failure` and ends the timing: the user's own
    next call to the device raises it in the right place.

    Args:
        device: ``cuda:0`` and so on.
        clock: the host's clock.
        cuda: ``torch.cuda``, or a fake of it in tests.
    """

    def __init__(self, device: str, clock: _core.Clock, cuda: Any = None) -> None:
        if cuda is None:
            import torch

            cuda = torch.cuda
        self.device = device
        self.device_name = ""
        self.captured_calls = 0
        self.failure: RuntimeError | None = None
        self._index = int(device.partition(":")[2] or 0)
        self._clock = clock
        self._cuda = cuda
        self._anchors: list[Anchor] = []
        self._mark: Any = None
        self._mark_s = 0.0
        # Events whose time was read and that nothing refers to.
        self._pool: list[Any] = []
        # Recorded events, oldest first: the event, its call, and whether it is the end.
        self._pending: deque[tuple[Any, Call, bool]] = deque()
        self._reading = threading.Lock()
        self._streams: dict[int, int] = {}
        # 16 bytes per call; times on the device's clock.
        self._calls = _core.SpanRecorder(clock)

    def begin(self) -> None:
        """Take the first anchor, before the first call. Synchronizes the device.

        Raises:
            RuntimeError: the device cannot be used.
        """
        self.device_name = self._cuda.get_device_name(self._index)
        self._anchors = [self._take_anchor()]

    def synchronize(self) -> None:
        """Wait until the device has finished its work; `end` reports any error."""
        with contextlib.suppress(RuntimeError):
            self._cuda.synchronize(self._index)

    def end(self) -> RuntimeError | None:
        """Wait for the device, read all events and take the second anchor.

        Returns:
            The device's error, if any. Calls whose times were read before it are kept.
        """
        device_error = None
        try:
            self._cuda.synchronize(self._index)
        except RuntimeError as error:
            device_error = error
            self.failure = self.failure or error
        try:
            self._read(len(self._pending))
            self._anchors.append(self._take_anchor())
        except RuntimeError as error:
            self.failure = self.failure or error
        self._pending.clear()
        self._pool.clear()
        self._mark = None
        return device_error

    def start(self) -> Call | None:
        """Record the start of a call on the current stream; None where it cannot be timed."""
        if self.failure is not None:
            return None
        try:
            if self._is_capturing():
                self.captured_calls += 1
                return None
            stream = self._cuda.current_stream(self._index)
            call = Call(self._streams.setdefault(stream.cuda_stream, len(self._streams)))
            self._record(stream, call, False)
        except RuntimeError as error:
            self.failure = error
            return None
        return call

    def finish(self, call: Call, path: int) -> None:
        """Record the end of a call at `path` in the call tree."""
        if self.failure is not None:
            return
        call.path = path
        try:
            if self._is_capturing():
                self.captured_calls += 1
            else:
                self._record(self._cuda.current_stream(self._index), call, True)
        except RuntimeError as error:
            self.failure = error

    @property
    def streams(self) -> int:
        """Number of streams that calls ran on."""
        return len(self._streams)

    def blocks(self) -> Iterator[SpanBlock]:
        """Yield the calls on the host's clock, in blocks; `thread` is the number of the stream."""
        for first in range(0, len(self._calls), BLOCK_SPANS):
            start_s, end_s, path, stream = self._calls.rows(first, BLOCK_SPANS)
            yield SpanBlock(self._on_host(start_s), self._on_host(end_s), path, stream)

    def _is_capturing(self) -> bool:
        """Return whether a graph is being captured, which an event would become part of.

        True for a capture on another device too, since querying events breaks a capture.
        """
        if self._cuda.is_current_stream_capturing():
            return True
        if self._cuda.current_device() == self._index:
            return False
        with self._cuda.device(self._index):
            return bool(self._cuda.is_current_stream_capturing())

    def _record(self, stream: Any, call: Call, is_end: bool) -> None:
        try:
            event = self._pool.pop()
        except IndexError:
            event = self._cuda.Event(enable_timing=True)
        event.record(stream)
        self._pending.append((event, call, is_end))
        if len(self._pending) > BACKLOG and self._reading.acquire(blocking=False):
            try:
                # One added, two read: the backlog shrinks, at a small, constant cost per call.
                self._read(2)
            finally:
                self._reading.release()

    def _read(self, count: int) -> None:
        """Read the times of the oldest events; one that has not happened yet is queued again."""
        for _ in range(count):
            event, call, is_end = self._pending.popleft()
            if not event.query():
                self._pending.append((event, call, is_end))
                continue
            time_s = self._since_begin_s(event)
            if is_end:
                call.end_s = time_s
            else:
                call.start_s = time_s
            # With two streams, the end may be read before the start.
            if not (math.isnan(call.start_s) or math.isnan(call.end_s)):
                self._calls.add(call.path, call.start_s, call.end_s, call.stream)
            if time_s - self._mark_s > MARK_EVERY_S:
                self._mark, self._mark_s, event = event, time_s, self._mark
            self._pool.append(event)

    def _since_begin_s(self, event: Any) -> float:
        return self._mark_s + float(self._mark.elapsed_time(event)) * 1e-3

    def _take_anchor(self) -> Anchor:
        """Time an event between two readings of the clock; keep the narrowest of several tries."""
        self._cuda.synchronize(self._index)
        stream = self._cuda.current_stream(self._index)
        tries: list[tuple[float, float, Any]] = []
        for _ in range(ANCHOR_TRIES):
            event = self._cuda.Event(enable_timing=True)
            before_s = self._clock.now_s()
            event.record(stream)
            event.synchronize()
            after_s = self._clock.now_s()
            tries.append((after_s - before_s, (before_s + after_s) / 2, event))
        _, host_s, event = min(tries, key=lambda one: one[0])
        if self._mark is None:
            self._mark = event
        return Anchor(host_s, self._since_begin_s(event))

    def _on_host(self, device_s: FloatArray) -> FloatArray:
        first, last = self._anchors[0], self._anchors[-1]
        passed_s = last.device_s - first.device_s
        rate = (last.host_s - first.host_s) / passed_s if passed_s > 0 else 1.0
        rate = min(max(rate, 1.0 - MAX_DRIFT), 1.0 + MAX_DRIFT)
        middle_s = (first.host_s + last.host_s) / 2
        return middle_s + (device_s - (first.device_s + last.device_s) / 2) * rate
