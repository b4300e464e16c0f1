"""Blocks of equal calls, and a sensor's readings as mean powers of intervals in and around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.metering.freshness import is_fine, poll_period_s
from pywatt.metering.sensor_model import SensorModel
from pywatt.sampling.trace import Trace

FloatArray = npt.NDArray[np.float64]

# Kind of the passes between blocks, whose energy is not asked for, like all kinds below 0.
PASSES = -1

# An unknown averaging window is taken to be this many periods at most.
UNKNOWN_WINDOW_PERIODS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Calls of one kind, back to back.

    Attributes:
        kind: which kind of call; below 0 for passes in between, whose energy is not asked for.
        mark_s: moments from the first call's beginning to the last one's end, shape (marks,).
        done: calls done at each, from 0 on, shape (marks,).
    """

    kind: int
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
        start_std_s: how well its beginning is known.
        end_std_s: how well its end is known.
        counted: whether its energy was counted, from the end of the one before it: an error of
            their edge adds to one what it takes from the other. A mean power only shifts.
        inside_only: whether the interval is a bound, of which only some part was averaged.
        noise_w: standard deviation of the power itself, as far as it is known beforehand.
    """

    start_s: FloatArray
    end_s: FloatArray
    power_w: FloatArray
    start_std_s: FloatArray
    end_std_s: FloatArray
    counted: bool
    inside_only: bool
    noise_w: float


def readings_of(trace: Trace, model: SensorModel, blocks: Sequence[Block]) -> Readings | None:
    """Return a trace as mean powers of intervals; None if its update times are not known."""
    if is_fine(trace):
        return _fine_readings(trace, blocks)
    updates = model.updates
    if updates is None or len(updates.time_s) < 2:
        return None
    time_s, std_s = updates.time_s, updates.time_s_std
    if trace.power_w is None:
        start_s, end_s, first, last = _counted_intervals(time_s, blocks)
        power_w = (updates.reading[last] - updates.reading[first]) / (end_s - start_s)
        noise_w = model.resolution / float(np.median(end_s - start_s)) / np.sqrt(6.0)
        return Readings(start_s, end_s, power_w, std_s[first], std_s[last], True, False, noise_w)
    noise_w = model.resolution / np.sqrt(12.0)
    if model.window_s is None or model.window_s_std is None:
        bound_s = UNKNOWN_WINDOW_PERIODS * updates.period_s
        return Readings(
            time_s - bound_s, time_s, updates.reading, std_s, std_s, False, True, noise_w
        )
    end_s = time_s - (model.delay_s or 0.0)
    # Errors of window and delay are correlated: an edge is known as well as the better of the two.
    edge_std_s = np.hypot(std_s, min(model.window_s_std, model.delay_s_std or np.inf))
    start_s = end_s - model.window_s
    return Readings(start_s, end_s, updates.reading, edge_std_s, edge_std_s, False, False, noise_w)


def _fine_readings(trace: Trace, blocks: Sequence[Block]) -> Readings:
    """Return one reading per block and per pause, of a sensor that is fast enough for all."""
    edge_s = np.array([edge for block in blocks for edge in (block.start_s, block.end_s)])
    edge_s = np.unique(np.clip(edge_s, trace.start_s, trace.end_s))
    start_s, end_s = edge_s[:-1], edge_s[1:]
    power_w = trace.integrate(start_s, end_s) / (end_s - start_s)
    # By the rate: readings that repeat the one before are not kept.
    edge_std_s = np.full(len(start_s), poll_period_s(trace) / np.sqrt(12.0))
    return Readings(start_s, end_s, power_w, edge_std_s, edge_std_s, True, False, 0.0)


def _counted_intervals(
    time_s: FloatArray, blocks: Sequence[Block]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the intervals between a counter's updates, those within one block merged."""
    edges = sorted(edge for block in blocks for edge in (block.start_s, block.end_s))
    phase = np.searchsorted(np.asarray(edges), time_s)
    kept = np.ones(len(time_s), dtype=bool)
    kept[1:-1] = (phase[1:-1] != phase[:-2]) | (phase[1:-1] != phase[2:])
    index = np.flatnonzero(kept)
    return time_s[index[:-1]], time_s[index[1:]], index[:-1], index[1:]
