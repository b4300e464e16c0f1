"""From the blocks of several rounds to one figure for each work, and which to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.repetition.blocks import Block
from pywatt.repetition.drift import fit_levels
from pywatt.repetition.solve import BlockEnergies

FloatArray = npt.NDArray[np.float64]

# Spread before anything is known, as a share of the energy.
ASSUMED_SPREAD = 0.02

# So many blocks more than works tell the spread.
LEAST_REPEATED = 3

# No work's spread is smaller: the readings' own noise may hide it in a few blocks.
LEAST_SPREAD = 8e-4

# Mean of the absolute value of a normal error of standard deviation 1.
MEAN_ABSOLUTE = float(np.sqrt(2.0 / np.pi))

# Blocks whose calls took so many times longer than usual tell of the waiting, not of the work.
MOSTLY_WAITED = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class WorkEnergies:
    """Energy above idle of one call of each work, each of shape (works,); NaN where not known.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the spread over blocks, of a drift that all works
            have in common only what could not be told.
        call_s: time of a call in its blocks.
        blocks: how many told it.
        spread: standard deviation of one block as a share of the energy.
        drift_std: that of the slow drift of all works together, a number.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    call_s: FloatArray
    blocks: FloatArray
    spread: FloatArray
    drift_std: float


def combine(
    blocks: Sequence[Block],
    energies: BlockEnergies,
    works: int,
    least_spread: float = LEAST_SPREAD,
) -> WorkEnergies:
    """Average each work's blocks, freed of the slow drift that all works have in common."""
    work = np.array([block.work for block in blocks], dtype=np.int64)
    block_s = np.array([block.call_s for block in blocks])
    call_j, call_j_std, call_s = (np.full(works, np.nan) for _ in range(3))
    count, spread = np.zeros(works), np.full(works, ASSUMED_SPREAD)
    told = (work >= 0) & np.isfinite(energies.call_j)
    for k in range(works):
        mine = told & (work == k)
        if not np.any(mine):
            continue
        usual_s = np.quantile(block_s[mine], 0.5, method="lower")
        told[mine] = block_s[mine] <= MOSTLY_WAITED * usual_s
        mine &= told
        # Blocks that the sensor saw in full count alike, others less.
        weight = 1.0 / np.maximum(energies.call_j_std[mine], 1e-12) ** 2
        weight = np.minimum(weight, 2.0 * np.median(weight))
        weight /= np.sum(weight)
        call_j[k] = float(weight @ energies.call_j[mine])
        call_j_std[k] = float(np.sqrt(weight**2 @ energies.call_j_std[mine] ** 2))
        call_s[k] = float(np.mean(block_s[mine]))
        count[k] = 1.0 / float(weight @ weight)
    drift_std = 0.0
    told[told] &= call_j[work[told]] > 0
    known, index = np.unique(work[told], return_inverse=True)
    if np.count_nonzero(told) < len(known) + LEAST_REPEATED:
        # Nothing was repeated that would tell how much blocks differ.
        call_j_std = np.hypot(call_j_std, ASSUMED_SPREAD * np.abs(call_j))
    else:
        mean_j = call_j[known]
        levels = fit_levels(
            np.array([(block.start_s + block.end_s) / 2.0 for block in blocks])[told],
            index,
            energies.call_j[told] / mean_j[index],
            (energies.call_j_std[told] / mean_j[index]) ** 2,
            least_spread,
        )
        call_j[known] = mean_j * levels.level
        call_j_std[known] = mean_j * levels.level_std
        spread[known], drift_std = levels.spread, levels.drift_std
    return WorkEnergies(call_j, call_j_std, call_s, count, spread, drift_std)


def next_round(
    weight: FloatArray, spread: FloatArray, blocks: FloatArray, slots: int, least: int
) -> list[int]:
    """Choose the works of a round: one block each at first, then where a block helps most.

    Args:
        weight: energy of each work in the real pass.
        spread: standard deviation of one block as a share of the energy.
        blocks: how many each has had.
        slots: how many blocks the round may have.
        least: how many blocks each shall have before any gets more than others.
    """
    had = blocks.astype(np.float64).copy()
    chosen: list[int] = []
    for _ in range(slots):
        # What one more block takes off the standard deviation, of which the sum over works counts.
        std = weight * spread
        gain = std * (1.0 / np.sqrt(np.maximum(had, 0.1)) - 1.0 / np.sqrt(had + 1.0))
        gain = np.where(had < least, gain + 1e6 * np.max(std, initial=1e-300), gain)
        best = int(np.argmax(gain))
        chosen.append(best)
        had[best] += 1.0
    return chosen


def expected_wrong(
    found: WorkEnergies, calls_per_s: FloatArray, own_share: FloatArray, todo: Sequence[int]
) -> float:
    """Energy that is expected on the wrong work, as a share of all of it."""
    wrong_w = MEAN_ABSOLUTE * float(np.sum((calls_per_s * found.call_j_std)[todo]))
    own_w = np.divide(own_share * found.call_j, found.call_s)[todo]
    all_w = float(np.sum(own_w))
    return wrong_w / all_w if all_w > 0 else np.inf
