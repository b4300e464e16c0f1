"""When the values of a long trace appeared, fitted only around the edges of windows."""

from __future__ import annotations

import numpy as np

from pywatt.metering.updates import known_instants
from pywatt.sampling.trace import Trace

# Update times are fitted to this many changes around a window's edge, plus a margin on either side,
# since the ends of a chain are known less well.
STRETCH_CHANGES = 128
STRETCH_MARGIN = 16


class ChangeInstants:
    """When each value of a trace appeared, fitted around the moments passed to `sharpen`.

    A window needs the times at its two edges, and a day's trace has a million: update times are
    fitted to the stretch around an edge, once.

    Args:
        trace: at least two different values.
        period_s: approximate time between updates.

    Attributes:
        time_s: when each value appeared, shape (runs,): halfway between the polls around it if not
            fitted, or if the fit failed; the first one a period before the second.
        std_s: one standard deviation of each, shape (runs,).
    """

    def __init__(self, trace: Trace, period_s: float) -> None:
        self._low_s, self._high_s = trace.run_last_s[:-1], trace.run_first_s[1:]
        middle_s = (self._low_s + self._high_s) / 2.0
        half_std_s = (self._high_s - self._low_s) / np.sqrt(12.0)
        self.time_s = np.concatenate((middle_s[:1] - period_s, middle_s))
        self.std_s = np.concatenate((half_std_s[:1], half_std_s))
        self._fitted: set[int] = set()
        self._jitter_s: float | None = None

    def sharpen(self, time_s: float) -> None:
        """Fit the update times around a moment, unless that was done."""
        stretch = int(np.searchsorted(self._high_s, time_s)) // STRETCH_CHANGES
        if stretch in self._fitted:
            return
        self._fitted.add(stretch)
        first, last = stretch * STRETCH_CHANGES, (stretch + 1) * STRETCH_CHANGES
        begin = max(0, first - STRETCH_MARGIN)
        near = slice(begin, last + STRETCH_MARGIN)
        known = known_instants(self._low_s[near], self._high_s[near], self._jitter_s)
        if known is None:
            return
        self._jitter_s = known.jitter_s
        change = begin + np.flatnonzero(known.sharp)
        mine = (change >= first) & (change < last)
        self.time_s[1 + change[mine]] = known.time_s[mine]
        self.std_s[1 + change[mine]] = known.std_s[mine]
        if first == 0:
            self.time_s[0] = self.time_s[1] - known.period_s
            self.std_s[0] = np.hypot(self.std_s[1], known.jitter_s)
