"""Blocks of several kinds combined, and which kinds come next."""

import math

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W

from pywatt.repetition.blocks import Block
from pywatt.repetition.rounds import combine, next_round
from pywatt.repetition.solve import BlockEnergies


def test_the_spread_of_blocks_is_the_uncertainty():
    blocks = [Block(0, np.array([float(b), b + 1.0]), np.array([0.0, 10.0])) for b in range(4)]
    call_j = np.array([1.0, 1.1, 0.9, 1.0])
    energies = BlockEnergies(call_j, np.full(4, 1e-3), IDLE_W, 0.1, np.zeros(4))
    found = combine(blocks, energies, 2)
    assert found.call_j[0] == pytest.approx(1.0)
    # Alone, the pool is its own: the square root of 0.02 / 3, over 4 blocks. A search finds it.
    assert found.call_j_std[0] == pytest.approx(math.sqrt(0.02 / 3 / 4), rel=0.02)
    assert found.drift_std < 0.01
    assert found.blocks[0] == pytest.approx(4.0)
    assert math.isnan(found.call_j[1])


def test_a_block_that_mostly_waited_does_not_count():
    """One call in 50 ms, since the host was busy: what was drawn meanwhile is not its own."""
    blocks = [Block(0, np.array([k, k + 0.05]), np.array([0.0, 5000.0])) for k in range(8)]
    blocks[3] = Block(0, np.array([3, 3.05]), np.array([0.0, 1.0]))
    call_j = np.full(8, 1e-5) * (1.0 + 0.01 * np.array([1, -1, 1, 0, -1, 1, -1, 0]))
    call_j[3] = 0.05
    energies = BlockEnergies(call_j, np.full(8, 1e-7), IDLE_W, 0.0, np.zeros(8))
    found = combine(blocks, energies, 1)
    assert found.call_j[0] == pytest.approx(1e-5, rel=0.02)
    assert found.call_j_std[0] < 1e-6
    assert found.call_s[0] == pytest.approx(1e-5)


def test_blocks_go_where_they_help_most():
    weight, spread = np.array([10.0, 1.0, 1.0]), np.array([0.01, 0.01, 0.01])
    assert sorted(next_round(weight, spread, np.zeros(3), 4, 1)) == [0, 0, 1, 2]
    assert sorted(next_round(weight, spread, np.zeros(3), 6, 2)) == [0, 0, 1, 1, 2, 2]
    assert next_round(weight, spread, np.full(3, 2.0), 3, 2) == [0, 0, 0]
    # One that varies a lot needs more than one of the same energy that does not.
    noisy = next_round(np.ones(3), np.array([0.01, 0.05, 0.01]), np.full(3, 2.0), 2, 2)
    assert noisy == [1, 1]
