"""When a sensor published its readings, far more precisely than from one poll.

A poll only shows that a new value appeared since the poll before. But sensors publish periodically,
so each change narrows down the others: the update times are the hidden states of a chain whose
steps are the sensor's period plus jitter, and each change is an interval that contains one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Fewer changes show no period.
MIN_CHANGES = 5

# A change known less precisely than this share of a period could be one update or the next: it is
# left out of the chain, so that a poll that hung cannot shift the update times.
MAX_WIDTH = 0.25

# Each interval is divided into this many bins: 0.03 ms if polls are 1 ms apart. Repeated with each
# interval narrowed to where its update can be.
BINS = 32
NARROWINGS = 2
NARROWED_STDS = 4.0

# Density of updates at other times, per period: one out of step does not break the chain.
OUTLIERS = 1e-4

# Jitters to try, as shares of the period; transitions that it is estimated from; and how many of
# them are held in memory at once.
JITTERS = np.geomspace(3e-5, 0.1, 15)
JITTER_STEPS = 500
CHUNK_STEPS = 64

# Periods to try first, 0.3 % apart, and how many updates in a row may repeat a value.
ROUGH_PERIODS = 800
MAX_REPEATS = 8


@dataclass(frozen=True, slots=True, eq=False)
class UpdateTimes:
    """The readings that a sensor published, and when.

    Attributes:
        period_s: mean time between updates.
        period_s_std: one standard deviation of it.
        jitter_s: standard deviation of the time between two updates.
        time_s: when each reading was published, shape (n,); updates that no poll read are left out.
        time_s_std: one standard deviation of each, shape (n,).
        reading: what was published, in W or J, shape (n,).
    """

    period_s: float
    period_s_std: float
    jitter_s: float
    time_s: FloatArray
    time_s_std: FloatArray
    reading: FloatArray


def update_times(trace: Trace) -> UpdateTimes | None:
    """Find when a sensor published its readings.

    Returns:
        The update times; None if too few values changed, or they changed as often as polled.
    """
    low_s, high_s = trace.run_last_s[:-1], trace.run_first_s[1:]
    known = known_instants(low_s, high_s)
    if known is None:
        return None
    steps, period_s, jitter_s = known.steps, known.period_s, known.jitter_s
    known_s, known_std = known.time_s, known.std_s
    periods = int(np.sum(steps))
    ends_std = float(np.hypot(known_std[0], known_std[-1]))
    period_std = float(np.hypot(ends_std / periods, jitter_s / np.sqrt(periods)))
    time_s, time_std = _fill(trace, steps, known_s, known_std, period_s, jitter_s)
    _pull_into(time_s, low_s[~known.sharp], high_s[~known.sharp])
    seen, reading = _readings_at(trace, time_s)
    return UpdateTimes(period_s, period_std, jitter_s, time_s[seen], time_std[seen], reading[seen])


@dataclass(frozen=True, slots=True, eq=False)
class KnownInstants:
    """When changes happened, of those that polls bound well enough to fit update times.

    Attributes:
        sharp: which changes these are, shape (changes,).
        period_s: mean time between updates.
        steps: periods from each of them to the next.
        time_s: when each happened, shape (sharp changes,).
        std_s: one standard deviation of each.
        jitter_s: standard deviation of the time between two updates.
    """

    sharp: npt.NDArray[np.bool_]
    period_s: float
    steps: IntArray
    time_s: FloatArray
    std_s: FloatArray
    jitter_s: float


def known_instants(
    low_s: FloatArray, high_s: FloatArray, jitter_s: float | None = None
) -> KnownInstants | None:
    """Fit update times to changes, one in each (low_s, high_s].

    Args:
        low_s: when each old value was last seen, shape (changes,).
        high_s: when each new value was first seen.
        jitter_s: jitter of the updates, if known: estimating it takes longest.

    Returns:
        The times; None if there are too few changes, or no period that the polls resolve.
    """
    rough_s = rough_period_s(low_s, high_s)
    if rough_s is None:
        return None
    sharp = high_s - low_s <= MAX_WIDTH * rough_s
    if np.count_nonzero(sharp) < max(MIN_CHANGES, len(sharp) / 2):
        return None
    steps, period_s = _count_steps((low_s + high_s)[sharp] / 2, rough_s)
    chain = _Chain(low_s[sharp], high_s[sharp], steps, period_s)
    found_s = 0.0
    for _ in range(NARROWINGS):
        found_s = chain.fit_jitter_s() if jitter_s is None else jitter_s
        known_s, known_std = chain.instants(found_s)
        chain = chain.narrowed(known_s, known_std)
    period_s = float(known_s[-1] - known_s[0]) / int(np.sum(steps))
    return KnownInstants(sharp, period_s, steps, known_s, known_std, found_s)


def rough_period_s(low_s: FloatArray, high_s: FloatArray) -> float | None:
    """Return the longest period of which nearly all gaps are multiples, to a few percent, or None.

    Values may repeat, so that even the shortest gap can be several periods long.
    """
    if len(high_s) <= MIN_CHANGES:
        return None
    middle_s, half_s = (low_s + high_s) / 2, (high_s - low_s) / 2
    gaps_s, slack_s = np.diff(middle_s), half_s[1:] + half_s[:-1]
    sharp = slack_s <= 2.0 * MAX_WIDTH * gaps_s
    if np.count_nonzero(sharp) < MIN_CHANGES - 1:
        return None
    gaps_s, slack_s = gaps_s[sharp][:JITTER_STEPS], slack_s[sharp][:JITTER_STEPS]
    short_s = float(np.quantile(gaps_s, 0.1))
    tried_s = short_s * np.geomspace(1.3, 1.0 / MAX_REPEATS, ROUGH_PERIODS)
    fits = _are_periods(tried_s, gaps_s, slack_s)
    if not np.any(fits):
        return None
    first = int(np.argmax(fits))
    last = first + int(np.argmin(np.append(fits[first:], False)))
    return float(np.mean(tried_s[first:last]))


def _are_periods(
    tried_s: FloatArray, gaps_s: FloatArray, slack_s: FloatArray
) -> npt.NDArray[np.bool_]:
    """Return of which periods nine in ten gaps, if short enough to judge, are whole multiples."""
    tried_s = tried_s[:, None]
    near = gaps_s < MAX_REPEATS * tried_s
    away_s = np.abs(gaps_s - np.maximum(1.0, np.round(gaps_s / tried_s)) * tried_s)
    whole = near & (away_s <= slack_s + 0.05 * tried_s)
    near_gaps = np.count_nonzero(near, axis=1)
    fits: npt.NDArray[np.bool_] = np.count_nonzero(whole, axis=1) >= 0.9 * near_gaps
    fits &= near_gaps >= max(MIN_CHANGES - 1, len(gaps_s) / 4)
    return fits


def _count_steps(middle_s: FloatArray, period_s: float) -> tuple[IntArray, float]:
    """Count periods from each change to the next, short gaps first; return counts and period."""
    gaps_s = np.diff(middle_s)
    steps = np.maximum(1, np.round(gaps_s / period_s)).astype(np.int64)
    for longest in (2, 8, 32, 128, np.inf):
        short = steps <= longest
        if np.any(short):
            period_s = float(np.sum(gaps_s[short]) / np.sum(steps[short]))
            steps = np.maximum(1, np.round(gaps_s / period_s)).astype(np.int64)
    return steps, period_s


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Changes in order: one update in each (low_s, high_s], `steps` periods after the one before.

    Gaps between updates are independent and normal. Each interval is divided into bins, so that
    sums over all possible times of all updates are exact up to a bin.
    """

    low_s: FloatArray
    high_s: FloatArray
    steps: IntArray
    period_s: float

    def fit_jitter_s(self) -> float:
        """Return the most likely jitter given the changes, interpolated between those tried."""
        head = _Chain(
            self.low_s[: JITTER_STEPS + 1],
            self.high_s[: JITTER_STEPS + 1],
            self.steps[:JITTER_STEPS],
            self.period_s,
        )
        tried = self.period_s * JITTERS
        _, fit = head._forward(tried)
        best = int(np.clip(np.argmax(fit), 1, len(fit) - 2))
        left, right = fit[best] - fit[best - 1], fit[best] - fit[best + 1]
        offset = 0.5 * (left - right) / (left + right) if left > 0 and right > 0 else 0.0
        best = int(np.argmax(fit)) if offset == 0.0 else best
        return float(tried[best] * (tried[1] / tried[0]) ** offset)

    def instants(self, jitter_s: float) -> tuple[FloatArray, FloatArray]:
        """Return the mean and standard deviation of each update time, given all changes."""
        jitters_s = np.array([jitter_s])
        belief = self._forward(jitters_s)[0][:, 0]
        after = np.ones(BINS)
        for k, step in zip(
            range(len(self.steps) - 1, -1, -1),
            self._transitions(jitters_s, reverse=True),
            strict=True,
        ):
            after = step[0] @ after
            after /= np.sum(after)
            belief[k] *= after
        belief /= np.sum(belief, axis=1, keepdims=True)
        bins_s = self._bins_s()
        into_s = bins_s - self.low_s[:, None]
        mean_s = np.sum(belief * into_s, axis=1)
        within_s = (self.high_s - self.low_s) / BINS / np.sqrt(12.0)
        spread_s = np.sqrt(np.sum(belief * (into_s - mean_s[:, None]) ** 2, axis=1))
        return self.low_s + mean_s, np.hypot(spread_s, within_s)

    def narrowed(self, mean_s: FloatArray, std_s: FloatArray) -> _Chain:
        """Return the chain with each interval narrowed to where its update can be."""
        low_s = np.maximum(self.low_s, mean_s - NARROWED_STDS * std_s)
        high_s = np.minimum(self.high_s, mean_s + NARROWED_STDS * std_s)
        index = np.concatenate(([0], np.cumsum(self.steps)))
        period_s = float(np.polyfit(index - np.mean(index), mean_s - mean_s[0], 1)[0])
        return _Chain(low_s, high_s, self.steps, period_s)

    def _bins_s(self) -> FloatArray:
        share = (np.arange(BINS) + 0.5) / BINS
        return self.low_s[:, None] + share * (self.high_s - self.low_s)[:, None]

    def _forward(self, jitters_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the belief about each update given the changes up to it, and log-likelihoods.

        Returns:
            Beliefs of shape (changes, jitters, BINS); log-likelihoods of shape (jitters,).
        """
        belief = np.empty((len(self.low_s), len(jitters_s), BINS))
        belief[0] = 1.0 / BINS
        likely = np.empty((len(self.steps), len(jitters_s)))
        for k, step in enumerate(self._transitions(jitters_s)):
            ahead = (belief[k][:, None, :] @ step)[:, 0]
            likely[k] = ahead.sum(axis=1)
            belief[k + 1] = ahead / likely[k][:, None]
        return belief, np.sum(np.log(likely), axis=0)

    def _transitions(self, jitters_s: FloatArray, *, reverse: bool = False) -> Iterator[FloatArray]:
        """Yield the probability of each bin of a change given each bin of the one before.

        Yields:
            One array of shape (jitters, BINS, BINS) for each step.
        """
        bins_s = self._bins_s()
        width_s = (self.high_s - self.low_s) / BINS
        firsts = range(0, len(self.steps), CHUNK_STEPS)
        for first in reversed(firsts) if reverse else firsts:
            here = np.arange(first, min(first + CHUNK_STEPS, len(self.steps)))
            there, steps = here + 1, self.steps[here]
            away_s = bins_s[there][:, None, :] - bins_s[here][:, :, None]
            away_s -= (steps * self.period_s)[:, None, None]
            # A bin is as wide as a uniform distribution of this variance.
            within_var = (width_s[here] ** 2 + width_s[there] ** 2) / 12.0
            var = steps[:, None] * jitters_s**2 + within_var[:, None]
            away = (away_s**2)[:, None] / (-2.0 * var)[:, :, None, None]
            density = np.exp(away, out=away)
            density /= np.sqrt(2.0 * np.pi * var)[:, :, None, None]
            density += OUTLIERS / self.period_s
            density *= width_s[there][:, None, None, None]
            yield from density[::-1] if reverse else density


def _fill(
    trace: Trace,
    steps: IntArray,
    known_s: FloatArray,
    known_std: FloatArray,
    period_s: float,
    jitter_s: float,
) -> tuple[FloatArray, FloatArray]:
    """Return all update times of a trace: those at changes, and those between, before and after."""
    index = np.concatenate(([0], np.cumsum(steps)))
    before = int((known_s[0] - trace.start_s) / period_s)
    after = int((trace.run_last_s[-1] - known_s[-1]) / period_s)
    every = np.arange(-before, index[-1] + after + 1)
    beyond = np.minimum(every, 0) + np.maximum(every - index[-1], 0)
    time_s = np.interp(every, index, known_s) + beyond * period_s
    left = np.clip(np.searchsorted(index, every, side="right") - 1, 0, len(index) - 2)
    into, span = np.clip(every - index[left], 0, steps[left]), steps[left]
    # A random walk known at both ends (a Brownian bridge), or at one.
    free_var = jitter_s**2 * (into * (span - into) / span + np.abs(beyond))
    return time_s, np.hypot(np.interp(every, index, known_std), np.sqrt(free_var))


def _pull_into(time_s: FloatArray, low_s: FloatArray, high_s: FloatArray) -> None:
    """Move the nearest time into each interval where one must be, in place."""
    if len(low_s) == 0:
        return
    middle_s = (low_s + high_s) / 2
    right = np.clip(np.searchsorted(time_s, middle_s), 1, len(time_s) - 1)
    nearest = right - (middle_s - time_s[right - 1] < time_s[right] - middle_s)
    time_s[nearest] = np.clip(time_s[nearest], low_s, high_s)


def _readings_at(trace: Trace, time_s: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Return whether a poll read each update before the next one, and what was published."""
    run = np.searchsorted(trace.run_last_s, time_s, side="right")
    run = np.minimum(run, len(trace.run_value) - 1)
    polled_s = np.maximum(time_s, trace.run_first_s[run])
    seen = polled_s < np.concatenate((time_s[1:], [np.inf]))
    return seen, trace.run_value[run]
