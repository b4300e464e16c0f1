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

from pywatt.repetition.blocks import Block, Readings
from pywatt.repetition.equations import Equations, Noise

FloatArray = npt.NDArray[np.float64]

# No sensor is better than this share of its reading.
LEAST_NOISE = 2e-4

# Weights depend on the powers at the edges of the intervals, which come out of the fit.
ITERATIONS = 3

# What is assumed may be off by so many times itself: enough to solve, too little to pull.
VAGUENESS = 30.0

# A block's energy counts where the readings tell it better than this share of what was assumed.
TOLD_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class BlockEnergies:
    """Energy of one call above idle in each block, in J, shape (blocks,); NaN where not told.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the readings' own noise.
        idle_w: power while nothing runs.
        idle_w_std: one standard deviation of it.
        per_idle_s: by how many J `call_j` were more for each W that idle power were more: all
            blocks have an error of it in common.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    idle_w: float
    idle_w_std: float
    per_idle_s: FloatArray


def solve(readings: Sequence[Readings], blocks: Sequence[Block]) -> BlockEnergies | None:
    """Find the energy of a call in each block, and the idle power, from all readings together.

    Weighted least squares with a weak prior; None where there are no readings, or no power.
    """
    systems = [Equations.of(part, blocks) for part in readings]
    systems = [system for system in systems if len(system.power_w)]
    if not systems:
        return None
    mean_w = float(np.mean(np.concatenate([system.power_w for system in systems])))
    if mean_w <= 0.0:
        return None
    call_s = np.array([block.call_s for block in blocks])
    # Before anything is known: any block may have twice the mean power or none, idle likewise.
    assumed = np.append(mean_w * call_s, mean_w)
    found, power_w = assumed / 2, np.full(len(blocks) + 1, mean_w / 2)
    least_w = [max(system.noise_w, LEAST_NOISE * mean_w) for system in systems]
    noise = [Noise(power_w) for power_w in least_w]
    for _ in range(ITERATIONS):
        information = np.diag(1.0 / (VAGUENESS * assumed) ** 2)
        right = information @ (assumed / 2)
        for k, system in enumerate(systems):
            weighted = system.weighted(power_w, noise[k])
            information += weighted.T @ system.shares
            right += weighted.T @ system.power_w
        covariance = np.linalg.inv((information + information.T) / 2)
        found = covariance @ right
        power_w = np.append(found[:-1] / call_s, found[-1])
        for k, system in enumerate(systems):
            noise[k] = system.noise_from(found, covariance, power_w, noise[k], least_w[k])
    std = np.sqrt(np.diag(covariance))
    told = std < TOLD_SHARE * assumed
    if not told[-1]:
        return None
    return BlockEnergies(
        np.where(told, found, np.nan)[:-1],
        np.where(told, std, np.nan)[:-1],
        float(found[-1]),
        float(std[-1]),
        covariance[:-1, -1] / covariance[-1, -1],
    )
