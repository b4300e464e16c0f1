import math

import pytest

from pywatt.errors import PywattError, ScoreDomainError
from pywatt.scores.metrics import netscore, penalized_score, sam, sapi

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


@pytest.mark.parametrize(
    ("unit_per_kwh", "frugal", "accurate"),
    [(1.0, 4.21, 1.51), (1e3, 0.384, 0.458), (3.6e6, 0.185, 0.251)],
)
def test_the_unit_changes_which_of_two_sam_prefers(unit_per_kwh, frugal, accurate):
    # kWh, Wh and J; written as if each were kWh, as some implementations do.
    assert sam(0.76, 2.0 * unit_per_kwh) == pytest.approx(frugal, abs=0.005)
    assert sam(0.83, 20.0 * unit_per_kwh) == pytest.approx(accurate, abs=0.005)


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


def test_sapi_is_the_formula():
    # log10(100 mJ) = 2, log10(1e6) = 6
    expected = 0.81**0.5 / (2 ** (1 / 3) * 6 ** (1 / 6))
    assert sapi(0.81, 0.1, 1_000_000) == pytest.approx(expected, rel=1e-12)
    assert sapi(0.5, 1.0, 100, alpha=1.0, beta=1.0, gamma=1.0) == pytest.approx(0.5 / 6)
    assert sapi(0.0, 0.1, 1000) == 0.0


@pytest.mark.parametrize("energy_j", [1e-3, 5e-4, 0.0, -1.0, *NOT_FINITE])
def test_sapi_is_not_defined_at_and_below_one_millijoule(energy_j):
    with pytest.raises(ScoreDomainError, match="1 mJ"):
        sapi(0.8, energy_j, 1000)


@pytest.mark.parametrize("parameters", [1, 0, -5, *NOT_FINITE])
def test_sapi_needs_more_than_one_parameter(parameters):
    with pytest.raises(ScoreDomainError, match="parameter"):
        sapi(0.8, 0.1, parameters)


def test_netscore_is_the_formula_in_percent_millions_and_billions():
    assert netscore(1.0, 1_000_000, 10**9) == pytest.approx(80.0)  # 20 * log10(100**2)
    # 50 %, 4 M parameters, 25 G-MACs: 2500 / (2 * 5)
    assert netscore(0.5, 4_000_000, 25 * 10**9) == pytest.approx(20 * math.log10(250))
    assert netscore(0.1, 10**7, 10**9, alpha=1.0, beta=2.0, gamma=3.0) == pytest.approx(-20.0)


@pytest.mark.parametrize("figures", [(0.0, 1, 1), (0.5, 0, 1), (0.5, 1, 0), (0.5, 1, math.inf)])
def test_netscore_is_not_defined_without_logarithms(figures):
    with pytest.raises(ScoreDomainError, match="NetScore needs"):
        netscore(*figures)


@pytest.mark.parametrize("score", [sapi, netscore])
def test_the_others_refuse_the_same(score):
    with pytest.raises(ScoreDomainError, match="fraction from 0 to 1"):
        score(80.0, 10.0, 10.0)
    for name in ("alpha", "beta", "gamma"):
        with pytest.raises(ScoreDomainError, match=name):
            score(0.8, 10.0, 10.0, **{name: -1.0})


def test_the_error_is_a_value_error_and_pywatts():
    assert issubclass(ScoreDomainError, ValueError)
    assert issubclass(ScoreDomainError, PywattError)
