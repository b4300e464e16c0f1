"""Regression of readings on what ran: misattributed energy, honest deviations and refusals."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
from fakes.boxcar_meter import IDLE_W, Load, Meter, phases, real_trace, spans_in_columns
from threadpoolctl import threadpool_limits

from pywatt.attribution import regression
from pywatt.attribution.regression_fit import fit_powers
from pywatt.attribution.result import PathEnergies, PathTimes
from pywatt.errors import AttributionError
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source, window_energy
from pywatt.metering.updates import update_times
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import Span, SpanBlock, Spans

EIGHT_W = np.array([400.0, 120.0, 250.0, 310.0, 180.0, 350.0, 150.0, 280.0])
EIGHT_S = np.array([6.1, 6.2, 4.4, 3.0, 1.5, 3.6, 3.7, 1.5]) * 1e-3  # passes of 30 ms
TWENTY_S = np.random.default_rng(1).permutation(np.geomspace(20e-6, 1e-3, 20))
TWENTY_W = np.random.default_rng(2).uniform(150.0, 700.0, 20)
BREATHING = Meter(jitter_s=3e-4)


@dataclass(frozen=True)
class Run:
    """Passes through layers, the truth, and what the simulated meter and the regression say."""

    truth_j: np.ndarray
    energies: PathEnergies
    verdict: regression.Verdict

    @property
    def misattributed(self):
        wrong_j = np.sum(np.abs(self.energies.self_energy_j - self.truth_j))
        return wrong_j / np.sum(self.truth_j)

    @property
    def deviations(self):
        away_j = self.energies.self_energy_j - self.truth_j
        return np.abs(away_j) / self.energies.self_energy_j_std


def passes(layer_s, layer_w, starts_s, drift=0.0, end_s=20.0):
    """Load and edges of passes through all layers that begin at starts_s, idle in between."""
    edge_s = starts_s[:, None] + np.concatenate(([0.0], np.cumsum(layer_s)))
    power_w = np.column_stack(
        (np.tile(layer_w, (len(starts_s), 1)), np.full(len(starts_s), IDLE_W))
    )
    power_w[:, :-1] *= 1.0 + drift * edge_s[:, :-1] / end_s
    return Load.of(edge_s.ravel(), power_w.ravel()[:-1]), edge_s


def jittered(rng, pass_s, end_s=20.0, longest_gap_s=0.02):
    gaps_s = rng.uniform(0.0, longest_gap_s, int((end_s - 1.0) / (pass_s + longest_gap_s / 2)) - 5)
    return 0.5 + np.cumsum(pass_s + gaps_s)


def run(
    seed,
    layer_s=EIGHT_S,
    layer_w=EIGHT_W,
    meter=BREATHING,
    *,
    starts_s=None,
    end_s=20.0,
    drift=0.0,
    clock_s=0.0,
    known=True,
    total_std=0.002,
):
    rng = np.random.default_rng(seed)
    if starts_s is None:
        starts_s = jittered(rng, np.sum(layer_s), end_s)
    load, edge_s = passes(layer_s, layer_w, starts_s, drift, end_s)
    trace, _ = meter.watch(load, end_s, rng)
    layers = len(layer_s)
    truth_j = np.sum(load.energy_j(edge_s[:, 1:]) - load.energy_j(edge_s[:, :-1]), axis=0)
    name = np.tile(np.arange(layers), len(starts_s))
    begins_s, ends_s = edge_s[:, :-1].ravel() + clock_s, edge_s[:, 1:].ravel() + clock_s
    spans = spans_in_columns(name, begins_s, ends_s, [f"layer{k}" for k in range(layers)])
    if known:
        updates = update_times(trace)
        model = SensorModel(updates, 0.01, meter.window_s, 2e-4, meter.delay_s, 3e-4)
    else:
        model = characterize(trace, spans)
    first_s, last_s = edge_s[0, 0] - 0.2, edge_s[-1, -1] + 0.2
    total_j = float(load.energy_j(last_s) - load.energy_j(first_s))
    total = WindowEnergy(total_j, total_std * total_j)
    times = PathTimes.of(spans)
    energies, verdict = regression.regress(trace, model, spans, times, first_s, last_s, total)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(total_j, rel=1e-9)
    return Run(truth_j, energies, verdict)


def test_eight_layers_are_separated_and_their_deviations_are_honest():
    runs = [run(seed) for seed in range(20)]
    assert max(each.misattributed for each in runs) <= 0.025
    assert all(each.verdict.believable for each in runs)
    within = np.mean(np.concatenate([each.deviations for each in runs]) <= 2.0)
    assert 0.90 <= within <= 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_steady_sensor_is_better_still(seed):
    assert run(seed, meter=Meter(period_s=0.10003)).misattributed <= 0.01


@pytest.mark.parametrize("seed", range(3))
def test_window_and_delay_can_come_from_the_load_itself(seed):
    each = run(seed, known=False)
    assert each.misattributed <= 0.025
    assert each.verdict.believable


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_drift_of_power_is_followed(seed):
    each = run(seed, drift=0.05)
    assert each.misattributed <= 0.025
    assert each.verdict.drift == pytest.approx(0.045, abs=0.01)  # over the readings' 18 s


@pytest.mark.parametrize("clock_s", [-0.001, 0.001, 0.002])
@pytest.mark.parametrize("seed", range(3))
def test_a_clock_error_is_found_as_delay(seed, clock_s):
    each = run(seed, clock_s=clock_s)
    assert each.misattributed <= 0.025
    assert each.verdict.delay_s == pytest.approx(-clock_s, abs=1.5e-4)


@pytest.mark.parametrize("longest_gap_s", [1e-9, 2e-3])
@pytest.mark.parametrize("seed", range(3))
def test_many_short_layers_are_not_believed(seed, longest_gap_s):
    rng = np.random.default_rng(seed)
    starts_s = jittered(rng, np.sum(TWENTY_S), longest_gap_s=longest_gap_s)
    each = run(seed, TWENTY_S, TWENTY_W, starts_s=starts_s)
    assert each.misattributed > 0.05
    assert not each.verdict.believable
    assert "cannot separate the modules" in each.verdict.reason


@pytest.mark.parametrize("noise_w", [0.02, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_load_locked_to_the_period_is_not_believed(seed, noise_w):
    starts_s = 0.5 + 0.1 * np.arange(185)
    each = run(seed, meter=Meter(noise_w=noise_w), starts_s=starts_s)
    assert not each.verdict.believable
    assert each.verdict.misattributed > 0.3
    assert np.mean(each.deviations <= 2.0) >= 0.85


def test_few_readings_give_wide_deviations():
    short = run(0, starts_s=jittered(np.random.default_rng(0), 0.03, 2.5), end_s=2.5)
    assert short.verdict.readings < 25
    assert short.verdict.misattributed > 0.03
    assert np.mean(short.deviations <= 2.0) >= 0.85


def test_fewer_readings_than_make_sense_are_refused():
    with pytest.raises(AttributionError, match="too few"):
        run(0, starts_s=0.5 + 0.045 * np.arange(8), end_s=1.2)


def test_a_window_that_is_not_known_is_refused():
    trace = Trace(time_s=np.array([0.0, 1.0]), power_w=np.array([1.0, 2.0]))
    spans = Spans.of([Span("a", 0.0, 1.0)])
    with pytest.raises(AttributionError, match="characterize"):
        regression.regress(
            trace,
            SensorModel(None, 0.0),
            spans,
            PathTimes.of(spans),
            0.0,
            1.0,
            WindowEnergy(1.0, 0.0),
        )


def test_a_counter_in_place_of_power():
    rng = np.random.default_rng(0)
    starts_s = jittered(rng, 0.4, longest_gap_s=0.3)
    load, edge_s = passes(np.array([0.1, 0.2, 0.1]), np.array([400.0, 120.0, 250.0]), starts_s)
    published_s = 0.03 + 0.1 * np.arange(200)
    polled_s = Meter(late_s=0.003).polls(20.0, rng)
    polled_s = polled_s[polled_s >= published_s[0]]
    shown = published_s[np.searchsorted(published_s, polled_s, side="right") - 1]
    trace = Trace(time_s=polled_s, energy_j=load.energy_j(shown) - load.energy_j(shown[0]))
    name = np.tile(np.arange(3), len(starts_s))
    begins_s, ends_s = edge_s[:, :-1].ravel(), edge_s[:, 1:].ravel()
    spans = spans_in_columns(name, begins_s, ends_s, ["a", "b", "c"])
    total_j = load.energy_j(19.9) - load.energy_j(0.2)
    energies, verdict = regression.regress(
        trace,
        characterize(trace),
        spans,
        PathTimes.of(spans),
        0.2,
        19.9,
        WindowEnergy(float(total_j), 1.0),
    )
    truth_j = np.sum(load.energy_j(edge_s[:, 1:]) - load.energy_j(edge_s[:, :-1]), axis=0)
    assert energies.self_energy_j == pytest.approx(truth_j, rel=0.01)
    assert verdict.believable


def test_a_total_that_differs_is_shared_in_proportion_and_reported():
    rng = np.random.default_rng(0)
    load, edge_s = passes(EIGHT_S, EIGHT_W, jittered(rng, 0.03))
    trace, _ = BREATHING.watch(load, 20.0, rng)
    name = np.tile(np.arange(8), len(edge_s))
    spans = spans_in_columns(
        name, edge_s[:, :-1].ravel(), edge_s[:, 1:].ravel(), [f"layer{k}" for k in range(8)]
    )
    total_j = float(load.energy_j(19.8) - load.energy_j(0.2))
    model = SensorModel(update_times(trace), 0.01, 0.025, 2e-4, 0.0, 3e-4)
    results = [
        regression.regress(
            trace, model, spans, PathTimes.of(spans), 0.2, 19.8, WindowEnergy(gain * total_j, 0.0)
        )
        for gain in (1.0, 1.08)
    ]
    (plain, plain_verdict), (scaled, scaled_verdict) = results
    assert scaled.self_energy_j == pytest.approx(1.08 * plain.self_energy_j, rel=1e-9)
    assert plain_verdict.total_ratio == pytest.approx(1.0, abs=0.005)
    assert scaled_verdict.total_ratio == pytest.approx(1.08, abs=0.005)
    assert plain_verdict.notes == ()
    assert "disagree" in scaled_verdict.notes[0]


def test_nested_and_recursive_calls():
    """A container's own work, a child of the same name as its parent, and the sums of both."""
    rng = np.random.default_rng(0)
    spans, time_s, power_w = [], [], []
    at_s = 0.5
    own_s = {"outer": 0.0, "inner": 0.0}
    while at_s < 18.5:
        step_s = rng.uniform(0.02, 0.06, 5)
        edge_s = at_s + np.concatenate(([0.0], np.cumsum(step_s)))
        outer = Span("outer", edge_s[0], edge_s[5])
        inner = Span("inner", edge_s[1], edge_s[4], outer)
        spans += [outer, inner, Span("outer", edge_s[2], edge_s[3], inner)]
        own_s["outer"] += step_s[0] + step_s[2] + step_s[4]
        own_s["inner"] += step_s[1] + step_s[3]
        time_s += [*edge_s]
        power_w += [300.0, 100.0, 300.0, 100.0, 300.0, IDLE_W]
        at_s = edge_s[5] + rng.uniform(0.0, 0.05)
    load = Load.of(np.array(time_s), np.array(power_w[:-1]))
    trace, _ = Meter(period_s=0.10003).watch(load, 20.0, rng)
    model = SensorModel(update_times(trace), 0.01, 0.025, 2e-4, 0.0, 3e-4)
    columns = Spans.of(spans)
    total = WindowEnergy(float(load.energy_j(19.5) - load.energy_j(0.2)), 1.0)
    energies, _ = regression.regress(trace, model, columns, PathTimes.of(columns), 0.2, 19.5, total)
    outer, inner, again = energies.self_energy_j
    assert outer + again == pytest.approx(300.0 * own_s["outer"], rel=0.01)
    assert inner == pytest.approx(100.0 * own_s["inner"], rel=0.02)
    assert energies.energy_j == pytest.approx([outer + inner + again, inner + again, again])
    assert np.all(energies.energy_j_std > 0)


