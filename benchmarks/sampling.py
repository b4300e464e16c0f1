"""Samples at 1 kHz beside a busy pure-Python main thread, by the native sampler and in Python."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pynvml
from comparison import Row, Target, check, show_s

from pywatt import Monitor, _core
from pywatt.sensors.info import OpenSensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fakes.simulated_nvml import SimulatedNvml

RATE_HZ = 1000.0
POWER_W = 300.0
UUID = "GPU-00000000-0000-0000-0000-000000000000"
FIELDS = [pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION]


@dataclass(frozen=True)
class Sampled:
    share: float  # of the samples asked for
    cpu_per_sample_s: float


class PythonSampler(threading.Thread):
    """A typical sampler in Python: nvidia-ml-py, time.sleep, and deadlines that do not drift."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, int]] = []
        self.cpu_s = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        device = pynvml.nvmlDeviceGetHandleByUUID(UUID)
        start_s = time.monotonic()
        tick = 0
        while not self._ended.is_set():
            power, energy = pynvml.nvmlDeviceGetFieldValues(device, FIELDS)
            self.samples.append((time.monotonic(), power.value.uiVal, energy.value.ullVal))
            # Like the native sampler, skip deadlines that have passed.
            tick = max(tick + 1, int((time.monotonic() - start_s) * RATE_HZ))
            time.sleep(max(0.0, start_s + tick / RATE_HZ - time.monotonic()))
        self.cpu_s = time.thread_time()

    def stop(self) -> None:
        self._ended.set()
        self.join()


def busy(duration_s: float) -> None:
    """Hold the GIL as any program in pure Python does."""
    end_s = time.perf_counter() + duration_s
    total = 0
    while time.perf_counter() < end_s:
        for i in range(1000):
            total += i * i


def native(simulated: SimulatedNvml, duration_s: float) -> Sampled:
    sensor = OpenSensor(_core.NvmlSensor("nvml:0", UUID, "", str(simulated.path)), None)
    calls_before = simulated.calls("nvmlDeviceGetFieldValues")
    with Monitor([sensor], rate_hz=RATE_HZ) as monitor:
        busy(duration_s)
    calls = simulated.calls("nvmlDeviceGetFieldValues") - calls_before
    trace = monitor.traces["nvml:0"]
    quality = trace.quality
    assert quality is not None
    readings = round(quality.achieved_rate_hz * trace.duration_s) + 1
    check(readings == calls, f"{readings} readings are reported, but NVML was called {calls} times")
    power_w = trace.energy_j[-1] / trace.duration_s
    check(np.isclose(power_w, POWER_W, rtol=1e-9), f"{power_w} W were read, not {POWER_W} W")
    return Sampled(quality.achieved_rate_hz / RATE_HZ, quality.sampler_cpu_s / calls)


def python(simulated: SimulatedNvml, duration_s: float) -> Sampled:
    thread = PythonSampler()
    thread.start()
    busy(duration_s)
    thread.stop()
    powers = {power for _, power, _ in thread.samples}
    check(powers == {int(POWER_W * 1000)}, f"nvidia-ml-py read {powers} mW, not {POWER_W} W")
    samples = len(thread.samples)
    sampled_s = thread.samples[-1][0] - thread.samples[0][0]
    return Sampled((samples - 1) / (sampled_s * RATE_HZ), thread.cpu_s / samples)


@contextmanager
def simulated_nvml() -> Iterator[SimulatedNvml]:
    """One simulated device of constant power, for pywatt and for nvidia-ml-py."""
    simulated = SimulatedNvml()  # before nvmlInit, which then finds the same library
    simulated.reset()
    simulated.play([(1.0, POWER_W)], start_s=0.0)
    pynvml.nvmlInit()
    try:
        yield simulated
    finally:
        pynvml.nvmlShutdown()


def measure(*, quick: bool) -> list[Row]:
    rounds, duration_s = (1, 0.3) if quick else (3, 2.0)
    with simulated_nvml() as simulated:
        taken = [
            (native(simulated, duration_s), python(simulated, duration_s)) for _ in range(rounds)
        ]
    ours = [ours for ours, _ in taken]
    theirs = [theirs for _, theirs in taken]
    share, their_share = (float(np.median([s.share for s in side])) for side in (ours, theirs))
    cpu_s, their_cpu_s = (
        float(np.median([s.cpu_per_sample_s for s in side])) for side in (ours, theirs)
    )
    return [
        Row(
            "samples at 1 kHz beside a busy Python thread; other: a thread with nvidia-ml-py",
            f"{share:.1%}",
            f"{their_share:.1%}",
            share / their_share,
            Target(share, ">=", 0.99, ">= 99 % of those asked"),
        ),
        Row("CPU time per sample in it", show_s(cpu_s), show_s(their_cpu_s), cpu_s / their_cpu_s),
    ]
