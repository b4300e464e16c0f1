"""From a sensor's readings of blocks of equal calls to the energy of one call: pure mathematics.

A reading is the mean power of an interval. While a block runs, that is the idle power and, for each
call in the interval, the energy of a call above idle. So every reading is one linear equation, and
those whose interval lies wholly inside a block are good to the sensor's resolution. The others are
worth as much as the instants are known at which their intervals begin and end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.attribution.lattice import is_fine, poll_period_s
from pywatt.attribution.sensor_model import SensorModel
from pywatt.trace import Trace

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# No sensor is better than this share of its reading.
LEAST_NOISE = 2e-4

# Weights depend on the powers at the edges of the intervals, which come out of the fit.
ITERATIONS = 3

# Where a sensor's averaging window is not known, it is taken to be so many periods at most.
UNKNOWN_WINDOW_PERIODS = 2.0

# What is assumed may be off by so many times itself: enough to solve, too little to pull.
VAGUENESS = 10.0

# A block's energy counts where the readings tell it better than this share of what was assumed.
TOLD_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Calls of one kind, back to back.

    Attributes:
        work: what was called; below 0 for the passes in between, of which nothing is asked.
        mark_s: moments from the first call's beginning to the last one's end, shape (marks,).
        done: calls done at each, from 0 on, shape (marks,).
    """

    work: int
    mark_s: FloatArray
    done: FloatArray

    @property
    def start_s(self) -> float:
        """When the first call began."""
        return float(self.mark_s[0])

    @property
    def end_s(self) -> float:
        """When the last call was done."""
        return float(self.mark_s[-1])

    @property
    def calls(self) -> float:
        """How many calls there were."""
        return float(self.done[-1])

    @property
    def call_s(self) -> float:
        """Mean time of one call."""
        return (self.end_s - self.start_s) / self.calls


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Mean powers of intervals, each of shape (n,).

    Attributes:
        start_s: when each interval begins.
        end_s: when it ends.
        power_w: its mean power.
        edge_std_s: how well its edges are known.
        counted: whether its energy was counted, so that an edge that is off by t adds its power
            times t, where a mean power only moves.
        inside_only: whether the interval is a bound, of which only some part was averaged.
        noise_w: standard deviation of the power itself, so far as it is known beforehand.
    """

    start_s: FloatArray
    end_s: FloatArray
    power_w: FloatArray
    edge_std_s: FloatArray
    counted: bool
    inside_only: bool
    noise_w: float


@dataclass(frozen=True, slots=True, eq=False)
class BlockEnergies:
    """Energy of one call above idle in each block, in J, shape (blocks,); NaN where not told.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the readings' own noise.
        idle_w: power while nothing runs.
        idle_w_std: one standard deviation of it.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    idle_w: float
    idle_w_std: float


def readings_of(trace: Trace, model: SensorModel, blocks: Sequence[Block]) -> Readings | None:
    """Read a trace as mean powers of intervals; None where it cannot be."""
    if is_fine(trace):
        return _fine_readings(trace, blocks)
    lattice = model.lattice
    if lattice is None or len(lattice.time_s) < 2:
        return None
    time_s, std_s = lattice.time_s, lattice.time_s_std
    if trace.power_w is None:
        start_s, end_s, first, last = _counted_intervals(time_s, blocks)
        power_w = (lattice.reading[last] - lattice.reading[first]) / (end_s - start_s)
        noise_w = model.resolution / float(np.median(end_s - start_s)) / np.sqrt(6.0)
        edge_std_s = np.hypot(std_s[first], std_s[last]) / np.sqrt(2.0)
        return Readings(start_s, end_s, power_w, edge_std_s, True, False, noise_w)
    noise_w = model.resolution / np.sqrt(12.0)
    if model.window_s is None or model.window_s_std is None:
        bound_s = UNKNOWN_WINDOW_PERIODS * lattice.period_s
        return Readings(time_s - bound_s, time_s, lattice.reading, std_s, False, True, noise_w)
    end_s = time_s - (model.delay_s or 0.0)
    # Only together are window and delay known so badly: a window's edge is known as a change is.
    edge_std_s = np.hypot(std_s, min(model.window_s_std, model.delay_s_std or np.inf))
    return Readings(
        end_s - model.window_s, end_s, lattice.reading, edge_std_s, False, False, noise_w
    )


def _fine_readings(trace: Trace, blocks: Sequence[Block]) -> Readings:
    """One reading a block, and one for each pause between two, of a sensor that sees them all."""
    edge_s = np.array([edge for block in blocks for edge in (block.start_s, block.end_s)])
    edge_s = np.unique(np.clip(edge_s, trace.start_s, trace.end_s))
    start_s, end_s = edge_s[:-1], edge_s[1:]
    power_w = trace.integrate(start_s, end_s) / (end_s - start_s)
    # By the rate: readings that repeat the one before are not kept.
    edge_std_s = np.full(len(start_s), poll_period_s(trace) / np.sqrt(12.0))
    return Readings(start_s, end_s, power_w, edge_std_s, True, False, 0.0)


