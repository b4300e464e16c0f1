"""What a sensor's readings mean, found from its trace and a known load; simulated and real."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W, Load, Meter, phases, real_trace, spans_in_columns

from pywatt.metering.exposure import Exposure
from pywatt.metering.sensor_model import characterize
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Span, Spans

SEEDS = range(5)


def restless(rng, end_s=20.0):
    """A load that changes all the time, so that hardly two readings are the same."""
    edge_s = np.cumsum(rng.uniform(0.01, 0.06, int(end_s / 0.035)))
    return Load.of(edge_s, rng.uniform(100.0, 400.0, len(edge_s) - 1))


def on_and_off(rng, shortest_s=0.03, longest_s=0.17, end_s=19.0):
    edge_s = 0.5 + np.cumsum(rng.uniform(shortest_s, longest_s, int(end_s / longest_s)))
    power_w = np.where(np.arange(len(edge_s) - 1) % 2 == 0, 300.0, 80.0)
    return Load.of(edge_s, power_w), edge_s


def nearest(published_s, at_s):
    right = np.clip(np.searchsorted(published_s, at_s), 1, len(published_s) - 1)
    return right - (at_s - published_s[right - 1] < published_s[right] - at_s)


# Polls 1 ms apart and up to 5 ms late; sensor and host have clocks of their own, so that the
# updates drift along the polls. Where they keep step, or the sensor jitters, polls alone bound it.
TIMINGS = {
    "steady": (Meter(period_s=0.10003, late_s=0.005), 0.05e-3, 0.15e-3),
    "steady, 20 ms": (Meter(period_s=0.02001, late_s=0.005), 0.05e-3, 0.15e-3),
    "in step with the polls": (Meter(late_s=0.005), 0.2e-3, 0.3e-3),
    "some jitter": (Meter(jitter_s=0.0003, late_s=0.005), 0.2e-3, 1.0e-3),
    "much jitter": (Meter(jitter_s=0.0012, late_s=0.005), 0.3e-3, 1.5e-3),
    "stalling polls": (Meter(period_s=0.10003, late_s=0.005, stall_s=0.15), 0.05e-3, 0.3e-3),
}


@pytest.mark.parametrize("name", TIMINGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_update_instants_are_known_better_than_polls(name, seed):
    meter, middle_s, nearly_all_s = TIMINGS[name]
    rng = np.random.default_rng(seed)
    trace, published_s = meter.watch(restless(rng), 20.0, rng)
    model = characterize(trace)
    away_s = np.abs(model.updates_s - published_s[nearest(published_s, model.updates_s)])
    assert np.median(away_s) < middle_s
    assert np.quantile(away_s, 0.99) < nearly_all_s
    mean_s = np.mean(np.diff(published_s))
    assert model.period_s == pytest.approx(mean_s, abs=4 * model.period_s_std + 2e-6)
    assert len(model.updates_s) >= 0.95 * 20.0 / meter.period_s


@pytest.mark.parametrize("jitter_s", [0.0003, 0.001, 0.003])
def test_jitter_is_found(jitter_s):
    rng = np.random.default_rng(0)
    trace, _ = Meter(jitter_s=jitter_s).watch(restless(rng, 60.0), 60.0, rng)
    assert characterize(trace).jitter_s == pytest.approx(jitter_s, rel=0.15)


@pytest.mark.parametrize("repeated", [0.5, 0.85])
@pytest.mark.parametrize("seed", SEEDS)
def test_updates_that_did_not_change_the_value_do_not_shift_the_others(repeated, seed):
    rng = np.random.default_rng(seed)
    published_s = 0.03 + 0.1 * np.arange(300)
    value = np.round(rng.uniform(50.0, 400.0, 300), 2)
    for k in range(1, 300):
        value[k] = value[k - 1] if rng.random() < repeated else value[k]
    polled_s = Meter(late_s=0.005).polls(30.0, rng)
    polled_s = polled_s[polled_s >= published_s[0]]
    shown = np.searchsorted(published_s, polled_s, side="right") - 1
    model = characterize(Trace(time_s=polled_s, power_w=value[shown]))
    found = nearest(published_s, model.updates_s)
    assert model.period_s == pytest.approx(0.1, rel=1e-4)
    # One instant for each update, and each with what was published then.
    assert np.array_equal(np.unique(found), found)
    assert len(found) >= 297
    assert np.array_equal(model.updates.reading, value[found])


@pytest.mark.parametrize(
    "values",
    [[100.0] * 5000, [100.0] * 2500 + [200.0] * 2500, np.random.default_rng(0).random(5000)],
    ids=["constant", "one change", "fresh at every poll"],
)
def test_a_period_that_does_not_show_is_none(values):
    model = characterize(Trace(time_s=np.arange(5000) * 1e-3, power_w=values))
    assert not model.period_identified
    assert model.period_s is None
    assert "could not determine the sensor's update times" in model.notes[0]


def test_changes_at_random_have_no_period():
    rng = np.random.default_rng(0)
    published_s = np.cumsum(0.005 + rng.exponential(0.1, 200))
    polled_s = np.arange(published_s[0], published_s[-1], 1e-3)
    shown = np.searchsorted(published_s, polled_s, side="right") - 1
    assert not characterize(
        Trace(time_s=polled_s, power_w=rng.random(200)[shown])
    ).period_identified


METERS = {
    "100/25": Meter(jitter_s=3e-4),
    "100/25 late": Meter(jitter_s=3e-4, delay_s=0.01),
    "100/100": Meter(window_s=0.1, jitter_s=3e-4),
    "20/10": Meter(period_s=0.02, window_s=0.01, delay_s=0.003, jitter_s=1e-4),
    "100/1000": Meter(window_s=1.0, jitter_s=3e-4),
}


@pytest.mark.parametrize("name", METERS)
@pytest.mark.parametrize("seed", range(3))
def test_window_and_delay_follow_from_a_known_load(name, seed):
    meter, rng = METERS[name], np.random.default_rng(seed)
    load, edge_s = on_and_off(rng)
    trace, _ = meter.watch(load, 20.0, rng)
    model = characterize(trace, phases(edge_s))
    assert model.window_s == pytest.approx(meter.window_s, abs=3 * model.window_s_std)
    assert model.delay_s == pytest.approx(meter.delay_s, abs=3 * model.delay_s_std)
    assert model.window_s_std < 0.02 * meter.window_s + 0.0005
    assert model.notes == ()


@pytest.mark.parametrize("phase", [0.05, 0.02])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_locked_to_the_period_shows_no_window(seed, phase):
    rng = np.random.default_rng(seed)
    edge_s = 0.5 + np.sort(np.concatenate((np.arange(180) * 0.1, np.arange(180) * 0.1 + phase)))
    power_w = np.where(np.arange(len(edge_s) - 1) % 2 == 0, 300.0, 80.0)
    trace, _ = Meter().watch(Load.of(edge_s, power_w), 20.0, rng)
    model = characterize(trace, phases(edge_s))
    assert model.period_identified
    assert not model.window_identified
    assert not model.delay_identified
    assert len(model.notes) == 1


def test_spans_that_have_nothing_to_do_with_the_readings_show_no_window():
    rng = np.random.default_rng(3)
    load, _ = on_and_off(rng)
    _, other_s = on_and_off(rng)
    trace, _ = Meter().watch(load, 20.0, rng)
    model = characterize(trace, phases(other_s))
    assert not model.window_identified
    assert "explains" in model.notes[0]


def test_a_trace_alone_shows_no_window_and_says_so():
    rng = np.random.default_rng(0)
    trace, _ = Meter().watch(restless(rng), 20.0, rng)
    model = characterize(trace)
    assert model.period_identified
    assert not model.window_identified
    assert "alone" in model.notes[0]


def test_a_counter_has_no_window():
    rng = np.random.default_rng(0)
    trace, _ = Meter().watch(restless(rng), 20.0, rng)
    counter = Trace(time_s=trace.time_s, energy_j=np.cumsum(trace.power_w) * 1e-3)
    steps = np.concatenate(([True], np.diff(trace.power_w) != 0))
    held = np.maximum.accumulate(np.where(steps, counter.energy_j, 0.0))
    model = characterize(Trace(time_s=trace.time_s, energy_j=held))
    assert model.period_s == pytest.approx(0.1, rel=1e-3)
    assert model.window_s == 0.0


def test_resolution_is_the_smallest_step_seen_or_what_the_sensor_says():
    rng = np.random.default_rng(0)
    trace, _ = Meter().watch(restless(rng), 20.0, rng)
    assert characterize(trace).resolution == pytest.approx(0.01, rel=0.01)
    declared = replace(trace, sensor=replace(trace.sensor, resolution=0.25))
    assert characterize(declared).resolution == 0.25


# Period in ms as the mean over the whole trace has it: last change less first, over their number.
REAL = {"a100_steps": 101.15, "3090_steps": 99.97, "a100_square": 101.22, "a100_rise": 101.19}


@pytest.mark.parametrize("name", REAL)
def test_real_periods(name):
    trace, _ = real_trace(name)
    model = characterize(trace)
    assert model.period_s * 1e3 == pytest.approx(REAL[name], rel=2e-3)
    assert model.resolution == pytest.approx(0.01, rel=0.01)


def test_real_a100_window():
    trace, recorded = real_trace("a100_square")
    model = characterize(trace, phases(recorded["load_edge_s"]))
    assert model.window_s == pytest.approx(0.025, abs=0.005)
    assert model.window_s == pytest.approx(0.025, abs=2 * model.window_s_std)
    assert model.delay_identified


def test_one_rise_and_fall_show_no_window():
    trace, recorded = real_trace("a100_rise")
    assert not characterize(trace, phases(recorded["load_edge_s"])).window_identified


def test_exposure_is_own_time_within_each_window():
    outer = Span("outer", 1.0, 2.0)
    spans = Spans.of([outer, Span("inner", 1.2, 1.5, outer), Span("inner", 1.6, 1.7, outer)])
    shares = Exposure(spans).shares(np.array([1.0, 1.3, 1.65, 2.2]), 0.5)
    expected = [[0, 0, 1], [0.4, 0.2, 0.4], [0.2 / 0.5, 0.3 / 0.5, 0], [0.3 / 0.5, 0, 0.4]]
    expected[2] = [(1.65 - 1.15 - 0.35) / 0.5, 0.7, 0.0]
    assert shares == pytest.approx(np.array(expected), abs=1e-12)


def test_exposure_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    edge_s = 1e6 + np.cumsum(rng.exponential(0.01, 401))
    name = rng.integers(0, 7, 400)
    order = rng.permutation(400)
    spans = spans_in_columns(
        name[order], edge_s[:-1][order], edge_s[1:][order], [f"l{i}" for i in range(7)]
    )
    end_s = 1e6 + rng.uniform(-0.1, 4.2, 50)
    shares = Exposure(spans).shares(end_s, 0.05)
    for row, end in zip(shares, end_s, strict=True):
        inside = np.minimum(edge_s[1:], end) - np.maximum(edge_s[:-1], end - 0.05)
        expected = np.bincount(name, np.maximum(inside, 0.0), minlength=7) / 0.05
        assert row[:7] == pytest.approx(expected, abs=1e-6)
        assert np.sum(row) == pytest.approx(1.0, abs=1e-6)


def test_idle_is_what_the_simulated_meter_shows_without_load():
    load = Load.of(np.array([1.0, 2.0]), np.array([300.0]))
    assert load.energy_j(np.array([0.5]))[0] == pytest.approx(99.5 * IDLE_W)
    assert load.energy_j(np.array([3.0]))[0] == pytest.approx(101.0 * IDLE_W + 300.0)