def test_modules_in_several_threads_are_not_believed():
    rng = np.random.default_rng(0)
    load, edge_s = passes(np.array([0.02, 0.03]), np.array([300.0, 100.0]), jittered(rng, 0.05))
    trace, _ = BREATHING.watch(load, 20.0, rng)
    one = spans_in_columns(
        np.tile([0, 1], len(edge_s)), edge_s[:, :-1].ravel(), edge_s[:, 1:].ravel(), ["a", "b"]
    )
    block = next(one.blocks())
    thread = np.arange(len(block.path), dtype=np.uint32) % 2
    spans = Spans(one.names, one.paths, [SpanBlock(block.start_s, block.end_s, block.path, thread)])
    model = SensorModel(update_times(trace), 0.01, 0.025, 2e-4, 0.0, 3e-4)
    _, verdict = regression.regress(
        trace, model, spans, PathTimes.of(spans), 0.2, 19.8, WindowEnergy(4000.0, 1.0)
    )
    assert not verdict.believable
    assert "threads" in verdict.reason


def test_real_square_wave_against_the_meter():
    trace, recorded = real_trace("a100_square")
    edge_s = recorded["load_edge_s"]
    spans = phases(edge_s)
    first_s, last_s = edge_s[0] - 0.5, edge_s[-1] + 0.5
    total = window_energy(Source.of(trace), first_s, last_s)
    model = characterize(trace, spans)
    times = PathTimes.of(spans)
    energies, verdict = regression.regress(trace, model, spans, times, first_s, last_s, total)
    phase = np.searchsorted(edge_s, recorded["meter_time_s"], side="right")
    running = (phase > 0) & (phase < len(edge_s))
    on_w = np.mean(recorded["meter_power_w"][running & (phase % 2 == 1)])
    off_w = np.mean(recorded["meter_power_w"][running & (phase % 2 == 0)])
    assert (on_w, off_w) == (pytest.approx(188.0, abs=0.5), pytest.approx(70.0, abs=0.5))
    power_w = energies.self_energy_j / times.self_time_s
    assert power_w == pytest.approx([on_w, off_w], rel=0.10)
    # The same without the help of the polled total.
    assert power_w / verdict.total_ratio == pytest.approx([on_w, off_w], rel=0.10)
    assert verdict.believable