def _counted_intervals(
    time_s: FloatArray, blocks: Sequence[Block]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Intervals between a counter's moves; those wholly inside one block are taken together."""
    edges = sorted(edge for block in blocks for edge in (block.start_s, block.end_s))
    phase = np.searchsorted(np.asarray(edges), time_s)
    kept = np.ones(len(time_s), dtype=bool)
    kept[1:-1] = (phase[1:-1] != phase[:-2]) | (phase[1:-1] != phase[2:])
    index = np.flatnonzero(kept)
    return time_s[index[:-1]], time_s[index[1:]], index[:-1], index[1:]


def solve(readings: Sequence[Readings], blocks: Sequence[Block]) -> BlockEnergies | None:
    """Find the energy of a call in each block, and the idle power, from all readings together.

    Weighted least squares with a weak prior; None where there are no readings.
    """
    systems = [_System.of(part, blocks) for part in readings]
    systems = [system for system in systems if len(system.power_w)]
    if not systems:
        return None
    mean_w = float(np.mean(np.concatenate([system.power_w for system in systems])))
    call_s = np.array([block.call_s for block in blocks])
    # Before anything is known: any block may have twice the mean power or none, idle likewise.
    assumed = np.append(mean_w * call_s, mean_w)
    found, power_w = assumed / 2, np.full(len(blocks) + 1, mean_w / 2)
    noise = [max(system.noise_w, LEAST_NOISE * mean_w) for system in systems]
    for _ in range(ITERATIONS):
        information = np.diag(1.0 / (VAGUENESS * assumed) ** 2)
        right = information @ (assumed / 2)
        for k, system in enumerate(systems):
            weight = 1.0 / (noise[k] ** 2 + system.edge_var(power_w))
            information += system.shares.T @ (weight[:, None] * system.shares)
            right += system.shares.T @ (weight * system.power_w)
        covariance = np.linalg.inv(information)
        found = covariance @ right
        power_w = np.append(found[:-1] / call_s, found[-1])
        for k, system in enumerate(systems):
            noise[k] = system.noise_from(found, power_w, max(system.noise_w, LEAST_NOISE * mean_w))
    std = np.sqrt(np.diag(covariance))
    told = std < TOLD_SHARE * assumed
    if not told[-1]:
        return None
    return BlockEnergies(
        np.where(told, found, np.nan)[:-1],
        np.where(told, std, np.nan)[:-1],
        float(found[-1]),
        float(std[-1]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """Linear equations: shares @ (energy of a call in each block, idle power) = power.

    Attributes:
        shares: calls per second of each block in each interval, and 1, shape (n, blocks + 1).
        power_w: right-hand side, shape (n,).
        before: which block runs at each interval's beginning, the last index for none.
        after: which at its end.
        edge_s: how well the edges are known as a share of the interval's length, shape (n,).
        counted: see `Readings`.
        noise_w: see `Readings`.
    """

    shares: FloatArray
    power_w: FloatArray
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    edge_s: FloatArray
    counted: bool
    noise_w: float

    @classmethod
    def of(cls, readings: Readings, blocks: Sequence[Block]) -> _System:
        lengths_s = readings.end_s - readings.start_s
        shares = np.ones((len(lengths_s), len(blocks) + 1))
        first_s = min((block.start_s for block in blocks), default=0.0)
        last_s = max((block.end_s for block in blocks), default=0.0)
        keep = (readings.start_s > first_s) & (readings.end_s < last_s)
        for b, block in enumerate(blocks):
            began = np.interp(readings.start_s, block.mark_s, block.done)
            ended = np.interp(readings.end_s, block.mark_s, block.done)
            shares[:, b] = (ended - began) / lengths_s
        starts = np.array([block.start_s for block in blocks])
        ends = np.array([block.end_s for block in blocks])

        def running(time_s: FloatArray) -> npt.NDArray[np.int64]:
            index = np.searchsorted(starts, time_s, side="right") - 1
            return np.where((index >= 0) & (time_s < ends[index]), index, len(blocks))

        before, after = running(readings.start_s), running(readings.end_s)
        if readings.inside_only:
            crossing = np.count_nonzero(shares[:, :-1], axis=1) > 1
            keep &= (before == after) & ~crossing
            idle = before == len(blocks)
            keep &= ~idle | (np.count_nonzero(shares[:, :-1], axis=1) == 0)
        return cls(
            shares[keep],
            readings.power_w[keep],
            before[keep],
            after[keep],
            (readings.edge_std_s / lengths_s)[keep],
            readings.counted,
            readings.noise_w,
        )

    def edge_var(self, power_w: FloatArray) -> FloatArray:
        """Variance of the mean power by the edges; `power_w` above idle of each block, and idle."""
        level_w = np.append(power_w[:-1] + power_w[-1], power_w[-1])
        if self.counted:
            var: FloatArray = (
                level_w[self.before] ** 2 + level_w[self.after] ** 2
            ) * self.edge_s**2
            return var
        moved: FloatArray = ((level_w[self.after] - level_w[self.before]) * self.edge_s) ** 2
        return moved

    def noise_from(self, found: FloatArray, power_w: FloatArray, least_w: float) -> float:
        """Noise that explains what the fit leaves, robustly: by the median."""
        residual_w = self.power_w - self.shares @ found
        excess = residual_w**2 - self.edge_var(power_w)
        # The median of the square of a normal variable is 0.455 of its variance.
        return max(least_w, float(np.sqrt(max(0.0, float(np.median(excess)) / 0.455))))
