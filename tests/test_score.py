import math

import pytest

from pywatt.errors import PywattError, ScoreDomainError
from pywatt.score import penalized_score, sam

NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("accuracy", "energy_kwh", "expected"),
    [
        (0.8, 1.01, 379.14),
        (0.8, 2.0, 5.4427),
        (0.8, 10.0, 1.6384),
        (0.8, 1000.0, 0.54613),
        (0.76, 2.0, 4.2115),
        (0.83, 20.0, 1.5138),
        (0.0, 10.0, 0.0),
        (1.0, 10.0, 5.0),
    ],
)
def test_sam_is_the_literal_formula(accuracy, energy_kwh, expected):
    assert sam(accuracy, energy_kwh) == pytest.approx(expected, rel=3e-5)


def test_sam_takes_other_exponents():
    assert sam(0.5, 100.0, alpha=2.0, beta=8.0) == 1.0


@pytest.mark.parametrize("energy_kwh", [1.0, 0.99, 0.5, 0.0, -1.0, *NOT_FINITE])
def test_sam_is_not_defined_at_and_below_one_kwh(energy_kwh):
    with pytest.raises(ScoreDomainError, match="kWh"):
        sam(0.8, energy_kwh)


def test_sam_is_defined_just_above_one_kwh():
    assert sam(0.8, math.nextafter(1.0, 2.0)) > 1e15


def test_sam_names_what_to_use_instead():
    with pytest.raises(ScoreDomainError, match="penalized_score"):
        sam(0.8, 0.5)


@pytest.mark.parametrize(
    ("accuracy", "energy_j", "expected"),
    [
        (0.8, 0.0, 1.6384),
        (0.8, 90.0, 0.8192),
        (0.8, 990.0, 0.54613),
        (1.0, 0.0, 5.0),
        (0.0, 90.0, 0.0),
    ],
)
def test_penalized_score_is_the_formula(accuracy, energy_j, expected):
    assert penalized_score(accuracy, energy_j) == pytest.approx(expected, rel=1e-5)


def test_penalized_score_counts_energy_in_the_reference():
    score = penalized_score(0.5, 180.0, reference_j=2.0, alpha=2.0, beta=8.0)
    assert score == pytest.approx(1.0, rel=1e-12)


def test_penalized_score_falls_with_energy_and_rises_with_accuracy():
    by_energy = [penalized_score(0.8, j) for j in (0.0, 1e-3, 0.5, 1.0, 2.0, 1e6, 1e300)]
    assert by_energy == sorted(set(by_energy), reverse=True)
    by_accuracy = [penalized_score(a, 0.5) for a in (0.0, 0.2, 0.5, 0.99, 1.0)]
    assert by_accuracy == sorted(set(by_accuracy))


@pytest.mark.parametrize("energy_j", [-1e-9, *NOT_FINITE])
def test_penalized_score_refuses_an_energy(energy_j):
    with pytest.raises(ScoreDomainError, match="0 J or more"):
        penalized_score(0.8, energy_j)


@pytest.mark.parametrize("reference_j", [0.0, -1.0, *NOT_FINITE])
def test_penalized_score_refuses_a_reference(reference_j):
    with pytest.raises(ScoreDomainError, match="reference_j"):
        penalized_score(0.8, 1.0, reference_j=reference_j)


@pytest.mark.parametrize("score", [sam, penalized_score])
@pytest.mark.parametrize("accuracy", [-1e-9, 1.0000001, 80.0, *NOT_FINITE])
def test_both_refuse_an_accuracy_that_is_no_fraction(score, accuracy):
    with pytest.raises(ScoreDomainError, match="fraction from 0 to 1"):
        score(accuracy, 10.0)


def test_percent_is_recognized():
    with pytest.raises(ScoreDomainError, match=r"give 0\.83"):
        sam(83.0, 10.0)


@pytest.mark.parametrize("score", [sam, penalized_score])
@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("exponent", [-1.0, *NOT_FINITE])
def test_both_refuse_alpha_and_beta(score, name, exponent):
    with pytest.raises(ScoreDomainError, match=name):
        score(0.8, 10.0, **{name: exponent})


def test_the_error_is_a_value_error_and_pywatts():
    assert issubclass(ScoreDomainError, ValueError)
    assert issubclass(ScoreDomainError, PywattError)
