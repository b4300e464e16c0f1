"""Several runs of one side, and how sure a difference is."""

import math

import pytest
from fakes.profiles import run

import pywatt
from pywatt.comparison.significance import as_z, of_many
from pywatt.errors import ArgumentError


def test_runs_of_one_side_are_averaged_and_their_spread_counts():
    compared = pywatt.compare([run(49.0), run(51.0)], run(60.0, 3.0))
    old, new = compared.total.energies
    assert (old.energy_j, old.freedom) == (50.0, 1.0)
    assert old.energy_j_std == pytest.approx(1.0)  # sqrt(2) / sqrt(2)
    assert (new.energy_j_std, new.freedom) == (3.0, math.inf)  # more than runs differ
    # 10 / sqrt(10) standard deviations of 1 / (1/10)^2 = 100 degrees of freedom: chance does that
    # in 0.104 % of cases, and so does a normal deviate above 3.08.
    assert compared.total.change().z == pytest.approx(3.0793, abs=1e-3)


def test_a_single_run_differs_as_much_as_those_of_the_other_side():
    compared = pywatt.compare([run(49.0, 0.0), run(50.0, 0.0), run(51.0, 0.0)], run(55.0, 0.0))
    old, new = compared.total.energies
    assert old.energy_j_std == pytest.approx(1.0 / math.sqrt(3.0))
    assert new.energy_j_std == pytest.approx(0.02 * 55.0)
    # One spread of three runs is all that is known: 2 degrees of freedom, not Welch's 2.9. Chance
    # exceeds t = 5 / 1.2423 in 2.83 % of cases.
    assert compared.total.change().z == pytest.approx(1.9068, abs=5e-4)
    assert not any("one run per side" in note for note in compared.notes)


def test_the_spread_of_runs_can_be_given():
    compared = pywatt.compare(run(50.0, 0.1), run(54.0, 0.1), run_spread=0.03)
    change = compared.total.change()
    assert (change.old.energy_j_std, change.new.energy_j_std) == (1.5, pytest.approx(1.62))
    assert change.z == pytest.approx(4.0 / math.hypot(1.5, 1.62))
    assert not compared.regressions(0.05)
    assert pywatt.compare(run(50.0, 0.1), run(54.0, 0.1)).regressions(0.05)
    # It is no more than the measurement's own, and does not replace the spread that is known.
    assert (
        pywatt.compare(run(50.0), run(50.0), run_spread=0.001).total.energies[0].energy_j_std == 0.5
    )
    known = pywatt.compare([run(49.0), run(51.0)], run(50.0), run_spread=0.5).total.energies[0]
    assert known.energy_j_std == pytest.approx(1.0)
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="run_spread"):
            pywatt.compare(run(50.0), run(50.0), run_spread=wrong)


def test_the_measurements_own_deviation_counts_where_runs_agree_by_luck():
    old = pywatt.compare([run(50.0, 3.0), run(50.0, 4.0)], run(50.0)).total.energies[0]
    assert (old.energy_j_std, old.freedom) == (2.5, math.inf)


def test_few_runs_that_scatter_are_no_evidence():
    # 3 / sqrt(2) standard deviations of 2 degrees of freedom: chance does that in 8.4 % of cases.
    compared = pywatt.compare([run(49.0, 0.0), run(51.0, 0.0)], [run(52.0, 0.0), run(54.0, 0.0)])
    assert compared.total.change().z == pytest.approx(1.3788, abs=1e-3)


def test_the_z_of_many_and_of_few():
    assert of_many(2.0, 1) == pytest.approx(2.0)
    # 21 independent chances of 0.11 % each are one of 2.3 %.
    assert of_many(2.0, 21) == pytest.approx(3.064, abs=2e-3)
    assert as_z(-2.0, 1e12) == pytest.approx(-2.0)
    # With one degree of freedom, t = 1 is exceeded in a quarter of cases.
    assert as_z(1.0, 1.0) == pytest.approx(0.67449, abs=1e-5)