@pytest.mark.alone
def test_a_million_spans_of_two_hundred_names_take_two_seconds():
    rng = np.random.default_rng(0)
    length_s = rng.uniform(10e-6, 30e-6, 1_000_000)
    edge_s = 0.5 + np.concatenate(([0.0], np.cumsum(length_s)))
    name = np.tile(np.arange(200), 5000)
    load = Load.of(edge_s, rng.uniform(100.0, 400.0, 200)[name])
    trace, _ = BREATHING.watch(load, edge_s[-1] + 0.5, rng)
    spans = spans_in_columns(name, edge_s[:-1], edge_s[1:], [f"layer{k}" for k in range(200)])
    model = SensorModel(update_times(trace), 0.01, 0.025, 2e-4, 0.0, 3e-4)
    times = PathTimes.of(spans)
    total = WindowEnergy(float(load.energy_j(edge_s[-1]) - load.energy_j(edge_s[0])), 1.0)
    # Its own CPU time on one core: threads of the linear algebra spin where others use the machine.
    window = (edge_s[0], edge_s[-1])
    took_s = []
    with threadpool_limits(1):
        for _ in range(3):  # a machine that is busy with other work makes it longer only
            began_s = time.process_time()
            _, verdict = regression.regress(trace, model, spans, times, *window, total)
            took_s.append(time.process_time() - began_s)
    assert min(took_s) < 2.0
    assert not verdict.believable


