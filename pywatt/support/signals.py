"""Defer Ctrl-C during work that must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C until the block has ended; it is then raised from the `with` statement.

    For short work that must be completed, such as adding or removing hooks. Python runs signal
    handlers in its main thread only, so other threads need nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for number, frame in held:
            handler(number, frame)
