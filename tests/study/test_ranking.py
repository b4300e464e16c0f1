import math

import pytest

from pywatt.errors import ArgumentError
from pywatt.scores.metrics import netscore, penalized_score, sam, sapi
from pywatt.study.ranking import DEFAULT, Choice, ranking
from pywatt.study.row import StudyRow


def row(name, accuracy, sample_j, *, samples=100, accuracy_std=0.0, sample_std=0.0, **changes):
    fields = {
        "name": name,
        "accuracy": accuracy,
        "accuracy_std": accuracy_std,
        "test_energy_j": None if sample_j is None else sample_j * samples,
        "test_energy_j_std": None if sample_std is None else sample_std * samples,
        "samples": samples,
        "estimated": False,
    }
    return StudyRow(**fields | changes)


def standing(found, name):
    return next(one for one in found.standings if one.name == name)


def rank(found, name, choice=DEFAULT):
    return standing(found, name).ranks[found.choices.index(choice)]


def first(found, name, choice=DEFAULT):
    return standing(found, name).first_shares[found.choices.index(choice)]


def test_models_stand_in_the_order_of_the_default():
    found = ranking([row("low", 0.6, 1.0), row("best", 0.95, 1.0), row("hungry", 0.95, 900.0)])
    assert [one.name for one in found.standings] == ["best", "hungry", "low"]
    assert [one.ranks[0] for one in found.standings] == [1, 2, 3]
    assert found.choices[0] == DEFAULT
    assert len(found.choices) == len(set(found.choices)) == 2 * 4 * 3


def test_the_unit_changes_the_ranking_of_sam():
    # The two models of 2 and 20 kWh that the metric's unit turns around.
    found = ranking([row("a", 0.76, 2 * 36e3), row("b", 0.83, 20 * 36e3)])
    ranks = {unit: rank(found, "a", Choice("sam", 5.0, unit)) for unit in ("kWh", "Wh", "J")}
    assert ranks == {"kWh": 1, "Wh": 2, "J": 2}


def test_alpha_changes_the_ranking():
    # The penalties are log10(12) and log10(30): 1.369 times as much. (0.9 / 0.81)**2 is 1.23 only,
    # (0.9 / 0.81)**3 is 1.372.
    found = ranking([row("frugal", 0.81, 2.0), row("accurate", 0.9, 20.0)])
    ranks = [rank(found, "frugal", Choice("penalized_score", a, "J")) for a in (1.0, 2.0, 3.0, 5.0)]
    assert ranks == [1, 1, 2, 2]


@pytest.mark.parametrize("metric", [penalized_score, sam])
@pytest.mark.parametrize("alpha", [1, 2, 3, 5])
def test_beta_changes_no_rank(metric, alpha):
    figures = [(0.76, 2.0), (0.83, 20.0), (0.9, 400.0), (0.9, 1.5)]
    orders = {
        tuple(sorted(figures, key=lambda figure: metric(*figure, alpha=alpha, beta=beta)))
        for beta in (1, 2, 3, 5)
    }
    assert len(orders) == 1


def test_sam_that_is_not_defined_for_one_ranks_none():
    found = ranking([row("a", 0.8, 0.5), row("b", 0.9, 50.0)])  # 50 J and 5 kJ: 1.4 Wh
    assert rank(found, "b", Choice("sam", 5.0, "J")) is not None
    for unit in ("Wh", "kWh"):
        assert rank(found, "b", Choice("sam", 5.0, unit)) is None
        assert first(found, "b", Choice("sam", 5.0, unit)) is None
    assert any(
        "sam in Wh is not defined" in note and "a took 0.01389 Wh" in note for note in found.notes
    )
    assert standing(found, "b").scores["sam"] is None


def test_sam_needs_the_same_test():
    found = ranking([row("a", 0.8, 50.0), row("b", 0.9, 60.0, samples=200)])
    assert rank(found, "a", Choice("sam", 5.0, "J")) is None
    assert standing(found, "a").scores["sam"] is None
    assert any("numbers of samples differ" in note for note in found.notes)


def test_exact_figures_leave_no_doubt():
    found = ranking([row("a", 0.95, 1.0), row("b", 0.9, 0.9)], draws=50)
    assert (first(found, "a"), first(found, "b")) == (1.0, 0.0)


def test_first_shares_are_those_of_the_uncertainty():
    # Scores differ by accuracy only, which differs by one standard deviation of the difference.
    found = ranking(
        [
            row("a", 0.81, 1.0, accuracy_std=0.01),
            row("b", 0.81 - 0.01 * 2**0.5, 1.0, accuracy_std=0.01),
        ],
        draws=4000,
    )
    assert first(found, "a") == pytest.approx(0.8413, abs=0.02)
    assert first(found, "a") + first(found, "b") == pytest.approx(1.0)


