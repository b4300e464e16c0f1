import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt.errors import ArgumentError
from pywatt.scores.pareto import dominators, pareto_front

ACCURACIES = [0.80, 0.90, 0.85, 0.95]
ENERGIES_J = [1.0, 2.0, 3.0, 4.0]


def test_the_front_of_exact_figures():
    assert pareto_front(ACCURACIES, ENERGIES_J) == (0, 1, 3)
    assert dominators(ACCURACIES, ENERGIES_J) == [(), (), (1,), ()]


def test_the_front_is_from_the_least_energy_to_the_most():
    assert pareto_front([0.9, 0.8], [2.0, 1.0]) == (1, 0)


@pytest.mark.parametrize(
    ("accuracy_stds", "energy_stds_j", "dominated"),
    [
        ([0.0, 0.01, 0.02, 0.0], [0.0, 0.3, 0.3, 0.0], True),  # 0.05 is 2.2 std, 1 J is 2.4 std
        ([0.0, 0.02, 0.02, 0.0], [0.0, 0.3, 0.3, 0.0], False),  # the accuracy may be the same
        ([0.0, 0.01, 0.02, 0.0], [0.0, 0.4, 0.4, 0.0], False),  # the energy may be the same
    ],
)
def test_what_may_be_chance_dominates_nothing(accuracy_stds, energy_stds_j, dominated):
    found = dominators(ACCURACIES, ENERGIES_J, accuracy_stds, energy_stds_j)
    assert found[2] == ((1,) if dominated else ())


def test_exactly_as_accurate_and_hungrier_is_dominated():
    assert dominators([0.9, 0.9], [1.0, 2.0]) == [(), (0,)]
    assert dominators([0.8, 0.9], [1.0, 1.0]) == [(1,), ()]


def test_equals_do_not_dominate_each_other():
    assert dominators([0.9, 0.9], [1.0, 1.0]) == [(), ()]


def test_lengths_must_agree():
    with pytest.raises(ArgumentError, match="differ in number"):
        pareto_front([0.9], [1.0, 2.0])
    with pytest.raises(ArgumentError, match="differ in number"):
        pareto_front([0.9], [1.0], [0.1, 0.1])


figures = st.tuples(
    st.sampled_from([0.1, 0.3, 0.5, 0.7]),
    st.sampled_from([1.0, 2.0, 5.0, 9.0]),
    st.sampled_from([0.0, 0.05, 0.1]),
    st.sampled_from([0.0, 0.5, 1.0]),
)


@given(st.lists(figures, min_size=1, max_size=8))
def test_dominating_is_transitive_and_leaves_a_front(models):
    found = dominators(*zip(*models, strict=True))
    for index, by in enumerate(found):
        assert index not in by
        for one in by:
            assert set(found[one]) <= set(by)
    assert pareto_front(*zip(*models, strict=True))
