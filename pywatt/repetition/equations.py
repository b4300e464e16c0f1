"""Readings of blocks as linear equations, weighted by how well each reading is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.repetition.blocks import Block, Readings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Power within a call is uneven: standard deviation over its parts, as a share of the call's own.
# That is assumed until this many readings that cut calls, beyond those needed for the blocks, show
# how uneven it is here.
UNEVEN = 0.3
CUT_READINGS = 4.0

# An edge may be off by this many of its standard deviations.
REACH_STDS = 3.0


@dataclass(frozen=True, slots=True)
class Noise:
    """Errors of readings, as standard deviations.

    Attributes:
        power_w: of the power itself.
        uneven: of the power over the parts of a call, as a share of the call's own.
    """

    power_w: float
    uneven: float = UNEVEN


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """Linear equations: shares @ (energy of a call in each block, idle power) = power.

    Attributes:
        shares: calls per second of each block in each interval, and 1, shape (n, blocks + 1).
        power_w: right-hand side, shape (n,).
        length_s: length of each interval, shape (n,).
        start: its beginning.
        end: its end.
        joined: whether it begins where the one before it ends, shape (n,).
        counted: see `Readings`.
        noise_w: see `Readings`.
    """

    shares: FloatArray
    power_w: FloatArray
    length_s: FloatArray
    start: _Edges
    end: _Edges
    joined: npt.NDArray[np.bool_]
    counted: bool
    noise_w: float

    @classmethod
    def of(cls, readings: Readings, blocks: Sequence[Block]) -> Equations:
        """Write down the equations of all readings between the first block and the last."""
        length_s = readings.end_s - readings.start_s
        shares = np.ones((len(length_s), len(blocks) + 1))
        first_s = min((block.start_s for block in blocks), default=0.0)
        last_s = max((block.end_s for block in blocks), default=0.0)
        keep = (readings.start_s > first_s) & (readings.end_s < last_s)
        for b, block in enumerate(blocks):
            began = np.interp(readings.start_s, block.mark_s, block.done)
            ended = np.interp(readings.end_s, block.mark_s, block.done)
            shares[:, b] = (ended - began) / length_s
        start = _Edges.of(readings.start_s, readings.start_std_s, blocks)
        end = _Edges.of(readings.end_s, readings.end_std_s, blocks)
        if readings.inside_only:
            crossing = np.count_nonzero(shares[:, :-1], axis=1) > 1
            keep &= (start.block == end.block) & ~crossing
            idle = start.block == len(blocks)
            keep &= ~idle | (np.count_nonzero(shares[:, :-1], axis=1) == 0)
        joined = np.append(False, readings.start_s[1:] == readings.end_s[:-1])[keep]
        joined[1:] &= np.diff(np.flatnonzero(keep)) == 1
        return cls(
            shares[keep],
            readings.power_w[keep],
            length_s[keep],
            start.only(keep),
            end.only(keep),
            joined & readings.counted,
            readings.counted,
            readings.noise_w,
        )

    def weighted(self, power_w: FloatArray, noise: Noise) -> FloatArray:
        """Return the shares times the inverse of the readings' covariance.

        Args:
            power_w: power above idle of each block, and idle power.
            noise: errors of the readings.
        """
        from scipy.linalg import solveh_banded  # takes a moment to import

        band = np.zeros((2, len(self.power_w)))
        band[1] = noise.power_w**2 + self._timing_var(power_w) + self._cut_var(power_w, noise)
        if self.counted:
            # An interval that ends late has the energy that the next one lacks.
            common = self.start.timing_var(power_w) + self.start.cut_var(power_w, noise.uneven)
            common = common[1:] / (self.length_s[1:] * self.length_s[:-1])
            band[0, 1:] = np.where(self.joined[1:], -common, 0.0)
        if len(self.power_w) == 1:  # LAPACK's routine takes no matrix of one element
            return np.asarray(self.shares / band[1])
        return np.asarray(solveh_banded(band, self.shares))

    def noise_from(
        self,
        found: FloatArray,
        covariance: FloatArray,
        power_w: FloatArray,
        noise: Noise,
        least_w: float,
    ) -> Noise:
        """Return the noise that explains the residuals of a fit, which assumed another.

        Args:
            found: the fitted energies and idle power.
            covariance: theirs.
            power_w: power above idle of each block, and idle power.
            noise: what the fit assumed.
            least_w: smallest noise of the power.
        """
        squares = (self.power_w - self.shares @ found) ** 2
        timing_var, cut_var = self._timing_var(power_w), self._cut_var(power_w, noise)
        var = noise.power_w**2 + timing_var + cut_var
        # The fit follows each reading as far as no other determines the same.
        free = 1.0 - np.sum((self.shares @ covariance) * self.shares, axis=1) / var
        cut = cut_var > var / 2.0
        degrees = float(np.sum(np.maximum(free[cut], 0.0)))
        uneven = UNEVEN
        if degrees >= CUT_READINGS:
            uneven = noise.uneven * float(np.sqrt(np.sum((squares / var)[cut]) / degrees))
        if np.all(cut):
            return Noise(least_w, uneven)
        excess = float(np.median((squares - timing_var - cut_var)[~cut]))
        # The median of the square of a normal variable is 0.455 of its variance.
        return Noise(max(least_w, float(np.sqrt(max(0.0, excess) / 0.455))), uneven)

    def _timing_var(self, power_w: FloatArray) -> FloatArray:
        """Return the variance of the mean power by the timing of the intervals' edges."""
        if self.counted:
            both = self.start.timing_var(power_w) + self.end.timing_var(power_w)
        else:
            both = self.start.mean_var(power_w, self.power_w)
            both += self.end.mean_var(power_w, self.power_w)
        return np.asarray(both / self.length_s**2)

    def _cut_var(self, power_w: FloatArray, noise: Noise) -> FloatArray:
        """Return the variance of the mean power by the calls that the edges cut."""
        both = self.start.cut_var(power_w, noise.uneven) + self.end.cut_var(power_w, noise.uneven)
        return np.asarray(both / self.length_s**2)


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Beginnings or ends of intervals.

    Attributes:
        block: index of the block that runs there, the number of blocks for none.
        earliest: index of the one that runs REACH_STDS deviations before.
        latest: index of the one that runs as long after.
        std_s: how well the moment is known.
        call_s: time of one of the block's calls.
        part: how much of a call is done there, 0 to 1.
    """

    block: IntArray
    earliest: IntArray
    latest: IntArray
    std_s: FloatArray
    call_s: FloatArray
    part: FloatArray

    @classmethod
    def of(cls, time_s: FloatArray, std_s: FloatArray, blocks: Sequence[Block]) -> _Edges:
        starts = np.array([block.start_s for block in blocks])
        ends = np.array([block.end_s for block in blocks])

        def running(at_s: FloatArray) -> IntArray:
            index = np.searchsorted(starts, at_s, side="right") - 1
            return np.where((index >= 0) & (at_s < ends[index]), index, len(blocks))

        block = running(time_s)
        call_s = np.array([*(block.call_s for block in blocks), 0.0])[block]
        into_s = time_s - np.append(starts, 0.0)[block]
        part = np.divide(into_s, call_s, where=call_s > 0, out=np.zeros(len(time_s))) % 1.0
        reach_s = REACH_STDS * std_s
        return cls(block, running(time_s - reach_s), running(time_s + reach_s), std_s, call_s, part)

    def only(self, keep: npt.NDArray[np.bool_]) -> _Edges:
        return _Edges(
            self.block[keep],
            self.earliest[keep],
            self.latest[keep],
            self.std_s[keep],
            self.call_s[keep],
            self.part[keep],
        )

    def timing_var(self, power_w: FloatArray) -> FloatArray:
        """Return the variance of the energy up to each edge, by its timing."""
        return np.asarray((_level_w(power_w)[self.block] * self.std_s) ** 2)

    def mean_var(self, power_w: FloatArray, mean_w: FloatArray) -> FloatArray:
        """Return the variance of a mean power by each edge's timing, times the length squared.

        Moving an edge does not change the mean where the power is the mean itself.
        """
        level_w = _level_w(power_w)
        places = (self.earliest, self.block, self.latest)
        away_w = np.max([np.abs(level_w[place] - mean_w) for place in places], axis=0)
        return np.asarray((away_w * self.std_s) ** 2)

    def cut_var(self, power_w: FloatArray, uneven: float) -> FloatArray:
        """Return the variance of a call's energy up to each edge; 0 at its beginning and end."""
        above_j = np.append(power_w[:-1], 0.0)[self.block] * self.call_s
        return np.asarray((uneven * above_j) ** 2 * self.part * (1.0 - self.part))


def _level_w(power_w: FloatArray) -> FloatArray:
    """Return the power while each block runs, and idle power last."""
    return np.append(power_w[:-1] + power_w[-1], power_w[-1])
