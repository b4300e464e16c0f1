"""Call something over and over, and mark how many calls were done when."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pywatt import _core

FloatArray = npt.NDArray[np.float64]

# Time between marks: short enough to follow a host that is busy with other things.
MARK_EVERY_S = 2e-4

# One call is timed over calls that last this long together.
TIMING_S = 0.005

MAX_CALLS = 1_000_000

# Calls that took this much longer than the quick ones waited: the host was busy with other work.
WAITED = 1.3


class NotRepeatable(Exception):  # noqa: N818  (an outcome that is handled, not an error)
    """A call that cannot be repeated; the message says why."""


def calls_on_host(
    call: Callable[[], object], duration_s: float, clock: _core.Clock
) -> tuple[FloatArray, FloatArray]:
    """Call until the time has passed, reading the clock now and then.

    Returns:
        Marks as those of a `Block`: moments, and the calls done at each.

    Raises:
        NotRepeatable: calls take no time on this clock.
    """
    now_s, stride, calls = clock.now_s, 1, 0
    start_s = before_s = now_s()
    marks, done = [start_s], [0]
    while before_s - start_s < duration_s:
        for _ in range(stride):
            call()
        calls += stride
        after_s = now_s()
        if after_s > before_s:
            marks.append(after_s)
            done.append(calls)
        elif calls > MAX_CALLS:
            raise NotRepeatable("its call takes no time")
        if after_s - before_s < MARK_EVERY_S / 2:
            stride *= 2
        before_s = after_s
    return _without_waits(np.array(marks), np.array(done, dtype=np.float64))


def time_on_device(
    call: Callable[[], object],
    least_s: float,
    clock: _core.Clock,
    synchronize: Callable[[], None],
) -> float:
    """Return the time of one call, over calls that last at least `least_s` together."""
    calls = 1
    while True:
        synchronize()
        mark_s, _ = calls_on_device(call, calls, clock, synchronize)
        passed_s = float(mark_s[1] - mark_s[0])
        if passed_s >= least_s or calls >= MAX_CALLS:
            return passed_s / calls
        calls *= 4


def calls_on_device(
    call: Callable[[], object],
    calls: float,
    clock: _core.Clock,
    synchronize: Callable[[], None],
) -> tuple[FloatArray, FloatArray]:
    """Launch this many calls on an idle device, and wait for it.

    Returns:
        Two marks as those of a `Block`.
    """
    whole = int(np.clip(np.ceil(calls), 1, MAX_CALLS))
    start_s = clock.now_s()
    for _ in range(whole):
        call()
    synchronize()
    return np.array([start_s, clock.now_s()]), np.array([0.0, whole])


def _without_waits(mark_s: FloatArray, done: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Put a mark where calls that took too long would have been done: the rest was waiting.

    Without it a reading that sees a part of such a stretch would be charged with the wrong calls.
    """
    calls, passed_s = np.diff(done), np.diff(mark_s)
    quick_s = float(np.quantile(passed_s / calls, 0.1)) * calls
    waited = passed_s > WAITED * quick_s
    at_s = np.concatenate((mark_s, (mark_s[:-1] + quick_s)[waited]))
    order = np.argsort(at_s, kind="stable")
    return at_s[order], np.concatenate((done, done[1:][waited]))[order]
