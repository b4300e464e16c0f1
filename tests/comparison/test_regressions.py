"""Which increases are regressions."""

import math

import pytest
from fakes.profiles import layer, profile, run, with_layers

import pywatt
from pywatt.errors import ArgumentError, PywattError


@pytest.mark.parametrize(
    ("energy_j", "std", "regressed"),
    [
        (52.5, 0.0, False),  # as much as is allowed
        (52.6, 0.0, True),
        (54.0, 0.74, True),  # 1.5 J above what is allowed, 2.03 standard deviations
        (54.0, 0.76, False),
        (60.0, 5.0, False),  # far more, but it may be chance
        (40.0, 0.0, False),  # less
    ],
)
def test_only_a_real_increase_is_a_regression(energy_j, std, regressed):
    compared = pywatt.compare(run(50.0, 0.0), run(energy_j, std))
    assert bool(compared.regressions(0.05)) == regressed


def test_the_old_deviation_counts_too():
    # 54 - 1.05 * 50 = 1.5 J, and 1.05 * 0.75 = 0.79 J
    assert not pywatt.compare(run(50.0, 0.75), run(54.0, 0.0)).regressions(0.05)
    assert pywatt.compare(run(50.0, 0.70), run(54.0, 0.0)).regressions(0.05)


def layers_with(stds, hot_j):
    exact = [layer(f"l{i}", 1, 10.0, self_energy_j_std=0.0) for i in range(stds)]
    hot = layer("hot", 1, hot_j, self_energy_j_std=1.0)
    return profile(layers=(hot, *exact), energy_j_std=0.1)


def test_a_layer_can_fail_while_the_total_does_not():
    compared = pywatt.compare(layers_with(0, 10.0), layers_with(0, 14.0))
    assert compared.regressions(0.05) == ()
    (found,) = compared.regressions(0.05, layers_over=0.1)
    assert (found.row.name, found.allowed) == ("hot", 0.1)
    assert found.z == pytest.approx(3.0 / math.hypot(1.1, 1.0))


def test_one_of_many_layers_needs_more():
    # z is 2.02: enough for one layer, not for the luckiest of 21, which needs 3.06.
    few = pywatt.compare(layers_with(0, 10.0), layers_with(0, 14.0))
    many = pywatt.compare(layers_with(20, 10.0), layers_with(20, 14.0))
    assert few.regressions(0.05, layers_over=0.1)
    assert not many.regressions(0.05, layers_over=0.1)
    enough = pywatt.compare(layers_with(20, 10.0), layers_with(20, 15.7))
    assert [one.row.name for one in enough.regressions(0.05, layers_over=0.1)] == ["hot"]


def test_layers_of_one_side_only_are_not_judged():
    compared = pywatt.compare(with_layers(layer("a", 1, 1.0)), with_layers(layer("b", 1, 90.0)))
    assert compared.regressions(0.05, layers_over=0.05) == ()


def test_what_is_not_known_cannot_be_judged():
    for unknown in (run(None, None), run(50.0, None)):
        with pytest.raises(PywattError, match="cannot be judged"):
            pywatt.compare(run(50.0), unknown).regressions(0.05)
    with pytest.raises(ArgumentError, match="0 or more"):
        pywatt.compare(run(50.0), run(50.0)).regressions(-0.1)
