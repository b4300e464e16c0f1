"""A load that repeats nearly as often as a power is published, told from one that changes slowly.

Each reading then sees the load a little further on than the one before. The readings rise and fall
evenly over many of them, a beat, while the load goes on and off within each. What they rise and
fall around is the load's mean power; where they are at some moment tells nothing of the power then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# A sensor that shows a change of the load at once has so much of all that it ever shows in two
# steps, and hardly any of it in the step before them and the step after. What it shows gradually
# then is no average over a longer time.
AT_ONCE_SHARE = 0.5
SETTLED_SHARE = 0.1

# A stretch of readings ends where one step is so much of all that is ever shown.
ABRUPT_SHARE = 0.25

# In a beat no two steps in a row are more than this share of its swing.
GRADUAL_SHARE = 0.5

# A beat goes from its lowest to its highest so far, and back; two cycles or more of it are seen
# from one way through its middle to the next such, and last the same but for this share.
SWING_SHARE = 0.2
EVEN_SHARE = 0.1
LEAST_CYCLES = 2

# Each of its readings is so much like the one a cycle later or earlier, as a share of its swing.
ALIKE_SHARE = 0.15

# A swing below this share of the power is no matter of concern.
LEAST_SWING = 0.1


@dataclass(frozen=True, slots=True)
class Beat:
    """Readings in a row that rise and fall evenly.

    Attributes:
        first: index of the first of them.
        end: index after the last of them.
        mean_w: their mean over whole cycles: that of the load.
        cycle_s: time from one rise to the next.
    """

    first: int
    end: int
    mean_w: float
    cycle_s: float


def beats(reading_w: FloatArray, duration_s: FloatArray) -> tuple[Beat, ...]:
    """Find beats in a sensor's readings; none where the sensor is not seen to be a quick one.

    Args:
        reading_w: readings in a row, shape (readings,).
        duration_s: time from each of them to the next, of the same shape.
    """
    shown_w = float(np.ptp(reading_w)) if len(reading_w) else 0.0
    if not _shows_at_once(reading_w, shown_w):
        return ()
    edges = [*np.unique(stretches(reading_w), return_index=True)[1].tolist(), len(reading_w)]
    found = (_beat(reading_w, duration_s, first, end) for first, end in pairwise(edges))
    return tuple(beat for beat in found if beat is not None)


def stretches(reading_w: FloatArray) -> npt.NDArray[np.int64]:
    """Number of the stretch without abrupt changes that each reading is in, from 0 on."""
    steps_w = np.abs(np.diff(reading_w, prepend=reading_w[:1]))
    abrupt = steps_w > ABRUPT_SHARE * (np.ptp(reading_w) if len(reading_w) else 0.0)
    return np.cumsum(abrupt, dtype=np.int64)


def without_beats(reading_w: FloatArray, found: Sequence[Beat]) -> FloatArray:
    """Put the mean of each beat in the place of its readings."""
    power_w: FloatArray = reading_w.copy()
    for beat in found:
        power_w[beat.first : beat.end] = beat.mean_w
    return power_w


def _shows_at_once(reading_w: FloatArray, shown_w: float) -> bool:
    """Tell whether a change of the load was ever shown within two readings."""
    if len(reading_w) < 4 or shown_w <= 0.0:
        return False
    steps_w = np.abs(np.diff(reading_w))
    moved = np.abs(reading_w[2:] - reading_w[:-2])[1:-1] >= AT_ONCE_SHARE * shown_w
    still = np.maximum(steps_w[:-3], steps_w[3:]) <= SETTLED_SHARE * shown_w
    return bool(np.any(moved & still))


def _beat(reading_w: FloatArray, duration_s: FloatArray, first: int, end: int) -> Beat | None:
    """Beat of a stretch of readings without abrupt changes, if it is one."""
    stretch_w, each_s = reading_w[first:end], duration_s[first:end]
    low_w, high_w = float(np.min(stretch_w)), float(np.max(stretch_w))
    swing_w = high_w - low_w
    if len(stretch_w) < 4 or swing_w <= LEAST_SWING * abs(high_w):
        return None
    if np.max(np.abs(stretch_w[2:] - stretch_w[:-2])) > GRADUAL_SHARE * swing_w:
        return None
    crossings = _crossings(stretch_w, low_w + SWING_SHARE * swing_w, high_w - SWING_SHARE * swing_w)
    begins_s = np.concatenate(([0.0], np.cumsum(each_s)))
    at_s = np.interp(crossings, np.arange(len(begins_s)), begins_s)
    cycles_s = at_s[2:] - at_s[:-2]
    if len(cycles_s) < LEAST_CYCLES or np.ptp(cycles_s) > EVEN_SHARE * np.mean(cycles_s):
        return None
    alike = _repeats(stretch_w, len(stretch_w) / begins_s[-1] * float(np.mean(cycles_s)), swing_w)
    core = slice(int(crossings[0]), int(crossings[-1]) + 1)
    if not np.all(alike[core]):
        return None
    # What is before and after it and is not alike, such as idle, is no part of it.
    breaks = np.flatnonzero(~alike)
    begin = int(np.max(breaks[breaks < core.start], initial=-1)) + 1
    until = int(np.min(breaks[breaks >= core.stop], initial=len(alike)))
    energy_j = np.concatenate(([0.0], np.cumsum(stretch_w * each_s)))
    at_j = np.interp(at_s, begins_s, energy_j)
    mean_w = float(np.sum(at_j[2:] - at_j[:-2]) / np.sum(cycles_s))
    return Beat(first + begin, first + until, mean_w, float(np.mean(cycles_s)))


def _repeats(stretch_w: FloatArray, cycle: float, swing_w: float) -> npt.NDArray[np.bool_]:
    """Tell which readings are like the one a cycle, of so many readings, later or earlier."""
    at = np.arange(len(stretch_w))
    later_w = np.interp(at + cycle, at, stretch_w, right=np.inf)
    earlier_w = np.interp(at - cycle, at, stretch_w, left=np.inf)
    apart_w = np.minimum(np.abs(later_w - stretch_w), np.abs(earlier_w - stretch_w))
    alike: npt.NDArray[np.bool_] = apart_w <= ALIKE_SHARE * swing_w
    return alike


def _crossings(stretch_w: FloatArray, low_w: float, high_w: float) -> Sequence[float]:
    """Where readings cross the middle on their way from below one power to above another, or back.

    Returns:
        Indices with fractions, growing, up and down in turn.
    """
    outer = np.flatnonzero((stretch_w <= low_w) | (stretch_w >= high_w))
    turns = np.flatnonzero(np.diff((stretch_w[outer] >= high_w).astype(int)))
    found = []
    for last, following in zip(outer[turns], outer[turns + 1], strict=True):
        beyond_w = stretch_w[last : following + 1] - (low_w + high_w) / 2.0
        # From the last reading outside on this side, so that the next one beyond is on the other.
        k = int(np.argmax(np.sign(beyond_w) != np.sign(beyond_w[0])))
        share = beyond_w[k - 1] / (beyond_w[k - 1] - beyond_w[k])
        found.append(float(last + k - 1 + share))
    return found
