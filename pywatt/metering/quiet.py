"""Wait until the power is steady, to separate a block from what runs around it."""

from __future__ import annotations

import time

import numpy as np

from pywatt import _core
from pywatt.metering.energy_curve import QUIET_INTERVALS
from pywatt.metering.freshness import is_fine
from pywatt.sampling.monitor import Monitor
from pywatt.sampling.trace import Trace

# Longest wait before a block, and after it.
BUDGET_S = 5.0

# Intervals checked: the block may touch one more than it lies in.
STEADY_INTERVALS = QUIET_INTERVALS + 1

# Power is steady if it changes by no more than this share over the last updates.
STEADY_SHARE = 0.1

# A power that shows the same value for this long is steady, however often it is published.
STEADY_S = 0.45

POLL_S = 0.02


def wait_until_quiet(monitor: Monitor, since_s: float) -> bool:
    """Wait until all slow sensors have shown steady power since a moment; return whether they did.

    Sensors whose every reading is fresh need no quiet. A `ScriptedClock` is advanced.
    """
    clock = monitor.clock
    give_up_s = clock.now_s() + BUDGET_S
    while not all(_is_steady(trace, since_s) for trace in monitor.traces.values()):
        if clock.now_s() >= give_up_s:
            return False
        if isinstance(clock, _core.ScriptedClock):
            clock.advance(POLL_S)
        else:
            time.sleep(POLL_S)
    return True


def _is_steady(trace: Trace, since_s: float) -> bool:
    """Return whether the last updates of a trace, all of them after a moment, are alike.

    A counter with too few updates yet is not known to be steady, nor is a power that was not read
    for long enough.
    """
    if trace.ended is not None or is_fine(trace):
        return True
    if trace.power_w is None:
        moves_s = trace.changed_s[-STEADY_INTERVALS - 1 :]
        if len(moves_s) <= STEADY_INTERVALS or moves_s[0] <= since_s:
            return False
        shown_w = np.diff(trace.run_value[-STEADY_INTERVALS - 1 :]) / np.diff(moves_s)
    else:
        if trace.end_s - max(since_s, trace.start_s) < STEADY_S:
            return False
        shown_w = trace.run_value[trace.run_last_s >= trace.end_s - STEADY_S]
    return bool(np.ptp(shown_w) <= STEADY_SHARE * np.mean(np.abs(shown_w)))
