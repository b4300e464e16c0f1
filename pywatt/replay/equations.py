"""Readings of blocks as linear equations, weighted by how well each reading is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.replay.blocks import Block, Readings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Within a call power is not even: standard deviation over its parts, as a share of the call's own.
UNEVEN = 0.3


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

    def weighted(self, power_w: FloatArray, noise_w: float) -> FloatArray:
        """The shares times the inverse of the readings' covariance.

        Args:
            power_w: power above idle of each block, and idle power.
            noise_w: standard deviation of the power itself.
        """
        from scipy.linalg import solveh_banded  # takes a moment to import

        band = np.zeros((2, len(self.power_w)))
        band[1] = noise_w**2 + self.edge_var(power_w)
        if self.counted:
            # One that ends late has what the next one lacks.
            common = self.start.energy_var(power_w)[1:] / (self.length_s[1:] * self.length_s[:-1])
            band[0, 1:] = np.where(self.joined[1:], -common, 0.0)
        return np.asarray(solveh_banded(band, self.shares))

    def edge_var(self, power_w: FloatArray) -> FloatArray:
        """Variance of the mean power by the edges of the intervals."""
        if self.counted:
            both = self.start.energy_var(power_w) + self.end.energy_var(power_w)
            return np.asarray(both / self.length_s**2)
        level_w = _level_w(power_w)
        step_w = level_w[self.end.block] - level_w[self.start.block]
        moved = (step_w * self.end.std_s / self.length_s) ** 2
        above_w = np.append(power_w[:-1], 0.0)[self.end.block]
        part = np.minimum(1.0, self.end.call_s / self.length_s)
        return np.asarray(moved + (UNEVEN * above_w * part) ** 2)

    def noise_from(self, found: FloatArray, power_w: FloatArray, least_w: float) -> float:
        """Noise that explains what the fit leaves, robustly: by the median."""
        residual_w = self.power_w - self.shares @ found
        excess = residual_w**2 - self.edge_var(power_w)
        # The median of the square of a normal variable is 0.455 of its variance.
        return max(least_w, float(np.sqrt(max(0.0, float(np.median(excess)) / 0.455))))


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Beginnings or ends of intervals.

    Attributes:
        block: index of the block that runs there, the number of blocks for none.
        std_s: how well the moment is known.
        call_s: time of one of the block's calls.
        part: how much of a call is done there, 0 to 1.
    """

    block: IntArray
    std_s: FloatArray
    call_s: FloatArray
    part: FloatArray

    @classmethod
    def of(cls, time_s: FloatArray, std_s: FloatArray, blocks: Sequence[Block]) -> _Edges:
        starts = np.array([block.start_s for block in blocks])
        ends = np.array([block.end_s for block in blocks])
        index = np.searchsorted(starts, time_s, side="right") - 1
        running = np.where((index >= 0) & (time_s < ends[index]), index, len(blocks))
        call_s = np.array([*(block.call_s for block in blocks), 0.0])[running]
        into_s = time_s - np.append(starts, 0.0)[running]
        part = np.divide(into_s, call_s, where=call_s > 0, out=np.zeros(len(time_s))) % 1.0
        return cls(running, std_s, call_s, part)

    def only(self, keep: npt.NDArray[np.bool_]) -> _Edges:
        return _Edges(self.block[keep], self.std_s[keep], self.call_s[keep], self.part[keep])

    def energy_var(self, power_w: FloatArray) -> FloatArray:
        """Variance of the energy up to each, by its moment and by the call that it cuts."""
        above_w = np.append(power_w[:-1], 0.0)[self.block]
        timing_j = _level_w(power_w)[self.block] * self.std_s
        # A call's energy so far is known at its beginning and at its end.
        cut_j = UNEVEN * above_w * self.call_s * np.sqrt(self.part * (1.0 - self.part))
        return np.asarray(timing_j**2 + cut_j**2)


def _level_w(power_w: FloatArray) -> FloatArray:
    """Power while each block runs, and idle power last."""
    return np.append(power_w[:-1] + power_w[-1], power_w[-1])
