"""Trace.integrate, the native look-up of windows, beside the same in a few lines of numpy."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pywatt import ArgumentError, CoverageError, Trace

# Two sums of the same terms in another order differ by rounding only.
ROUNDING = 1e-12


def by_numpy(trace, start_s, end_s):
    """The trapezoid rule over one window; what a point's energy has beyond it comes in evenly."""
    points_s, energy_j = trace.time_s, trace.energy_j
    segments_j = np.diff(energy_j)
    trapezoids_j = 0.0
    if trace.power_w is not None:
        inside_s = points_s[(points_s > start_s) & (points_s < end_s)]
        edges_s = np.concatenate(([start_s], inside_s, [end_s]))
        edges_w = np.interp(edges_s, points_s, trace.power_w)
        trapezoids_j = np.sum(np.diff(edges_s) * (edges_w[1:] + edges_w[:-1]) / 2)
        whole_j = np.diff(points_s) * (trace.power_w[1:] + trace.power_w[:-1]) / 2
        segments_j = segments_j - whole_j
    covered_s = np.clip(end_s, points_s[:-1], points_s[1:]) - np.clip(
        start_s, points_s[:-1], points_s[1:]
    )
    return trapezoids_j + np.sum(segments_j * covered_s / np.diff(points_s))


def scale_j(trace):
    """What rounding is measured by: the largest terms that are added up."""
    highest_w = 0.0 if trace.power_w is None else np.max(np.abs(trace.power_w))
    return 1.0 + np.max(np.abs(trace.energy_j)) + highest_w * trace.duration_s


# Gaps from a sampler's to a night's, powers and steps of a counter as meters have them.
gaps_s = st.floats(1e-4, 30_000.0)
powers_w = st.floats(0.0, 1000.0)
steps_j = st.just(0.0) | st.floats(0.0, 1e5)


@st.composite
def traces(draw, kinds=("power", "thinned", "counter")):
    kind = draw(st.sampled_from(kinds))
    gap_s = draw(st.lists(gaps_s, min_size=1, max_size=40))
    time_s = draw(st.floats(0.0, 1e5)) + np.concatenate(([0.0], np.cumsum(gap_s)))
    points = len(time_s)
    power_w = draw(st.lists(powers_w, min_size=points, max_size=points))
    if kind == "power":
        return Trace(time_s=time_s, power_w=power_w)
    step_j = draw(st.lists(steps_j, min_size=points - 1, max_size=points - 1))
    energy_j = np.concatenate(([0.0], np.cumsum(step_j)))
    if kind == "counter":
        return Trace(time_s=time_s, energy_j=energy_j)
    # Where points were dropped, the energy between two is not that under the line between them.
    return Trace(time_s=time_s, power_w=power_w, energy_j=energy_j)


@st.composite
def moments(draw, trace):
    """A moment that the trace covers, at or next to a point more often than chance has it."""
    moment_s = draw(
        st.floats(trace.start_s, trace.end_s) | st.sampled_from(list(map(float, trace.time_s)))
    )
    beside_s = draw(st.sampled_from([moment_s, *np.nextafter(moment_s, (-math.inf, math.inf))]))
    return float(np.clip(beside_s, trace.start_s, trace.end_s))


@st.composite
def traces_with_moments(draw, count, **options):
    trace = draw(traces(**options))
    return trace, sorted(draw(moments(trace)) for _ in range(count))


@given(st.data())
@settings(max_examples=300)
def test_windows_have_the_energy_that_numpy_finds(data):
    trace = data.draw(traces())
    edges_s = data.draw(
        st.lists(st.tuples(moments(trace), moments(trace)).map(sorted), min_size=1, max_size=50)
    )
    start_s, end_s = np.array(edges_s).T
    expected_j = [by_numpy(trace, *edges) for edges in edges_s]
    np.testing.assert_allclose(
        trace.integrate(start_s, end_s), expected_j, rtol=0, atol=ROUNDING * scale_j(trace)
    )


@given(traces_with_moments(3))
def test_adjacent_windows_add_up(trace_and_moments):
    trace, (a, b, c) = trace_and_moments
    first_j, second_j, both_j = trace.integrate([a, b, a], [b, c, c])
    assert first_j + second_j == pytest.approx(both_j, rel=0, abs=ROUNDING * scale_j(trace))


@given(traces_with_moments(4, kinds=("power", "counter")))
def test_a_window_inside_another_has_no_more_energy(trace_and_moments):
    trace, (a, b, c, d) = trace_and_moments
    inner_j, outer_j = trace.integrate([b, a], [c, d])
    assert inner_j <= outer_j + ROUNDING * scale_j(trace)


@given(traces_with_moments(1))
def test_a_window_without_length_is_zero(trace_and_moments):
    trace, (moment_s,) = trace_and_moments
    assert trace.integrate(moment_s, moment_s) == 0.0


@given(traces())
def test_windows_between_points_are_differences_of_their_energies(trace):
    between = trace.integrate(trace.time_s[:-1], trace.time_s[1:])
    assert between.tolist() == np.diff(trace.energy_j).tolist()
    assert trace.integrate(trace.start_s, trace.end_s) == trace.energy_j[-1]


@given(traces(), st.floats(1e-9, 1e9) | st.just(math.inf))
@example(Trace(time_s=[5.0], power_w=[100.0]), 1.0)
def test_a_moment_beyond_the_trace_is_not_covered(trace, beyond_s):
    before_s = min(trace.start_s - beyond_s, np.nextafter(trace.start_s, -math.inf))
    after_s = max(trace.end_s + beyond_s, np.nextafter(trace.end_s, math.inf))
    for start_s, end_s in ((before_s, trace.end_s), (trace.start_s, after_s), (before_s, before_s)):
        assert not trace.covers(start_s, end_s)
        with pytest.raises(CoverageError, match="is not covered: the trace covers 0 s to"):
            trace.integrate(start_s, end_s)
    assert trace.covers(trace.start_s, trace.end_s)


