"""Closure: energies from replay corrected by the energy of the run."""

import math

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W

from pywatt.attribution.result import PathTimes
from pywatt.metering.energies import WindowEnergy
from pywatt.replay.closure import apply_closure
from pywatt.replay.path_estimate import NameEstimate
from pywatt.spans.columns import CallPaths

# A container (0) around two leaves (1, 2), called 10 times.
PATHS = CallPaths.of(
    np.array([0, 1, 2], np.int32), np.array([-1, 0, 0], np.int32), np.array([True, True, True])
)
TIMES = PathTimes(np.full(3, 10.0), np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 3.0]))


def closure_of(call_j, total_j, total_std=0.0, duration_s=5.0):
    names = NameEstimate(np.array(call_j), 0.01 * np.array(call_j), IDLE_W, 0.0)
    return apply_closure(names, PATHS, TIMES, duration_s, WindowEnergy(total_j, total_std))


def test_idle_energy_is_shared_by_time_and_the_rest_by_replay():
    # Above idle 200 J, 100 J of the first leaf, 70 J of the second: 30 J are the container's own.
    energies, closure = closure_of([20.0, 10.0, 7.0], 200.0 + 5.0 * IDLE_W)
    assert energies.self_energy_j == pytest.approx([90.0, 160.0, 250.0])
    assert energies.energy_j == pytest.approx([500.0, 160.0, 250.0])
    assert energies.outside_j == pytest.approx(0.0, abs=1e-9)
    assert closure.factor == pytest.approx(1.0)


def test_the_sum_is_the_measured_energy():
    energies, closure = closure_of([20.0, 10.0, 7.0], 550.0, total_std=5.5)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(550.0)
    assert closure.factor == pytest.approx(1.1)
    assert closure.factor_std >= 5.5 / 500.0
    # Idle power is known: the energy above it was 1.25 times as much.
    assert energies.self_energy_j == pytest.approx([97.5, 185.0, 267.5])
    # But it may have changed with the rest, and all would be 1.1 times as much.
    away_j = np.array([99.0 - 97.5, 176.0 - 185.0, 275.0 - 267.5])
    assert np.all(energies.self_energy_j_std >= np.abs(away_j) / math.sqrt(12.0))


def test_what_was_not_replayed_takes_the_remainder():
    energies, closure = closure_of([math.nan, 10.0, math.nan], 500.0)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(500.0)
    # 60 W of idle power and the 100 J of replay, changed a little by the correction.
    assert energies.self_energy_j[1] == pytest.approx(160.0, rel=0.01)
    assert energies.self_energy_j_std[2] > 0.2 * energies.self_energy_j[2]
    assert energies.self_energy_j_std[1] < 0.05 * energies.self_energy_j[1]
    assert closure.factor == pytest.approx(1.0, abs=0.01)


def test_energy_of_a_container_that_was_not_replayed_is_not_its_containers_own():
    """A container around a container around a leaf, each with 1 s of its own at 20 W above idle.

    The middle one was not replayed: the outer one's energy without the leaf belongs to both.
    """
    paths = CallPaths.of(
        np.array([0, 1, 2], np.int32), np.array([-1, 0, 1], np.int32), np.ones(3, dtype=bool)
    )
    times = PathTimes(np.full(3, 10.0), np.array([3.0, 2.0, 1.0]), np.ones(3))
    names = NameEstimate(np.array([6.0, math.nan, 2.0]), np.full(3, 0.01), IDLE_W, 0.0)
    energies, closure = apply_closure(names, paths, times, 3.0, WindowEnergy(3 * 80.0, 0.1))
    away_j = np.abs(energies.self_energy_j - 80.0)
    assert np.all(away_j <= 2.0 * energies.self_energy_j_std)
    assert energies.self_energy_j_std[0] > 5.0
    assert closure.consistent


def test_time_outside_has_idle_power():
    energies, _ = closure_of([20.0, 10.0, 7.0], 200.0 + 8.0 * IDLE_W, duration_s=8.0)
    assert energies.outside_j == pytest.approx(3.0 * IDLE_W)


def test_a_run_below_idle_power_has_no_negative_energy():
    energies, closure = closure_of([20.0, 10.0, 7.0], 200.0, total_std=100.0, duration_s=8.0)
    assert np.all(energies.self_energy_j >= 0.0)
    assert 0.0 <= energies.outside_j <= 200.0
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(200.0)
    assert closure.factor >= 0.0
    assert type(closure.factor) is float


def test_no_deviation_exceeds_half_the_total():
    names = NameEstimate(np.array([20.0, 10.0, 7.0]), np.full(3, 1e6), IDLE_W, 0.0)
    energies, _ = apply_closure(names, PATHS, TIMES, 5.0, WindowEnergy(500.0, 0.0))
    assert np.all(energies.self_energy_j_std <= 250.0)
    assert np.all(energies.energy_j_std <= 250.0)


def test_a_replay_that_the_run_contradicts_is_inconsistent():
    energies, closure = closure_of([40.0, 20.0, 14.0], 200.0 + 5.0 * IDLE_W)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(500.0)
    assert closure.factor == pytest.approx(500.0 / 700.0)
    assert np.all(energies.self_energy_j_std > 0.15 * energies.self_energy_j)
