"""From blocks of one call, and idle between them, to the energy of one call: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.attribution.lattice import is_fine
from pywatt.attribution.sensor_model import SensorModel
from pywatt.attribution.source import Source
from pywatt.replay.blocks import Block, Readings, readings_of
from pywatt.replay.energies import solve
from pywatt.replay.rounds import ASSUMED_SPREAD, WorkEnergies, combine
from pywatt.replay.sensing import sharpened

FloatArray = npt.NDArray[np.float64]

CALL = 0  # work of the blocks whose energy is asked for
OTHER = 1  # work of other blocks of the same call, which tell how sensors see, and windows
WORKS = 2

# A block's edges in a counter's readings are moved into the idle around it by this share of a
# period, so that the update before it and the one after it are taken as its own.
EDGE_SHARE = 0.25

# Blocks from which their own spread tells the uncertainty; what few of them tell is pulled towards
# what is assumed, as if that had been seen in so many blocks.
TELLING_BLOCKS = 4.0
ASSUMED_BLOCKS = 4.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Energy of one call in J and idle power in W, each with one standard deviation.

    Attributes:
        energy_j: energy, idle power included.
        net_j: energy above idle.
        idle_w: idle power.
        call_s: mean time of a call.
    """

    energy_j: float
    energy_j_std: float
    net_j: float
    net_j_std: float
    idle_w: float
    idle_w_std: float
    call_s: float

    def plus(self, other: Figures) -> Figures:
        """Add what another source tells of the same calls."""
        return Figures(
            self.energy_j + other.energy_j,
            float(np.hypot(self.energy_j_std, other.energy_j_std)),
            self.net_j + other.net_j,
            float(np.hypot(self.net_j_std, other.net_j_std)),
            self.idle_w + other.idle_w,
            float(np.hypot(self.idle_w_std, other.idle_w_std)),
            self.call_s,
        )


def needs_window(source: Source) -> bool:
    """Tell whether what a reading averages has to be found out: not of a counter."""
    return source.counter is None and source.power is not None and not is_fine(source.power)


def call_figures(
    source: Source, models: Mapping[str, SensorModel], blocks: Sequence[Block]
) -> Figures | None:
    """Find what one call takes by one source; None where it published too little to tell.

    Args:
        source: its readings while the blocks ran.
        models: what is known of its sensors' windows, by their names.
        blocks: all that ran, in order, with nothing but idle between.
    """
    readings, model = _readings(source, models, blocks)
    energies = None if readings is None else solve([readings], blocks)
    if energies is None:
        return None
    call_s = np.array([block.call_s for block in blocks])
    net = combine(list(blocks), energies, WORKS)
    whole = replace(energies, call_j=energies.call_j + energies.idle_w * call_s)
    found = combine(list(blocks), whole, WORKS)
    energy_j = float(found.call_j[CALL])
    if not np.isfinite(energy_j):
        return None
    # By the weights of the energies, so that power is that of the same blocks.
    told_s = np.where(np.isfinite(energies.call_j), call_s, np.nan)
    mean_s = float(combine(list(blocks), replace(energies, call_j=told_s), WORKS).call_j[CALL])
    block_s = min(block.end_s - block.start_s for block in blocks if block.work == CALL)
    idle_w_std = float(np.hypot(energies.idle_w_std, _common_std_w(model, net, block_s)))
    # What repeating shows does not hold an error of idle, which all blocks have in common.
    idle_j_std = idle_w_std * mean_s
    std_j = float(np.hypot(_repeated_std_j(found), idle_j_std))
    return Figures(
        energy_j,
        std_j,
        float(net.call_j[CALL]),
        float(np.hypot(std_j, idle_j_std)),
        energies.idle_w,
        idle_w_std,
        mean_s,
    )


def _common_std_w(model: SensorModel, net: WorkEnergies, block_s: float) -> float:
    """Deviation of idle power by a window that is not known well, where it is longer than blocks.

    No reading sees idle alone then, and all of them have that error in common.
    """
    if model.window_s is None or model.window_s_std is None or model.window_s < block_s:
        return 0.0
    power_w = float(net.call_j[CALL] / net.call_s[CALL])
    edges_s = float(np.hypot(model.window_s_std, model.delay_s_std or model.window_s_std))
    return abs(power_w) * edges_s / model.window_s


def _repeated_std_j(found: WorkEnergies) -> float:
    """Deviation of the mean over blocks, as wide as so few of them leave it."""
    blocks, std_j = float(found.blocks[CALL]), float(found.call_j_std[CALL])
    if blocks > TELLING_BLOCKS:
        # That of Student's t with so many degrees of freedom.
        return std_j * float(np.sqrt((blocks - 1.0) / (blocks - 3.0)))
    # The same with what is assumed as if it had been seen in some blocks before.
    squares = (blocks - 1.0) * float(found.spread[CALL]) ** 2 if blocks > 1.0 else 0.0
    degrees = max(0.0, blocks - 1.0) + ASSUMED_BLOCKS
    var = (squares + ASSUMED_BLOCKS * ASSUMED_SPREAD**2) / (degrees - 2.0) / blocks
    return max(std_j, abs(float(found.call_j[CALL])) * float(np.sqrt(var)))


def _readings(
    source: Source, models: Mapping[str, SensorModel], blocks: Sequence[Block]
) -> tuple[Readings | None, SensorModel]:
    """What the source's counter read, which misses nothing; its power where there is none."""
    model = SensorModel(None, 0.0)
    for trace in source.traces:
        model = sharpened(trace, models.get(trace.sensor.name), blocks)
        coarse = trace.power_w is None and not is_fine(trace)
        found = readings_of(trace, model, _within_idle(blocks, model) if coarse else blocks)
        if found is not None:
            return found, model
    return None, model


def _within_idle(blocks: Sequence[Block], model: SensorModel) -> list[Block]:
    """Widen blocks to the counter's updates around them.

    A call may draw its power unevenly, and a counter may lag. Neither matters where a block is
    counted whole, with some idle before and after.
    """
    if model.lattice is None:
        return list(blocks)
    update_s, aside_s = model.lattice.time_s, EDGE_SHARE * model.lattice.period_s
    widened = []
    for block in blocks:
        before = update_s[update_s < block.start_s][-1:] - aside_s
        after = update_s[update_s > block.end_s][:1] + aside_s
        edges = [*before, block.start_s, block.end_s, *after]
        widened.append(
            replace(block, mark_s=np.array([edges[0], edges[-1]]), done=block.done[[0, -1]])
        )
    return widened


def durations(blocks: Sequence[Block]) -> tuple[float, float]:
    """Median time of one call, and half the width of the middle 68 %, each call counting alike."""
    time_s, calls = [], []
    for block in blocks:
        begins = np.flatnonzero(np.diff(block.done) > 0)
        # A wait after some calls belongs to them.
        time_s.append(np.diff(np.append(block.mark_s[begins], block.end_s)))
        calls.append(np.diff(block.done)[begins])
    weight = np.concatenate(calls)
    each_s = np.concatenate(time_s) / weight
    order = np.argsort(each_s)
    reached = (np.cumsum(weight[order]) - 0.5 * weight[order]) / np.sum(weight)
    low_s, median_s, high_s = np.interp((0.1587, 0.5, 0.8413), reached, each_s[order])
    return float(median_s), float(high_s - low_s) / 2.0
