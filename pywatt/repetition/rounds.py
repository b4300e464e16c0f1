"""Combine the blocks of several rounds into one energy for each kind, and choose the next round."""

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

# This many blocks more than kinds determine the spread.
LEAST_REPEATED = 3

# Smallest spread of a kind: the readings' own noise may hide it in a few blocks.
LEAST_SPREAD = 8e-4

# Mean of the absolute value of a normal error of standard deviation 1.
MEAN_ABSOLUTE = float(np.sqrt(2.0 / np.pi))

# Blocks whose calls took this many times longer than usual measure waiting, not the calls.
MOSTLY_WAITED = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class KindEnergies:
    """Energy above idle of one call of each kind, each of shape (kinds,); NaN where not known.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the spread over blocks, of a drift that all kinds
            have in common only what could not be separated.
        call_s: time of a call in its blocks.
        blocks: effective number of its blocks.
        spread: standard deviation of one block as a share of the energy.
        drift_std: that of the slow drift of all kinds together, a number.
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
    kinds: int,
    least_spread: float = LEAST_SPREAD,
) -> KindEnergies:
    """Average each kind's blocks, freed of the slow drift that all kinds have in common."""
    kind = np.array([block.kind for block in blocks], dtype=np.int64)
    block_s = np.array([block.call_s for block in blocks])
    call_j, call_j_std, call_s = (np.full(kinds, np.nan) for _ in range(3))
    count, spread = np.zeros(kinds), np.full(kinds, ASSUMED_SPREAD)
    valid = (kind >= 0) & np.isfinite(energies.call_j)
    for k in range(kinds):
        mine = valid & (kind == k)
        if not np.any(mine):
            continue
        usual_s = np.quantile(block_s[mine], 0.5, method="lower")
        valid[mine] = block_s[mine] <= MOSTLY_WAITED * usual_s
        mine &= valid
        # Blocks that the sensor saw in full count alike, others less.
        weight = 1.0 / np.maximum(energies.call_j_std[mine], 1e-12) ** 2
        weight = np.minimum(weight, 2.0 * np.median(weight))
        weight /= np.sum(weight)
        call_j[k] = float(weight @ energies.call_j[mine])
        call_j_std[k] = float(np.sqrt(weight**2 @ energies.call_j_std[mine] ** 2))
        call_s[k] = float(np.mean(block_s[mine]))
        count[k] = 1.0 / float(weight @ weight)
    drift_std = 0.0
    valid[valid] &= call_j[kind[valid]] > 0
    known, index = np.unique(kind[valid], return_inverse=True)
    if np.count_nonzero(valid) < len(known) + LEAST_REPEATED:
        # Too few blocks were repeated to show how much they differ.
        call_j_std = np.hypot(call_j_std, ASSUMED_SPREAD * np.abs(call_j))
    else:
        mean_j = call_j[known]
        levels = fit_levels(
            np.array([(block.start_s + block.end_s) / 2.0 for block in blocks])[valid],
            index,
            energies.call_j[valid] / mean_j[index],
            (energies.call_j_std[valid] / mean_j[index]) ** 2,
            least_spread,
        )
        call_j[known] = mean_j * levels.level
        call_j_std[known] = mean_j * levels.level_std
        spread[known], drift_std = levels.spread, levels.drift_std
    return KindEnergies(call_j, call_j_std, call_s, count, spread, drift_std)


def next_round(
    weight: FloatArray, spread: FloatArray, blocks: FloatArray, slots: int, least: int
) -> list[int]:
    """Choose the kinds of a round: one block each at first, then where a block helps most.

    Args:
        weight: energy of each kind in the real pass.
        spread: standard deviation of one block as a share of the energy.
        blocks: how many each has had.
        slots: how many blocks the round may have.
        least: how many blocks each shall have before any gets more than others.
    """
    had = blocks.astype(np.float64).copy()
    chosen: list[int] = []
    for _ in range(slots):
        # What one more block takes off the standard deviation, of which the sum over kinds counts.
        std = weight * spread
        gain = std * (1.0 / np.sqrt(np.maximum(had, 0.1)) - 1.0 / np.sqrt(had + 1.0))
        gain = np.where(had < least, gain + 1e6 * np.max(std, initial=1e-300), gain)
        best = int(np.argmax(gain))
        chosen.append(best)
        had[best] += 1.0
    return chosen


def expected_wrong(
    found: KindEnergies, calls_per_s: FloatArray, own_share: FloatArray, todo: Sequence[int]
) -> float:
    """Return the energy that is expected on the wrong kind, as a share of all of it."""
    wrong_w = MEAN_ABSOLUTE * float(np.sum((calls_per_s * found.call_j_std)[todo]))
    own_w = np.divide(own_share * found.call_j, found.call_s)[todo]
    all_w = float(np.sum(own_w))
    return wrong_w / all_w if all_w > 0 else np.inf
