"""Emissions and cost of electricity, by the caller's factors: none is looked up or assumed.

`pue`, power usage effectiveness, is the power of the building over that of its computers: 1 for a
machine under a desk. It has no default, since any default would be a hidden assumption.
"""

import math
from dataclasses import dataclass

from pywatt.errors import ArgumentError

JOULES_PER_KWH = 3.6e6


def emissions(energy_j: float, *, kg_per_kwh: float, pue: float) -> float:
    """Return the emissions of an energy in kg of CO2 equivalent.

    Args:
        energy_j: J, 0 or more.
        kg_per_kwh: carbon intensity of the electricity, kg CO2e per kWh, 0 or more.
        pue: power usage effectiveness of the building, 1 or more.

    Raises:
        ArgumentError: for anything outside these ranges.
    """
    return _kwh(energy_j, pue) * _factor("kg_per_kwh", kg_per_kwh)


def cost(energy_j: float, *, price_per_kwh: float, pue: float) -> float:
    """Return the cost of an energy, in the currency of `price_per_kwh`.

    Args:
        energy_j: J, 0 or more.
        price_per_kwh: price of the electricity, any currency per kWh, 0 or more.
        pue: power usage effectiveness of the building, 1 or more.

    Raises:
        ArgumentError: for anything outside these ranges.
    """
    return _kwh(energy_j, pue) * _factor("price_per_kwh", price_per_kwh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Emissions and price per kWh; None: not given.

    Attributes:
        pue: power usage effectiveness of the building, 1 or more.
        kg_per_kwh: carbon intensity of the electricity, kg CO2e per kWh.
        price_per_kwh: price of the electricity, any currency per kWh.

    Raises:
        ArgumentError: for anything outside these ranges.
    """

    pue: float
    kg_per_kwh: float | None = None
    price_per_kwh: float | None = None

    def __post_init__(self) -> None:
        emissions(0.0, kg_per_kwh=self.kg_per_kwh or 0.0, pue=self.pue)
        cost(0.0, price_per_kwh=self.price_per_kwh or 0.0, pue=self.pue)

    def emissions_kg(self, energy_j: float) -> float | None:
        """Return `emissions` by these factors; None without `kg_per_kwh`."""
        if self.kg_per_kwh is None:
            return None
        return emissions(energy_j, kg_per_kwh=self.kg_per_kwh, pue=self.pue)

    def cost(self, energy_j: float) -> float | None:
        """Return `cost` by these factors; None without `price_per_kwh`."""
        if self.price_per_kwh is None:
            return None
        return cost(energy_j, price_per_kwh=self.price_per_kwh, pue=self.pue)


def _kwh(energy_j: float, pue: float) -> float:
    if not (math.isfinite(pue) and pue >= 1.0):
        raise ArgumentError(f"pue must be 1 or more, not {pue}: give 1 if there is no cooling")
    return _factor("energy_j", energy_j) * pue / JOULES_PER_KWH


def _factor(name: str, number: float) -> float:
    if not (math.isfinite(number) and number >= 0.0):
        raise ArgumentError(f"{name} must be finite and 0 or more, not {number}")
    return number
