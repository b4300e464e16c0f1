"""A fake torch.cuda on a scripted clock: work runs after the host queued it, as on a GPU.

Device times have an offset and a drift, and are 32-bit floats in ms, as in torch. What CUDA forbids
raises here; what it allows but would spoil a measurement is an AssertionError.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

import pywatt


class Ran(NamedTuple):
    """When work really ran, on the host's clock."""

    start_s: float
    end_s: float


class SimulatedStream:
    def __init__(self, cuda: SimulatedCuda, device: int, handle: int) -> None:
        self._cuda, self.device, self.cuda_stream = cuda, device, handle
        self.free_s = 0.0

    def give(self, duration_s: float) -> Ran:
        """Queue work; it starts after earlier work has ended and the latency has passed."""
        start_s = max(self._cuda.clock.now_s() + self._cuda.latency_s(), self.free_s)
        self.free_s = start_s + duration_s
        return Ran(start_s, self.free_s)

    def wait_event(self, event: SimulatedEvent) -> None:
        assert event.time_s is not None
        self.free_s = max(self.free_s, event.time_s)


class SimulatedEvent:
    def __init__(self, cuda: SimulatedCuda, *, timing: bool) -> None:
        self._cuda, self._timing = cuda, timing
        self._device: int | None = None
        self.time_s: float | None = None

    def record(self, stream: SimulatedStream) -> None:
        self._cuda.check()
        assert self._cuda.capturing is not stream, "the event became a part of the graph"
        assert self.time_s is None or self.time_s <= self._cuda.clock.now_s(), "not complete yet"
        if self._device not in (None, stream.device):
            raise RuntimeError("Event device does not match recording stream's device")
        self._device = stream.device
        self.time_s = stream.give(0.0).end_s

    def query(self) -> bool:
        self._cuda.check()
        if self._cuda.capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return self.time_s is None or self.time_s <= self._cuda.clock.now_s()

    def synchronize(self) -> None:
        assert self.time_s is not None
        self._cuda.wait_until(self.time_s)

    def elapsed_time(self, later: SimulatedEvent) -> float:
        self._cuda.check()
        if not (self._timing and later._timing) or self.time_s is None or later.time_s is None:
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'")
        if max(self.time_s, later.time_s) > self._cuda.clock.now_s():
            raise RuntimeError("CUDA error: device not ready")
        assert self._device is not None
        assert self._device == later._device
        ticks = [self._cuda.device_time_s(self._device, e.time_s) for e in (self, later)]
        return float(np.float32((ticks[1] - ticks[0]) * 1e3))


class SimulatedCuda:
    """The part of torch.cuda that pywatt uses, under the same names, and controls for tests.

    Args:
        clock: the host's clock, which this advances only when the host waits.
        devices: number of devices, each with its own clock.
        drift: by how much the devices' clocks run fast.
        latency_s: time until the device starts queued work, and until the host notices an end.
        jitter_s: mean of an exponential delay added to it.
        tick_s: resolution of the devices' clocks.
    """

    def __init__(
        self,
        clock: pywatt.ScriptedClock,
        *,
        devices: int = 1,
        drift: float = 0.0,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        tick_s: float = 0.0,
    ) -> None:
        self.clock = clock
        self._drift, self._latency_s, self._jitter_s = drift, latency_s, jitter_s
        self._tick_s = tick_s
        self._random = random.Random(1)
        self._devices = devices
        self._current_device = 0
        self._streams = [[SimulatedStream(self, device, 0)] for device in range(devices)]
        self._current = [streams[0] for streams in self._streams]
        self.capturing: SimulatedStream | None = None
        self.error: RuntimeError | None = None
        self.events = 0
        self.waits = 0

    def Event(self, *, enable_timing: bool = False) -> SimulatedEvent:  # noqa: N802
        self.check()
        self.events += 1
        return SimulatedEvent(self, timing=enable_timing)

    def current_device(self) -> int:
        return self._current_device

    def current_stream(self, device: int | None = None) -> SimulatedStream:
        return self._current[self._current_device if device is None else device]

    def get_device_name(self, device: int) -> str:
        assert device < self._devices
        return f"Simulated GPU {device}"

    def is_current_stream_capturing(self) -> bool:
        self.check()
        return self.capturing is not None and self.capturing is self.current_stream()

    def synchronize(self, device: int) -> None:
        self.wait_until(max(stream.free_s for stream in self._streams[device]))

    def Stream(self, device: int = 0) -> SimulatedStream:  # noqa: N802
        stream = SimulatedStream(self, device, 0x1000 + len(self._streams[device]))
        self._streams[device].append(stream)
        return stream

    @contextmanager
    def device(self, index: int) -> Iterator[None]:
        before, self._current_device = self._current_device, index
        try:
            yield
        finally:
            self._current_device = before

    @contextmanager
    def stream(self, stream: SimulatedStream) -> Iterator[None]:
        before, self._current[stream.device] = self._current[stream.device], stream
        try:
            with self.device(stream.device):
                yield
        finally:
            self._current[stream.device] = before

    @contextmanager
    def graph(self, stream: SimulatedStream) -> Iterator[None]:
        """Capture: work on the stream is recorded and does not run."""
        with self.stream(stream):
            self.capturing = stream
            try:
                yield
            finally:
                self.capturing = None

    def launch(self, duration_s: float, device: int | None = None) -> Ran | None:
        """Start a kernel on the current stream and return at once; return None during capture."""
        stream = self.current_stream(device)
        return None if self.capturing is stream else stream.give(duration_s)

    def wait_until(self, time_s: float) -> None:
        self.check()
        self.waits += 1
        self.clock.advance(max(0.0, time_s - self.clock.now_s()) + self.latency_s())

    def check(self) -> None:
        """Raise the device's error: CUDA raises the same one ever after."""
        if self.error is not None:
            raise self.error

    def latency_s(self) -> float:
        late_s = self._random.expovariate(1.0 / self._jitter_s) if self._jitter_s else 0.0
        return self._latency_s + late_s

    def device_time_s(self, device: int, host_s: float) -> float:
        time_s = 5000.0 * (device + 1) + host_s * (1.0 + self._drift)
        return time_s if not self._tick_s else np.floor(time_s / self._tick_s) * self._tick_s
