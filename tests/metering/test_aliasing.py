"""A load that repeats nearly as often as its power is published, and those that look like it."""

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W, Load
from fakes.polled_meter import meter, pattern

from pywatt.metering.aliasing import aliased_stretches
from pywatt.metering.caveats import caveats
from pywatt.metering.source import Source, window_energy

SEEDS = range(3)


def watched(steps, seed, *, duration_s=14.0, **options):
    """Load and source of work between idle, read from before it until after it.

    A second of warm-up shows how fast the sensor is.
    """
    random = np.random.default_rng(seed)
    work = pattern(steps, 1.0, 1.0 + duration_s, idle_after=True)
    time_s = np.concatenate(([-100.0, -2.0, -1.0], work.time_s[1:]))
    load = Load(time_s, np.concatenate(([IDLE_W, 300.0, IDLE_W], work.power_w[1:])))
    source = meter(load, -3.0, duration_s + 2.0, random, **options)
    return load, Source.of(source.power), random


def on_and_off(period_s, duty=0.5):
    return [(duty * period_s, 300.0), ((1.0 - duty) * period_s, 100.0)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "steps", [on_and_off(0.103), on_and_off(0.0982), on_and_off(0.0515), on_and_off(0.103, 0.35)]
)
def test_windows_under_aliasing_have_the_mean_power_of_the_load(steps, seed):
    load, source, random = watched(steps, seed)
    starts_s = np.append(1.0, random.uniform(1.0, 13.0, 20))
    found = [window_energy(source, start_s, start_s + 1.0) for start_s in starts_s]
    truth_j = load.energy_j(starts_s + 1.0) - load.energy_j(starts_s)
    away_j = np.array([one.energy_j for one in found]) - truth_j
    assert np.max(np.abs(away_j) / truth_j) <= 0.1
    assert np.max(np.abs(away_j) / [one.energy_j_std for one in found]) <= 2.0
    assert "rise and fall evenly every" in next(caveats([source]))


def test_the_cycle_is_that_of_load_and_sensor_against_each_other():
    _, source, _ = watched(on_and_off(0.103), 0)
    assert source.aliasing_cycles_s == pytest.approx([1.0 / (1.0 / 0.1 - 1.0 / 0.103)], rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (on_and_off(4.0), {}),
        ([(1.0, 300.0)], {}),
        (on_and_off(0.37), {}),
        # Slow averages show a sudden change gradually.
        (on_and_off(4.0), {"window_s": 1.0}),
        (on_and_off(4.0), {"window_s": 0.4}),
        (on_and_off(4.0), {"window_s": 0.2}),
    ],
    ids=["slow", "steady", "fast", "average of 1 s", "average of 0.4 s", "average of 0.2 s"],
)
def test_readings_of_other_loads_are_not_aliased(steps, options, seed):
    _, source, _ = watched(steps, seed, **options)
    assert source.aliasing_cycles_s == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_aliased_if_the_sensor_may_be_slow(seed):
    """The same load from long before until after the trace: all changes are gradual."""
    random = np.random.default_rng(seed)
    load = pattern(on_and_off(0.103), -5.0, 20.0, idle_after=False)
    source = Source.of(meter(load, 0.0, 14.0, random).power)
    assert source.aliasing_cycles_s == ()


def test_a_load_taken_for_aliasing_in_error_is_within_its_deviation():
    """A load that itself rises and falls evenly for seconds looks like aliasing."""
    up = np.linspace(100.0, 300.0, 41)
    steps = [(0.05, float(power_w)) for power_w in (*up, *up[::-1])]
    load, source, random = watched(steps, 0)
    assert len(source.aliasing_cycles_s) == 1
    starts_s = random.uniform(1.0, 13.0, 30)
    found = [window_energy(source, start_s, start_s + 1.0) for start_s in starts_s]
    truth_j = load.energy_j(starts_s + 1.0) - load.energy_j(starts_s)
    away_j = [one.energy_j for one in found] - truth_j
    assert np.max(np.abs(away_j) / [one.energy_j_std for one in found]) <= 3.0


def test_a_few_readings_show_no_aliasing():
    for reading_w in ([], [60.0], [60.0, 60.0, 300.0, 300.0], [60.0] * 9):
        assert aliased_stretches(np.array(reading_w), np.full(len(reading_w), 0.1)) == ()


def test_an_aliased_stretch_by_hand():
    """Idle, then 0 to 8 and back in steps of 1 W above 100 W, with pauses at neither end."""
    way_w = np.abs((np.arange(48) + 8) % 16 - 8.0) * 10.0 + 100.0
    reading_w = np.concatenate((np.full(5, 20.0), way_w, np.full(5, 20.0)))
    (stretch,) = aliased_stretches(reading_w, np.full(len(reading_w), 0.1))
    assert (stretch.first, stretch.end) == (5, 53)
    assert stretch.mean_w == pytest.approx(140.0)
    assert stretch.cycle_s == pytest.approx(1.6)