def test_the_uncertainty_of_energy_counts_too():
    found = ranking(
        [row("a", 0.9, 10.0, sample_std=1.0), row("b", 0.9, 10.0, sample_std=1.0)], draws=4000
    )
    assert first(found, "a") == pytest.approx(0.5, abs=0.03)


def test_draws_are_repeatable():
    rows = [row("a", 0.81, 1.0, accuracy_std=0.01), row("b", 0.80, 1.0, accuracy_std=0.01)]
    assert ranking(rows, draws=200) == ranking(rows, draws=200)
    assert ranking(rows, draws=200) != ranking(rows, draws=200, seed=1)


def test_a_dominated_model_is_never_first():
    # 2.1 standard deviations apart in both: some draws turn both around.
    std = 2**-0.5
    rows = [
        row("dominated", 0.800, 12.1, accuracy_std=0.01 * std, sample_std=std),
        row("better", 0.821, 10.0, accuracy_std=0.01 * std, sample_std=std),
    ]
    found = ranking(rows, draws=2000)
    assert standing(found, "dominated").dominated_by == ("better",)
    assert standing(found, "better").dominated_by == ()
    assert {share for share in standing(found, "dominated").first_shares if share is not None} == {
        0.0
    }
    assert rank(found, "dominated") == 2


def test_one_who_is_nearly_dominated_can_be_first():
    std = 2**-0.5
    rows = [
        row("nearly", 0.800, 10.0, accuracy_std=0.01 * std, sample_std=std),
        row("better", 0.819, 12.1, accuracy_std=0.01 * std, sample_std=std),
    ]
    found = ranking(rows, draws=2000)
    assert standing(found, "nearly").dominated_by == ()
    assert 0.0 < first(found, "nearly") < 1.0


def test_scores_are_those_of_the_functions():
    found = ranking([row("a", 0.8, 0.1, parameters=10**6, macs=10**8)])
    assert standing(found, "a").scores == {
        "accuracy": 0.8,
        "energy_j": 0.1,
        "accuracy_per_j": 8.0,
        "penalized_score": penalized_score(0.8, 0.1),
        "sam": None,
        "sapi": sapi(0.8, 0.1, 10**6),
        "netscore": netscore(0.8, 10**6, 10**8),
    }
    unknown = standing(ranking([row("a", 0.8, 0.1)]), "a").scores
    assert (unknown["sapi"], unknown["netscore"]) == (None, None)


def test_taus_compare_the_rankings_of_metrics():
    rows = [row("a", 0.7, 1.0), row("b", 0.8, 2.0), row("c", 0.9, 3.0)]
    taus = ranking(rows).taus
    assert taus["accuracy", "energy_j"] == -1.0  # the more accurate take more
    assert taus["energy_j", "accuracy_per_j"] == 1.0
    assert taus["accuracy", "netscore"] is None
    mixed = [row("a", 0.7, 1.0), row("b", 0.9, 2.0), row("c", 0.8, 3.0)]
    assert ranking(mixed).taus["accuracy", "energy_j"] == pytest.approx(-1 / 3)
    same = [row("a", 0.7, 1.0), row("b", 0.7, 2.0)]
    assert ranking(same).taus["accuracy", "energy_j"] is None


def test_what_is_not_known_is_left_out_and_said():
    rows = [
        row("a", 0.8, 1.0),
        row("b", None, 1.0),
        row("c", 0.8, None),
        row("d", 0.9, 1.0, samples=1),
    ]
    found = ranking([*rows[:3], row("d", 0.9, 1.0, accuracy_std=None)])
    assert [one.name for one in found.standings] == ["d", "a"]
    assert "b is not ranked: its accuracy is not known" in found.notes
    assert "c is not ranked: its energy per sample is not known" in found.notes
    assert any("accuracy, which counts as exact: d" in note for note in found.notes)


def test_estimated_beside_measured_is_said():
    found = ranking([row("a", 0.8, 1.0), row("b", 0.9, 2.0, estimated=True)])
    assert any("they have no common scale" in note for note in found.notes)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ArgumentError, match="no model"):
        ranking([row("a", None, 1.0)])
    with pytest.raises(ArgumentError, match="models need distinct names"):
        ranking([row("a", 0.8, 1.0), row("a", 0.9, 1.0)])


def test_a_row():
    one = row("a", 0.8, 0.5, sample_std=0.01)
    assert (one.sample_energy_j, one.sample_energy_j_std) == (0.5, 0.01)
    assert one.correct_energy_j == 0.625
    assert row("a", 0.0, 0.5).correct_energy_j is None
    assert row("a", None, 0.5).correct_energy_j is None
    none = StudyRow(name="a", accuracy=0.8, test_energy_j=None, samples=0, estimated=False)
    assert (none.sample_energy_j, none.sample_energy_j_std, none.correct_energy_j) == (None,) * 3
    for wrong in (-0.1, 1.1, 80, math.nan):
        with pytest.raises(ArgumentError, match="0 to 1"):
            row("a", wrong, 1.0)
