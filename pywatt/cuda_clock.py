"""When work ran on a CUDA device, in the time of the host's clock.

Kernels run after the call that launched them has returned, so their time is taken by events on the
stream. Events carry no host time: two anchors, one before and one after everything, tie the
device's clock to the host's, and what lies between is interpolated, since GPU clocks drift by 10 to
100 ppm.
Nothing is synchronized in between.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt import _core

FloatArray = npt.NDArray[np.float64]

ANCHOR_TRIES = 20

# elapsed_time is a 32-bit float in ms: from a mark less than a second away it is good to 0.1 us.
MARK_EVERY_MS = 500.0

# Finished pairs are taken out once so many wait, so that a long run needs few events.
DRAIN_AT = 4096


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment on both clocks.

    Attributes:
        host_s: time on the host's clock in s.
        device_s: time since the first anchor on the device's clock in s.
        std_s: how well the two are tied together, one standard deviation in s.
    """

    host_s: float
    device_s: float
    std_s: float


@dataclass(slots=True)
class _Pair:
    row: int
    start: Any
    end: Any
    stream: int


class CudaTimeline:
    """Events of one device, from a pool, and their times on the host's clock.

    Args:
        device: ``cuda:0`` and so on.
        clock: the host's clock.
        cuda: ``torch.cuda``, or a stand-in for it in tests.
    """

    def __init__(self, device: str, clock: _core.Clock, cuda: Any = None) -> None:
        if cuda is None:
            import torch

            cuda = torch.cuda
        self.device = device
        self.captured_calls = 0
        self._clock = clock
        self._cuda = cuda
        self._pool: list[Any] = []
        self._pending: deque[_Pair] = deque()
        self._mark: Any = None
        self._mark_s = 0.0
        self._anchors: list[Anchor] = []
        self._rows = array("q")
        self._start_s = array("d")
        self._end_s = array("d")
        self._stream = array("q")
        self._streams: dict[int, int] = {}

    def begin(self) -> None:
        """Tie the clocks together before the first call. Synchronizes the device."""
        self._anchors = [self._take_anchor()]

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        self._cuda.synchronize(self.device)

    def end(self) -> None:
        """Wait for the device, take the second anchor and resolve all that is pending."""
        self.synchronize()
        self._drain(wait=True)
        self._anchors.append(self._take_anchor())
        self._pool.clear()

    def record(self) -> Any:
        """Record an event on the current stream; None while a graph is being captured."""
        if self._cuda.is_current_stream_capturing():
            # A timing event would become a part of the graph.
            self.captured_calls += 1
            return None
        event = self._pool.pop() if self._pool else self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self.device))
        return event

    def add(self, row: int, start: Any, end: Any) -> None:
        """Take the events of a span, which is row `row` of the recorder."""
        if start is None or end is None:
            return
        handle = self._cuda.current_stream(self.device).cuda_stream
        stream = self._streams.setdefault(handle, len(self._streams))
        self._pending.append(_Pair(row, start, end, stream))
        if len(self._pending) >= DRAIN_AT:
            self._drain(wait=False)

    def drop(self, event: Any) -> None:
        """Give back an event that ended up without its partner."""
        if event is not None:
            self._pool.append(event)

    @property
    def streams(self) -> int:
        """How many streams calls have run on."""
        return len(self._streams)

    def spans(self) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray, npt.NDArray[np.int64]]:
        """Rows, starts and ends in s of the host's clock, and streams. Only after `end`."""
        return (
            np.array(self._rows, dtype=np.int64),
            self._on_host(np.array(self._start_s, dtype=np.float64)),
            self._on_host(np.array(self._end_s, dtype=np.float64)),
            np.array(self._stream, dtype=np.int64),
        )

    @property
    def anchor_std_s(self) -> float:
        """How well device times are known on the host's clock, one standard deviation in s."""
        return max((anchor.std_s for anchor in self._anchors), default=0.0)

    def _on_host(self, device_s: FloatArray) -> FloatArray:
        first, last = self._anchors[0], self._anchors[-1]
        passed_s = last.device_s - first.device_s
        rate = (last.host_s - first.host_s) / passed_s if passed_s > 0 else 1.0
        return first.host_s + (device_s - first.device_s) * rate

    def _take_anchor(self) -> Anchor:
        """Keep the narrowest of several tries to catch an event between two looks at the clock."""
        self.synchronize()
        stream = self._cuda.current_stream(self.device)
        best: tuple[float, float, Any] | None = None
        for _ in range(ANCHOR_TRIES):
            event = self._cuda.Event(enable_timing=True)
            before_s = self._clock.now_s()
            event.record(stream)
            event.synchronize()
            after_s = self._clock.now_s()
            if best is None or after_s - before_s < best[0]:
                best = (after_s - before_s, (before_s + after_s) / 2, event)
        assert best is not None
        width_s, host_s, event = best
        if self._mark is None:
            self._mark, self._mark_s = event, 0.0
        return Anchor(host_s, self._since_begin_s(event), width_s / float(np.sqrt(12.0)))

    def _since_begin_s(self, event: Any) -> float:
        return self._mark_s + float(self._mark.elapsed_time(event)) * 1e-3

    def _drain(self, *, wait: bool) -> None:
        """Turn finished pairs into times, in the order in which they were added."""
        while self._pending and (wait or self._pending[0].end.query()):
            pair = self._pending.popleft()
            start_s, end_s = self._since_begin_s(pair.start), self._since_begin_s(pair.end)
            self._rows.append(pair.row)
            self._start_s.append(start_s)
            self._end_s.append(end_s)
            self._stream.append(pair.stream)
            self._pool.append(pair.start)
            if (end_s - self._mark_s) * 1e3 > MARK_EVERY_MS:
                # The old mark may be the first anchor, and is not a pool's event to give back.
                self._mark, self._mark_s = pair.end, end_s
            else:
                self._pool.append(pair.end)
