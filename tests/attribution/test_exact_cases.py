"""Attribution on cases whose energies are known exactly."""

import time

import numpy as np
import pytest
from fakes.traces import of_sensor

from pywatt.attribution import attribute, by_time, overlap
from pywatt.attribution.problem import Problem, typical_self_time_s
from pywatt.attribution.result import PathTimes, fold_by_name
from pywatt.errors import AttributionError
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.source import Source, window_energy
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import CallPaths, Span, SpanBlock, Spans

# 100 W for 10 s.
CONSTANT = Trace(time_s=np.arange(11.0), power_w=np.full(11, 100.0))
ANY = Source.of(CONSTANT)
# 100 W for 5 s, then 300 W for 5 s.
STEP = Trace(time_s=[0, 5, 10], energy_j=[0, 500, 2000])
MODEL = Span("", 1.0, 9.0)
NESTED = Spans.of(
    [
        MODEL,
        Span("a", 2.0, 4.0, MODEL),
        Span("b", 5.0, 8.0, MODEL),
        Span("b.c", 6.0, 7.0, Span("b", 5.0, 8.0, MODEL)),
        Span("a", 8.0, 8.5, MODEL),
    ]
)


def in_threads(*rows, parents):
    """Spans as (path, start_s, end_s, thread); path i is name i."""
    path, start_s, end_s, thread = zip(*rows, strict=True)
    parent = np.array(parents, dtype=np.int32)
    names = np.arange(len(parents), dtype=np.int32)
    block = SpanBlock(
        np.array(start_s, dtype=float),
        np.array(end_s, dtype=float),
        np.array(path, dtype=np.int32),
        np.array(thread, dtype=np.uint32),
    )
    return Spans([str(name) for name in names], CallPaths(names, parent, parent), [block])


def overlapped(trace, spans, start_s=0.0, end_s=10.0, *, total=None):
    total = total or window_energy(Source.of(trace), start_s, end_s)
    problem = Problem(Source.of(trace), spans, PathTimes.of(spans), start_s, end_s, total)
    return overlap.attribute(problem).energies


def timed(spans, energy_j, start_s=0.0, end_s=10.0, *, std=0.0):
    total = WindowEnergy(energy_j, std)
    times = PathTimes.of(spans)
    return by_time.attribute(Problem(ANY, spans, times, start_s, end_s, total)).energies


def figures(energies):
    return energies.energy_j.tolist(), energies.self_energy_j.tolist(), energies.outside_j


def test_calls_and_times_of_paths():
    times = PathTimes.of(NESTED)
    assert times.calls.tolist() == [1, 2, 1, 1]
    assert times.time_s.tolist() == [8.0, 2.5, 3.0, 1.0]
    assert times.self_time_s.tolist() == [2.5, 2.5, 2.0, 1.0]


@pytest.mark.parametrize(
    "attributed",
    [lambda: overlapped(CONSTANT, NESTED), lambda: timed(NESTED, 1000.0)],
    ids=["overlap", "time"],
)
def test_nested_spans_under_constant_power(attributed):
    assert figures(attributed()) == (
        [800.0, 250.0, 300.0, 100.0],
        [250.0, 250.0, 200.0, 100.0],
        200.0,
    )


def test_overlap_sees_a_step():
    assert figures(overlapped(STEP, NESTED)) == (
        [400.0 + 1200.0, 200.0 + 150.0, 900.0, 300.0],
        [100.0 + 100.0 + 150.0, 350.0, 600.0, 300.0],
        100.0 + 300.0,
    )


def test_overlap_scales_the_curve_to_the_measured_energy():
    energies = overlapped(CONSTANT, NESTED, total=WindowEnergy(500.0, 0.0))
    assert figures(energies) == ([400.0, 125.0, 150.0, 50.0], [125.0, 125.0, 100.0, 50.0], 100.0)


@pytest.mark.parametrize("attributed", [overlapped, lambda trace, *a: timed(a[0], 1000.0, *a[1:])])
def test_only_what_lies_in_the_window_counts(attributed):
    spans = Spans.of([Span("early", -5.0, 1.0), Span("late", 9.5, 20.0), Span("after", 11.0, 12.0)])
    energies = attributed(CONSTANT, spans)
    assert figures(energies) == ([100.0, 50.0, 0.0], [100.0, 50.0, 0.0], 850.0)


def test_the_readings_before_and_after_the_window_do_not_count():
    spans = Spans.of([Span("across", 1.0, 3.0)])
    assert figures(overlapped(CONSTANT, spans, 2.0, 8.0)) == ([100.0], [100.0], 500.0)


