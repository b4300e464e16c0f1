"""How often a sensor shows a new value, and whether nearly every reading is new."""

from __future__ import annotations

import numpy as np

from pywatt.metering.updates import rough_period_s
from pywatt.sampling.trace import Trace

# A period is taken from this many last changes: more cost time and add no accuracy.
PERIOD_CHANGES = 200

# Fewer changes without a common period show nothing: a few steps of an exact power are not updates.
STALE_CHANGES = 10


def poll_period_s(trace: Trace) -> float:
    """Return the achieved time between readings in s."""
    if trace.quality is not None and trace.quality.achieved_rate_hz > 0:
        return 1.0 / trace.quality.achieved_rate_hz
    return trace.duration_s / max(1, len(trace) - 1)


def update_period_s(trace: Trace) -> float | None:
    """Return the time between fresh values of a trace in s; None if it changed too little.

    The sensor's declared period if it has one, else that of its update times, else (too few changes
    or no common period) a low quantile of the time between changes: fresh values that happen to
    repeat look like longer gaps.
    """
    polls_s = poll_period_s(trace)
    declared_s = trace.sensor.update_period_s
    if declared_s is not None:
        return max(declared_s, polls_s)
    if trace.quality is None:
        # Given by the user, not sampled: every reading counts as fresh.
        return polls_s
    few = slice(-PERIOD_CHANGES, None)
    period_s = rough_period_s(trace.run_last_s[:-1][few], trace.run_first_s[1:][few])
    gaps_s = np.diff(trace.changed_s[few])
    if period_s is None and len(gaps_s) >= 2:
        period_s = float(np.quantile(gaps_s, 0.1, method="lower"))
    return None if period_s is None else max(period_s, polls_s)


def stale_period_s(trace: Trace) -> float | None:
    """Return the time in s for which values stay the same; None if most polls find a fresh one.

    A meter that is always fresh hardly shows a value twice, since it has noise. One polled a few
    times per period, too seldom to fit update times, shows each value that often.
    """
    gaps_s = np.diff(trace.changed_s)
    if len(gaps_s) < STALE_CHANGES:
        return None
    period_s = float(np.quantile(gaps_s, 0.1, method="lower"))
    return period_s if period_s >= 1.5 * poll_period_s(trace) else None


def is_fine(trace: Trace) -> bool:
    """Return whether nearly every reading is fresh, so that the trace is the power curve itself."""
    period_s = update_period_s(trace)
    return period_s is not None and period_s <= 2.0 * poll_period_s(trace)
