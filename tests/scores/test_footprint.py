import math

import pytest

from pywatt.errors import ArgumentError
from pywatt.scores.footprint import cost, emissions


def test_emissions_and_cost_are_kwh_times_the_factors():
    assert emissions(7.2e6, kg_per_kwh=0.25, pue=1.5) == pytest.approx(0.75)
    assert cost(7.2e6, price_per_kwh=0.3, pue=1.0) == pytest.approx(0.6)
    assert emissions(0.0, kg_per_kwh=0.4, pue=1.1) == 0.0


@pytest.mark.parametrize(
    ("function", "factor"), [(emissions, "kg_per_kwh"), (cost, "price_per_kwh")]
)
def test_no_factor_has_a_default(function, factor):
    with pytest.raises(TypeError, match=factor):
        function(1.0, pue=1.0)
    with pytest.raises(TypeError, match="pue"):
        function(1.0, **{factor: 1.0})


@pytest.mark.parametrize(
    ("function", "factor"), [(emissions, "kg_per_kwh"), (cost, "price_per_kwh")]
)
@pytest.mark.parametrize("wrong", [-1e-9, math.nan, math.inf])
def test_what_makes_no_sense_is_refused(function, factor, wrong):
    with pytest.raises(ArgumentError, match="energy_j"):
        function(wrong, **{factor: 1.0}, pue=1.0)
    with pytest.raises(ArgumentError, match=factor):
        function(1.0, **{factor: wrong}, pue=1.0)
    with pytest.raises(ArgumentError, match="pue"):
        function(1.0, **{factor: 1.0}, pue=wrong)


def test_a_building_takes_no_less_than_its_computers():
    with pytest.raises(ArgumentError, match="1 or more"):
        emissions(1.0, kg_per_kwh=0.4, pue=0.9)