@pytest.mark.parametrize(
    ("trace", "start_s", "end_s", "energy_j"),
    [
        (Trace(time_s=[0, 2], power_w=[100, 100]), 0, 2, 200.0),
        (Trace(time_s=[0, 1, 2], power_w=[100, 100, 100]), 0.25, 1.75, 150.0),
        # A ramp from 0 to 100 W: a quarter of its energy is in the first half.
        (Trace(time_s=[0, 2], power_w=[0, 100]), 0, 1, 25.0),
        (Trace(time_s=[0, 2], power_w=[0, 100]), 1, 2, 75.0),
        (Trace(time_s=[0, 1, 3], power_w=[0, 100, 0]), 0.5, 2, 37.5 + 75.0),
        # A counter draws evenly between its moves.
        (Trace(time_s=[0, 1, 3], energy_j=[0, 10, 50]), 0.5, 2, 5.0 + 20.0),
        (Trace(time_s=[0, 1, 3], energy_j=[1e6, 1e6 + 10, 1e6 + 50]), 0.5, 2, 25.0),
        # Thinned: 60 J more than under the line from 0 to 100 W, half of them in each half.
        (Trace(time_s=[0, 2], power_w=[0, 100], energy_j=[0, 160]), 0, 1, 25.0 + 30.0),
        (Trace(time_s=[7], power_w=[100]), 7, 7, 0.0),
    ],
)
def test_literal_energies(trace, start_s, end_s, energy_j):
    assert trace.integrate(start_s, end_s) == energy_j


def test_a_window_inside_one_segment_does_not_feel_the_energy_before_it():
    # Two doubles near 4e16 are 8 apart.
    energy_j = [0.0, 4e16, 4e16 + 8.0]
    trace = Trace(time_s=[0, 86400, 86402], power_w=[4.0, 4.0, 4.0], energy_j=energy_j)
    assert trace.integrate(86400.25, 86400.5) == 1.0


def test_many_windows_in_any_order():
    random = np.random.default_rng(1)
    # Bursts of readings with long gaps in between, where a guess of the point is far off.
    time_s = np.cumsum(random.lognormal(-6, 3, 20_000))
    trace = Trace(time_s=time_s, energy_j=np.cumsum(random.exponential(1.0, 20_000)))
    edges_s = random.choice(time_s, (2, 100_000)) * random.uniform(0.9, 1.0, (2, 100_000))
    start_s, end_s = np.sort(np.clip(edges_s, trace.start_s, trace.end_s), axis=0)
    expected_j = np.subtract(
        *(np.interp(edge_s, trace.time_s, trace.energy_j) for edge_s in (end_s, start_s))
    )
    np.testing.assert_allclose(trace.integrate(start_s, end_s), expected_j, rtol=0, atol=1e-9)
    growing = np.argsort(start_s)
    np.testing.assert_array_equal(
        trace.integrate(start_s[growing], end_s[growing]), trace.integrate(start_s, end_s)[growing]
    )


ONE_WATT = Trace(time_s=[0.0, 10.0], power_w=[1.0, 1.0])


@pytest.mark.parametrize("shape", [(), (0,), (1,), (6,), (2, 3), (3, 1, 2)])
def test_energies_have_the_shape_of_the_windows(shape):
    start_s = np.arange(math.prod(shape), dtype=float).reshape(shape)
    energy_j = ONE_WATT.integrate(start_s, start_s + 0.5)
    assert energy_j.shape == shape
    assert np.all(energy_j == 0.5)


def test_windows_need_not_be_contiguous_floats():
    lengths_s = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for start_s, end_s in (
        (np.zeros((2, 3), order="F"), np.asfortranarray(lengths_s)),
        (np.zeros((2, 6))[:, ::2], np.repeat(lengths_s, 2, axis=1)[:, ::2]),
        (np.zeros((2, 3), dtype=int), lengths_s.astype(np.float32)),
        ([[0, 0, 0]] * 2, lengths_s.tolist()),
    ):
        assert ONE_WATT.integrate(start_s, end_s).tolist() == lengths_s.tolist()


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [
        (np.zeros((2, 3)), np.ones((3, 2))),
        (np.zeros(6), np.ones((2, 3))),
        (np.zeros(2), np.ones(3)),
        (0.0, [1.0]),
    ],
)
def test_starts_and_ends_of_unequal_shapes_are_refused(start_s, end_s):
    with pytest.raises(ArgumentError, match="the same shape"):
        ONE_WATT.integrate(start_s, end_s)


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (2.0, 1.0, r"window 1 ends before it starts: from 2 s to 1 s after the trace began"),
        (math.nan, 1.0, r"window 1 has an edge that is not a number"),
        (1.0, math.nan, r"window 1 has an edge that is not a number"),
        # Backwards, and not covered either: what the user has to mend first.
        (12.0, 11.0, r"window 1 ends before it starts"),
    ],
)
def test_bad_windows_are_named(start_s, end_s, message):
    with pytest.raises(ArgumentError, match=message):
        ONE_WATT.integrate([0.0, start_s, 11.0], [1.0, end_s, 12.0])


def test_a_window_that_is_not_covered_is_named():
    late = Trace(time_s=[100.0, 110.0], power_w=[1.0, 1.0])
    message = (
        r"window 1 from 9 s to 12 s after the trace began is not covered: "
        r"the trace covers 0 s to 10 s; measure from before a window starts until after it ends"
    )
    with pytest.raises(CoverageError, match=message):
        late.integrate([101.0, 109.0], [102.0, 112.0])
