"""The energy of a call from the readings of its blocks, where all is known exactly."""

import math

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W

from pywatt.repetition.blocks import Block, Readings
from pywatt.repetition.solve import solve

CALL_J = {0: 0.5, 1: 0.02}
CALL_S = {0: 1e-3, 1: 1e-4}


def blocks_in_turn(count, length_s=0.25, gap_s=0.083):
    """Blocks of two kinds in turn, with idle between."""
    blocks = []
    for b in range(count):
        start_s, kind = b * (length_s + gap_s), b % 2
        calls = length_s / CALL_S[kind]
        blocks.append(Block(kind, np.array([start_s, start_s + length_s]), np.array([0.0, calls])))
    return blocks


def true_energy_j(blocks, time_s):
    calls = [CALL_J[b.kind] * np.interp(time_s, b.mark_s, b.done) for b in blocks]
    return IDLE_W * time_s + np.sum(calls, axis=0)


def readings_every(blocks, period_s, window_s, **changes):
    end_s = np.arange(window_s, blocks[-1].end_s, period_s)
    power_w = true_energy_j(blocks, end_s) - true_energy_j(blocks, end_s - window_s)
    fields = {
        "start_s": end_s - window_s,
        "end_s": end_s,
        "power_w": power_w / window_s,
        "start_std_s": np.full(len(end_s), 1e-4),
        "end_std_s": np.full(len(end_s), 1e-4),
        "counted": False,
        "inside_only": False,
        "noise_w": 1e-3,
    }
    return Readings(**fields | changes)


@pytest.mark.parametrize(
    ("period_s", "window_s", "length_s"),
    [(0.1, 0.025, 0.25), (0.1, 0.1, 0.25), (0.02, 0.01, 0.25), (0.1, 1.0, 0.6)],
)
def test_energy_of_a_call_from_the_readings_of_its_blocks(period_s, window_s, length_s):
    blocks = blocks_in_turn(12, length_s)
    found = solve([readings_every(blocks, period_s, window_s)], blocks)
    resolved = np.isfinite(found.call_j)
    assert np.count_nonzero(resolved) >= 10
    expected_j = np.array([CALL_J[b.kind] for b in blocks])
    assert found.call_j[resolved] == pytest.approx(expected_j[resolved], rel=1e-3)
    assert found.idle_w == pytest.approx(IDLE_W, rel=1e-3)


def test_a_counter_and_a_power_are_used_together():
    blocks = blocks_in_turn(12)
    counter = readings_every(blocks, 0.1, 0.1, counted=True)
    power = readings_every(blocks, 0.1, 0.025)
    alone, both = solve([counter], blocks), solve([counter, power], blocks)
    assert np.all(both.call_j_std[1:-1] <= alone.call_j_std[1:-1])
    expected_j = np.array([CALL_J[b.kind] for b in blocks])
    assert both.call_j[1:-1] == pytest.approx(expected_j[1:-1], rel=2e-3)


def test_of_an_unknown_window_only_what_lies_inside_a_block_counts():
    """The true window is 25 ms, its bound 200 ms: whatever crosses an edge must not count."""
    blocks = blocks_in_turn(12, length_s=0.33, gap_s=0.25)
    seen = readings_every(blocks, 0.1, 0.025)
    bound = readings_every(blocks, 0.1, 0.025, start_s=seen.end_s - 0.2, inside_only=True)
    found = solve([bound], blocks)
    resolved = np.isfinite(found.call_j)
    assert np.any(resolved)
    expected_j = np.array([CALL_J[b.kind] for b in blocks])
    assert found.call_j[resolved] == pytest.approx(expected_j[resolved], rel=1e-3)


def test_a_block_that_no_reading_saw_is_not_resolved():
    blocks = blocks_in_turn(12)
    readings = readings_every(blocks, 0.1, 0.025)
    others = (readings.end_s < blocks[3].start_s) | (readings.start_s > blocks[3].end_s)
    columns = {
        name: getattr(readings, name)[others]
        for name in ("start_s", "end_s", "power_w", "start_std_s", "end_std_s")
    }
    found = solve([Readings(**columns, counted=False, inside_only=False, noise_w=1e-3)], blocks)
    assert math.isnan(found.call_j[3])
    assert not math.isnan(found.call_j[5])


def test_no_readings_give_nothing():
    assert solve([], blocks_in_turn(2)) is None