def test_a_span_without_length_has_no_energy():
    assert figures(overlapped(STEP, Spans.of([Span("a", 5.0, 5.0)]))) == ([0.0], [0.0], 2000.0)


@pytest.mark.parametrize(
    "attributed",
    [lambda: overlapped(STEP, Spans.of([])), lambda: timed(Spans.of([]), 2000.0)],
    ids=["overlap", "time"],
)
def test_without_spans_all_energy_is_outside(attributed):
    assert figures(attributed()) == ([], [], 2000.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "attributed",
    [
        lambda: overlapped(Trace(time_s=[0, 10], power_w=[0, 0]), NESTED),
        lambda: overlapped(Trace(time_s=[0, 10], energy_j=[7, 7]), NESTED),
        lambda: timed(NESTED, 0.0),
    ],
    ids=["power", "counter", "time"],
)
def test_no_energy_is_shared_as_zero(attributed):
    energies = attributed()
    assert figures(energies) == ([0.0] * 4, [0.0] * 4, 0.0)
    assert np.all(energies.energy_j_std == 0.0)
    assert energies.outside_j_std == 0.0


def test_threads_share_each_moment_equally():
    spans = in_threads((0, 0, 6, 0), (1, 4, 10, 1), parents=[-1, -1])
    assert figures(overlapped(CONSTANT, spans)) == ([500.0, 500.0], [500.0, 500.0], 0.0)
    # 4 s to 5 s at 100 W and 5 s to 6 s at 300 W are shared.
    assert figures(overlapped(STEP, spans)) == ([600.0, 1400.0], [600.0, 1400.0], 0.0)
    assert figures(timed(spans, 1000.0)) == ([500.0, 500.0], [500.0, 500.0], 0.0)


def test_children_take_from_their_thread_s_share():
    spans = in_threads((0, 0, 6, 0), (1, 4, 9, 7), (2, 5, 8, 7), parents=[-1, -1, 1])
    assert figures(overlapped(CONSTANT, spans)) == (
        [500.0, 400.0, 250.0],
        [500.0, 150.0, 250.0],
        100.0,
    )


def test_three_threads_share_in_three():
    spans = in_threads(*((k, 3 * k, 9, k) for k in range(3)), parents=[-1, -1, -1])
    energies = overlapped(CONSTANT, spans)
    assert energies.self_energy_j == pytest.approx([550.0, 250.0, 100.0])
    assert energies.outside_j == pytest.approx(100.0)


def test_threads_share_only_what_lies_in_the_window():
    spans = in_threads((0, -5, 6, 0), (1, 4, 20, 1), parents=[-1, -1])
    assert figures(overlapped(CONSTANT, spans, 2.0, 8.0)) == ([300.0, 300.0], [300.0, 300.0], 0.0)


def test_one_after_another_in_threads_is_as_in_one():
    spans = in_threads((0, 0, 5, 0), (1, 5, 10, 1), parents=[-1, -1])
    assert figures(overlapped(STEP, spans)) == ([500.0, 1500.0], [500.0, 1500.0], 0.0)


def test_the_std_of_overlap_under_constant_power_is_that_of_the_total():
    energies = overlapped(CONSTANT, NESTED, total=WindowEnergy(1000.0, 10.0))
    assert energies.energy_j_std == pytest.approx([8.0, 2.5, 3.0, 1.0])
    assert energies.self_energy_j_std == pytest.approx([2.5, 2.5, 2.0, 1.0])
    assert energies.outside_j_std == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["power", "counter"])
