"""From the blocks of several rounds to one figure for each work, and which to run next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywatt.replay.blocks import Block, BlockEnergies

FloatArray = npt.NDArray[np.float64]

# The spread of a work that ran in few blocks is taken from its own and from all works' together, as
# if those had been so many blocks more.
POOLED_BLOCKS = 4.0

# Spread before anything is known, as a share of the energy.
ASSUMED_SPREAD = 0.02

# No work's spread is smaller: the readings' own noise may hide it in a few blocks.
LEAST_SPREAD = 5e-4


@dataclass(frozen=True, slots=True, eq=False)
class WorkEnergies:
    """Energy above idle of one call of each work, each of shape (works,); NaN where not known.

    Attributes:
        call_j: the energy.
        call_j_std: one standard deviation by the spread over blocks.
        call_s: time of a call in its blocks.
        blocks: how many told it.
        spread: standard deviation of one block as a share of the energy.
    """

    call_j: FloatArray
    call_j_std: FloatArray
    call_s: FloatArray
    blocks: FloatArray
    spread: FloatArray


def combine(blocks: list[Block], energies: BlockEnergies, works: int) -> WorkEnergies:
    """Average each work's blocks, by their weights."""
    work = np.array([block.work for block in blocks])
    block_s = np.array([block.call_s for block in blocks])
    weight = 1.0 / np.maximum(energies.call_j_std, 1e-12) ** 2
    call_j, call_s, count = np.full(works, np.nan), np.full(works, np.nan), np.zeros(works)
    squares, own_var = np.zeros(works), np.zeros(works)
    for k in range(works):
        mine = (work == k) & np.isfinite(energies.call_j)
        if not np.any(mine):
            continue
        # Blocks that the sensor saw in full count alike, others less.
        w = np.minimum(weight[mine], 2.0 * np.median(weight[mine]))
        w = w / np.sum(w)
        mean_j = float(w @ energies.call_j[mine])
        call_j[k], call_s[k] = mean_j, float(np.mean(block_s[mine]))
        count[k] = 1.0 / float(w @ w)
        if mean_j > 0:
            relative = energies.call_j[mine] / mean_j - 1.0
            n = len(relative)
            squares[k] = float(w @ relative**2) * n
            own_var[k] = float(w**2 @ energies.call_j_std[mine] ** 2) / mean_j**2
    degrees = np.maximum(count - 1.0, 0.0)
    total = float(np.sum(degrees))
    pooled = float(np.sum(squares)) / total if total > 0 else ASSUMED_SPREAD**2
    spread = np.sqrt((squares + POOLED_BLOCKS * pooled) / (degrees + POOLED_BLOCKS))
    spread = np.maximum(spread, LEAST_SPREAD)
    with np.errstate(divide="ignore"):
        share = np.sqrt(np.maximum(spread**2 / count, own_var))
    call_j_std = np.abs(call_j) * share
    return WorkEnergies(call_j, call_j_std, call_s, count, spread)


def next_round(
    weight: FloatArray, spread: FloatArray, blocks: FloatArray, slots: int, least: int = 2
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