def test_powers_that_the_readings_do_not_determine_keep_their_prior():
    """Half of each window in each of two names: only their mean is known."""
    reading_w = 200.0 + 0.1 * np.random.default_rng(0).standard_normal(100)
    fit = fit_powers(np.full((100, 2), 0.5), reading_w, np.zeros((100, 0)), 0.01, np.ones(100))
    assert fit.power_w == pytest.approx([200.0, 200.0], abs=0.1)
    assert np.sqrt(fit.covariance[0, 0]) > 50.0
    both = np.array([0.5, 0.5])
    assert np.sqrt(both @ fit.covariance @ both) == pytest.approx(0.01, rel=0.2)


def test_powers_that_the_readings_determine_are_least_squares():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([0.3, 0.3, 0.3], 200)
    power_w = np.array([300.0, 100.0, 60.0])
    noise_w = rng.standard_normal(200)
    fit = fit_powers(shares, shares @ power_w + noise_w, np.zeros((200, 0)), 0.01, np.ones(200))
    squares_w = np.linalg.lstsq(shares, shares @ power_w + noise_w, rcond=None)[0]
    assert fit.power_w == pytest.approx(squares_w, abs=0.02)
    expected = np.sqrt(np.diag(np.linalg.inv(shares.T @ shares)))
    assert np.sqrt(np.diag(fit.covariance)) == pytest.approx(expected, rel=0.15)
    assert fit.explained > 0.99