@pytest.mark.parametrize("call_s", [0.0025, 0.005, 0.02, 0.2])
def test_the_std_of_overlap_covers_what_leaks_over_edges(kind, call_s):
    """Calls of 100 W and 300 W in turns, of any phase against readings every 1 ms."""
    random = np.random.default_rng(0)
    calls = int(10.0 / call_s) // 2 * 2
    edge_s = np.concatenate(([0.0], np.cumsum(random.uniform(0.8, 1.2, calls) * call_s)))
    true_w = np.tile([100.0, 300.0], calls // 2)
    true_j = np.concatenate(([0.0], np.cumsum(np.diff(edge_s) * true_w)))
    time_s = np.append(np.arange(0.0, edge_s[-1], 1e-3), edge_s[-1])
    if kind == "power":
        at = np.clip(np.searchsorted(edge_s, time_s, side="right") - 1, 0, calls - 1)
        trace = Trace(time_s=time_s, power_w=true_w[at])
    else:
        trace = Trace(time_s=time_s, energy_j=np.interp(time_s, edge_s, true_j))
    named = zip("ab" * (calls // 2), edge_s[:-1], edge_s[1:], strict=True)
    spans = Spans.of([Span(*span) for span in named])

    energies = overlapped(trace, spans, 0.0, edge_s[-1])
    wrong_j = energies.energy_j - [np.sum(np.diff(true_j)[k::2]) for k in (0, 1)]
    assert np.all(np.abs(wrong_j) < 2.0 * energies.energy_j_std)
    assert np.all(energies.energy_j_std < 3.0 * calls * 200.0 * 1e-3 / 6)  # of a sixth of the step
    assert energies.self_energy_j_std == pytest.approx(energies.energy_j_std)


def test_the_std_of_time_sharing_is_that_of_an_unknown_power():
    energies = timed(NESTED, 1000.0, std=10.0)
    share = np.array([0.8, 0.25, 0.3, 0.1])
    # As if all had flowed in the modules, which run for 0.8 of the window.
    unknown_j = 1000 * share / 0.8 / np.sqrt(3) * np.sqrt(1 - share)
    assert energies.energy_j_std == pytest.approx(np.hypot(unknown_j, 10 * share))
    everything = timed(Spans.of([Span("a", 0.0, 10.0)]), 1000.0, std=10.0)
    assert everything.energy_j_std.tolist() == [10.0]
    assert everything.outside_j_std == 0.0


def test_auto_cuts_where_the_sensor_resolves_the_calls():
    spans = Spans.of([Span("a", 0.0, 2.0)])
    for update_period_s, method in ((0.99, "overlap"), (1.01, "time")):
        source = Source.of(of_sensor("x", update_period_s=update_period_s))
        found = attribute(source, spans, 0.0, 10.0)
        assert found.method == method
        assert found.energies.energy_j.tolist() == pytest.approx([200.0])
        assert found.total.energy_j == pytest.approx(1000.0)
    assert "split by run time" in found.reason
    assert "x updates every 1.01e+03 ms" in found.reason


@pytest.mark.parametrize("method", ["overlap", "time"])
def test_a_method_can_be_asked_for(method):
    assert attribute(Source.of(STEP), NESTED, 0.0, 10.0, method=method).method == method


def test_an_unknown_method_is_refused():
    with pytest.raises(AttributionError, match="method is 'guess', but must be one of auto, "):
        attribute(Source.of(STEP), NESTED, 0.0, 10.0, method="guess")


def test_without_readings_over_the_window_nothing_is_shared():
    assert attribute(Source.of(of_sensor("x")), NESTED, 0.0, 20.0) is None


def test_half_of_the_own_time_is_in_shorter_calls():
    spans = Spans.of(
        [Span("short", float(k), k + 0.5) for k in range(4)]
        + [Span("long", 4.0, 5.5), Span("longest", 6.0, 9.0)]
    )
    assert typical_self_time_s(PathTimes.of(spans)) == 1.5
    assert typical_self_time_s(PathTimes.of(Spans.of([]))) == 0.0


def test_figures_of_one_name_are_added_up():
    names = np.array([1, 0, 1, 3], dtype=np.int32)
    paths = CallPaths(names, names, names)
    assert fold_by_name(paths, np.array([1.0, 2.0, 4.0, 8.0]), 5).tolist() == [2, 5, 0, 8, 0]


@pytest.mark.alone
@pytest.mark.parametrize("threads", [1, 2])
def test_a_million_spans_take_less_than_two_seconds(threads):
    spans, depth = 1_000_000, 10
    time_s = np.arange(100_001) * 1e-3
    trace = Trace(time_s=time_s, power_w=np.tile([100.0, 300.0], 50_001)[: len(time_s)])
    call_s = 100.0 / (spans / depth)
    begin_s = np.repeat(np.arange(spans // depth) * call_s, depth)
    level = np.tile(np.arange(depth, dtype=np.int32), spans // depth)
    start_s = begin_s + call_s * level / (2 * depth)
    end_s = begin_s + call_s * (1 - level / (2 * depth))
    thread = (np.arange(spans) // depth % threads).astype(np.uint32)
    parent = np.arange(-1, depth - 1, dtype=np.int32)
    paths = CallPaths(np.arange(depth, dtype=np.int32), parent, parent)
    many = Spans([str(k) for k in range(depth)], paths, [SpanBlock(start_s, end_s, level, thread)])

    # CPU time, and the least of it: a machine that is busy with other work makes it longer only.
    took_s = []
    for _ in range(3):
        started_s = time.process_time()
        found = attribute(Source.of(trace), many, 0.0, 100.0, method="overlap")
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 2.0
    energies = found.energies
    assert found.total.energy_j == pytest.approx(20_000.0)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(20_000.0)
    assert energies.energy_j == pytest.approx(20_000.0 * (1 - np.arange(depth) / depth), rel=1e-3)
