"""Energy of one call, from blocks of calls with idle between them: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pywatt.metering.sensor_model import SensorModel
from pywatt.repetition.blocks import Block
from pywatt.repetition.rounds import combine
from pywatt.repetition.solve import BlockEnergies

FloatArray = npt.NDArray[np.float64]

CALL = 0  # kind of the blocks whose energy is measured
OTHER = 1  # kind of other blocks of the same call, used for sensor models and for windows
KINDS = 2

# Smallest spread of blocks, as a share of their energy: that of a counter read without noise.
MIN_SPREAD = 1e-5


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
        """Add what another source measured of the same calls."""
        return Figures(
            self.energy_j + other.energy_j,
            float(np.hypot(self.energy_j_std, other.energy_j_std)),
            self.net_j + other.net_j,
            float(np.hypot(self.net_j_std, other.net_j_std)),
            self.idle_w + other.idle_w,
            float(np.hypot(self.idle_w_std, other.idle_w_std)),
            self.call_s,
        )


def call_figures(
    energies: BlockEnergies, models: Sequence[SensorModel], blocks: Sequence[Block]
) -> Figures | None:
    """Average the energy of a call over the blocks; None where it is known in none of them.

    Args:
        energies: energy of a call in each block, from one source.
        models: how its sensors average.
        blocks: all that ran, in order, with nothing but idle between.
    """
    call_s = np.array([block.call_s for block in blocks])
    # An error of idle power is common to all blocks, so repeating does not show it.
    own_var = energies.call_j_std**2 - (energies.per_idle_s * energies.idle_w_std) ** 2
    whole = replace(
        energies,
        call_j=energies.call_j + energies.idle_w * call_s,
        call_j_std=np.sqrt(np.maximum(own_var, 0.0)),
    )
    found = combine(blocks, whole, KINDS, MIN_SPREAD)
    energy_j, mean_s = float(found.call_j[CALL]), float(found.call_s[CALL])
    if not np.isfinite(energy_j):
        return None
    net_j = energy_j - energies.idle_w * mean_s
    mine = np.array([block.kind == CALL for block in blocks]) & np.isfinite(energies.call_j)
    repeated_j = float(found.call_j_std[CALL]) * _student_factor(int(np.count_nonzero(mine)))
    block_s = min(block.end_s - block.start_s for block in blocks if block.kind == CALL)
    window_w = (
        net_j / mean_s * max((_averaging_std(model, block_s) for model in models), default=0.0)
    )
    per_idle_s = float(np.mean(energies.per_idle_s[mine])) + mean_s
    parts_j = (repeated_j, per_idle_s * energies.idle_w_std, window_w * mean_s)
    energy_j_std = float(np.linalg.norm(parts_j))
    idle_w_std = float(np.hypot(energies.idle_w_std, window_w))
    return Figures(
        energy_j=energy_j,
        energy_j_std=energy_j_std,
        net_j=net_j,
        net_j_std=float(np.hypot(energy_j_std, mean_s * idle_w_std)),
        idle_w=energies.idle_w,
        idle_w_std=idle_w_std,
        call_s=mean_s,
    )


def _student_factor(blocks: int) -> float:
    """Return how much wider than normal the mean of few blocks is distributed (Student's t)."""
    return float(np.sqrt((blocks - 1.0) / (blocks - 3.0))) if blocks > 3 else 1.0


def _averaging_std(model: SensorModel, block_s: float) -> float:
    """Return the relative deviation of power due to an uncertain averaging window.

    0 where the window is shorter than a block. Otherwise no reading covers idle or calls alone,
    and all readings share that error.
    """
    if model.window_s is None or model.window_s_std is None or model.window_s < block_s:
        return 0.0
    edges_s = np.hypot(model.window_s_std, model.delay_s_std or model.window_s_std)
    return float(edges_s) / model.window_s


def durations(blocks: Sequence[Block]) -> tuple[float, float]:
    """Return the median time of one call and half the width of the middle 68 %, by calls."""
    time_s, calls = [], []
    for block in blocks:
        begins = np.flatnonzero(np.diff(block.done) > 0)
        # A wait after calls is part of their time.
        time_s.append(np.diff(np.append(block.mark_s[begins], block.end_s)))
        calls.append(np.diff(block.done)[begins])
    weight = np.concatenate(calls)
    each_s = np.concatenate(time_s) / weight
    order = np.argsort(each_s)
    reached = (np.cumsum(weight[order]) - 0.5 * weight[order]) / np.sum(weight)
    low_s, median_s, high_s = np.interp((0.1587, 0.5, 0.8413), reached, each_s[order])
    return float(median_s), float(high_s - low_s) / 2.0
