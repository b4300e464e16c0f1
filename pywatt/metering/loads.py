"""Loads with known start and end: `load(duration_s)` keeps a device busy for that time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pywatt.errors import SensorError

#: Keeps a device busy from the call until it returns, after about the given time.
Load = Callable[[float], None]

# One hash takes about 0.1 ms, so all threads end within that of each other.
_BLOCK = bytes(1 << 18)

# A matrix product takes about this long: much longer than its launch, much shorter than the time
# between two readings of any sensor.
_PRODUCT_S = 0.0005
_PRODUCTS_AT_ONCE = 4
_SIZES = (512, 1024, 2048, 4096, 8192)


def load_of(device: str | None) -> Load:
    """Return a load for a torch device, ``cpu`` or ``cuda:<i>``.

    Raises:
        SensorError: this device cannot be kept busy from here; the message says why.
    """
    if device == "cpu":
        return _cpu_load()
    if device is not None and device.startswith("cuda"):
        return _cuda_load(device)
    raise SensorError("its torch device is not known")


def _cpu_load() -> Load:
    # The CPUs that this process may use, not those of the machine.
    cpus = len(os.sched_getaffinity(0))
    threads = ThreadPoolExecutor(cpus, thread_name_prefix="pywatt-load")

    def hash_until(end_s: float) -> None:
        # hashlib releases the GIL while hashing.
        while time.monotonic() < end_s:
            hashlib.sha256(_BLOCK)

    def load(duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        for done in [threads.submit(hash_until, end_s) for _ in range(cpus)]:
            done.result()

    return load


def _cuda_load(device: str) -> Load:
    try:
        import torch
    except ImportError as error:
        raise SensorError(f"a load on {device} needs torch: {error}") from error
    if not torch.cuda.is_available() or torch.device(device).index >= torch.cuda.device_count():
        raise SensorError(f"torch {torch.__version__} cannot use {device}")

    def products(size: int) -> Callable[[], None]:
        matrix = torch.randn(size, size, device=device, dtype=torch.float16)
        product = torch.empty_like(matrix)

        def multiply() -> None:
            for _ in range(_PRODUCTS_AT_ONCE):
                torch.mm(matrix, matrix, out=product)
            torch.cuda.synchronize(device)

        return multiply

    try:
        for size in _SIZES:
            multiply = products(size)
            multiply()  # the first call loads the kernel
            start_s = time.monotonic()
            multiply()
            if time.monotonic() - start_s >= _PRODUCTS_AT_ONCE * _PRODUCT_S:
                break
    except RuntimeError as error:
        raise SensorError(f"a load on {device} failed: {error}") from error

    def load(duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            multiply()

    return load
