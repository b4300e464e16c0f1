"""Solve a sensor's readings of blocks of equal calls for the energy of one call.

A reading is the mean power of an interval. While a block runs, that is the idle power and, for each
call in the interval, the energy of a call above idle. So every reading is one linear equation, and
those whose interval lies wholly inside a block are accurate to the sensor's resolution. The others
are as good as the times at which their intervals begin and end are known.
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

# Weights depend on the powers at the edges of the intervals, which the fit determines.
ITERATIONS = 3

# Deviation of the prior, as a multiple of its value: too wide to bias the fit.
VAGUENESS = 30.0

# A block's energy counts if its deviation is below this share of the prior's value.
RESOLVED_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class BlockEnergies:
    """Energy of one call above idle in each block, in J, shape (blocks,); NaN if not resolved.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the readings' own noise.
        idle_w: power while nothing runs.
        idle_w_std: one standard deviation of it.
        per_idle_s: change of `call_j` per W of idle power, whose error all blocks have in common.
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
    # The prior: any block may have twice the mean power or none, idle likewise.
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
    resolved = std < RESOLVED_SHARE * assumed
    if not resolved[-1]:
        return None
    return BlockEnergies(
        np.where(resolved, found, np.nan)[:-1],
        np.where(resolved, std, np.nan)[:-1],
        float(found[-1]),
        float(std[-1]),
        covariance[:-1, -1] / covariance[-1, -1],
    )
