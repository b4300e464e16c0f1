"""Distinguish a load that repeats nearly at a sensor's update rate from one that changes slowly.

Each reading then sees a slightly later phase of the load than the one before. The readings rise and
fall evenly over many updates (aliasing), while the load goes on and off within each. Their mean is
the load's mean power; a single reading says nothing about the power at its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# A fast sensor shows a change of the load within two steps of at least this share of the range of
# its readings, with hardly any change in the steps before and after. Gradual changes in its
# readings are then not from a longer averaging window.
AT_ONCE_SHARE = 0.5
SETTLED_SHARE = 0.1

# A stretch of readings ends at a step of this share of the range of the readings.
ABRUPT_SHARE = 0.25

# With aliasing, two steps in a row change by at most this share of the swing.
GRADUAL_SHARE = 0.5

# Aliased readings come this close to their lowest and highest, as a share of the swing. Two cycles
# or more, each from one crossing of the middle to the next in the same direction, are equally long
# up to EVEN_SHARE.
SWING_SHARE = 0.2
EVEN_SHARE = 0.1
LEAST_CYCLES = 2

# Each reading is this close to the one a cycle later or earlier, as a share of the swing.
ALIKE_SHARE = 0.15

# A swing below this share of the power does not matter.
LEAST_SWING = 0.1


@dataclass(frozen=True, slots=True)
class AliasedStretch:
    """Consecutive readings that rise and fall evenly.

    Attributes:
        first: index of the first reading.
        end: index after the last reading.
        mean_w: mean over whole cycles, which is the load's mean power.
        cycle_s: time from one rise to the next.
    """

    first: int
    end: int
    mean_w: float
    cycle_s: float


def aliased_stretches(reading_w: FloatArray, duration_s: FloatArray) -> tuple[AliasedStretch, ...]:
    """Find aliased stretches in a sensor's readings; none unless the sensor is known to be fast.

    Args:
        reading_w: consecutive readings, shape (readings,).
        duration_s: time from each of them to the next, of the same shape.
    """
    shown_w = float(np.ptp(reading_w)) if len(reading_w) else 0.0
    if not _shows_at_once(reading_w, shown_w):
        return ()
    edges = [*np.unique(stretches(reading_w), return_index=True)[1].tolist(), len(reading_w)]
    found = (_aliased_stretch(reading_w, duration_s, first, end) for first, end in pairwise(edges))
    return tuple(stretch for stretch in found if stretch is not None)


def stretches(reading_w: FloatArray) -> npt.NDArray[np.int64]:
    """Return the number, from 0, of the stretch without abrupt changes that each reading is in."""
    steps_w = np.abs(np.diff(reading_w, prepend=reading_w[:1]))
    abrupt = steps_w > ABRUPT_SHARE * (np.ptp(reading_w) if len(reading_w) else 0.0)
    return np.cumsum(abrupt, dtype=np.int64)


def without_aliasing(reading_w: FloatArray, found: Sequence[AliasedStretch]) -> FloatArray:
    """Replace the readings of each aliased stretch by their mean."""
    power_w: FloatArray = reading_w.copy()
    for stretch in found:
        power_w[stretch.first : stretch.end] = stretch.mean_w
    return power_w


def _shows_at_once(reading_w: FloatArray, shown_w: float) -> bool:
    """Return whether a change of the load ever showed within two readings."""
    if len(reading_w) < 4 or shown_w <= 0.0:
        return False
    steps_w = np.abs(np.diff(reading_w))
    moved = np.abs(reading_w[2:] - reading_w[:-2])[1:-1] >= AT_ONCE_SHARE * shown_w
    still = np.maximum(steps_w[:-3], steps_w[3:]) <= SETTLED_SHARE * shown_w
    return bool(np.any(moved & still))


def _aliased_stretch(
    reading_w: FloatArray, duration_s: FloatArray, first: int, end: int
) -> AliasedStretch | None:
    """Return the aliased part of a stretch without abrupt changes, if it has one."""
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
    # Readings before and after that do not repeat, such as idle, are not part of it.
    breaks = np.flatnonzero(~alike)
    begin = int(np.max(breaks[breaks < core.start], initial=-1)) + 1
    until = int(np.min(breaks[breaks >= core.stop], initial=len(alike)))
    energy_j = np.concatenate(([0.0], np.cumsum(stretch_w * each_s)))
    at_j = np.interp(at_s, begins_s, energy_j)
    mean_w = float(np.sum(at_j[2:] - at_j[:-2]) / np.sum(cycles_s))
    return AliasedStretch(first + begin, first + until, mean_w, float(np.mean(cycles_s)))


def _repeats(stretch_w: FloatArray, cycle: float, swing_w: float) -> npt.NDArray[np.bool_]:
    """Return which readings are like the one `cycle` readings later or earlier."""
    at = np.arange(len(stretch_w))
    later_w = np.interp(at + cycle, at, stretch_w, right=np.inf)
    earlier_w = np.interp(at - cycle, at, stretch_w, left=np.inf)
    apart_w = np.minimum(np.abs(later_w - stretch_w), np.abs(earlier_w - stretch_w))
    alike: npt.NDArray[np.bool_] = apart_w <= ALIKE_SHARE * swing_w
    return alike


def _crossings(stretch_w: FloatArray, low_w: float, high_w: float) -> Sequence[float]:
    """Return where readings cross the middle on their way from one outer power to the other.

    Returns:
        Fractional indices, increasing, up and down in turn.
    """
    outer = np.flatnonzero((stretch_w <= low_w) | (stretch_w >= high_w))
    turns = np.flatnonzero(np.diff((stretch_w[outer] >= high_w).astype(int)))
    found = []
    for last, following in zip(outer[turns], outer[turns + 1], strict=True):
        beyond_w = stretch_w[last : following + 1] - (low_w + high_w) / 2.0
        # From the last reading on this side of the middle to the first one on the other.
        k = int(np.argmax(np.sign(beyond_w) != np.sign(beyond_w[0])))
        share = beyond_w[k - 1] / (beyond_w[k - 1] - beyond_w[k])
        found.append(float(last + k - 1 + share))
    return found
