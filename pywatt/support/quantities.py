"""Numbers as text. Units other than plain SI appear only here, in displayed text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NOT_AVAILABLE = "n/a"

_PREFIXES = (("", 1.0), ("m", 1e3), ("µ", 1e6))


@dataclass(frozen=True, slots=True)
class Scale:
    """One unit and one number of decimals for all numbers of a column."""

    unit: str
    factor: float
    decimals: int

    @classmethod
    def of(cls, largest: float, unit: str) -> "Scale":
        """Return the scale on which the largest number has two or more digits before the point."""
        prefix, factor = _prefix(largest, least=10.0)
        return cls(prefix + unit, factor, _decimals(largest * factor, digits=5))

    @classmethod
    def whole(cls, largest: float, unit: str) -> "Scale":
        """Return the scale in the unit itself, for numbers that are rarely small."""
        return cls(unit, 1.0, _decimals(largest, digits=4))

    def text(self, number: float | None) -> str:
        """Return the number without its unit; one that would round to 0 as an upper bound."""
        if number is None:
            return NOT_AVAILABLE
        scaled = number * self.factor
        least = 10.0**-self.decimals
        if 0.0 < scaled < least / 2:
            return f"<{least:.{self.decimals}f}"
        return fixed(scaled, self.decimals)


def fixed(number: float, decimals: int) -> str:
    """Return the number with this many decimals; a number that rounds to zero has no sign."""
    return f"{round(number, decimals) + 0.0:,.{decimals}f}"


def with_std(number: float, std: float | None, unit: str) -> str:
    """Return a text such as 65.21 ± 0.43 J, with two digits of the standard deviation."""
    if not std or not math.isfinite(std):
        return quantity(number, unit)
    prefix, factor = _prefix(number, least=1.0)
    wanted = max(0, 1 - math.floor(math.log10(std * factor)))
    # No more than seven digits, however small the standard deviation.
    decimals = min(wanted, 7 - len(f"{abs(number) * factor:.0f}"))
    spread = Scale(prefix + unit, factor, max(0, decimals)).text(std)
    return f"{fixed(number * factor, max(0, decimals))} ± {spread} {prefix}{unit}"


def quantity(number: float, unit: str) -> str:
    """Return a text of four digits and a unit."""
    prefix, factor = _prefix(number, least=1.0)
    scaled = number * factor
    return f"{scaled:,.4g} {prefix}{unit}" if scaled < 9999.5 else f"{scaled:,.0f} {prefix}{unit}"


def count(number: int) -> str:
    """Return a text such as 25.6 M."""
    for factor, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor:
            return f"{number / factor:.1f} {suffix}"
    return str(number)


def percent(share: float) -> str:
    """Return a text such as 12 %; only exact shares read 0 % or 100 %."""
    if 0.0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1.0 else f"{100 * share:.0f} %"


def total(numbers: Iterable[float | None]) -> float | None:
    """Return the sum of the known numbers; None where none is known."""
    known = [number for number in numbers if number is not None]
    return math.fsum(known) if known else None


def _prefix(number: float, least: float) -> tuple[str, float]:
    fitting = (entry for entry in _PREFIXES if abs(number) * entry[1] >= least)
    return next(fitting, _PREFIXES[-1] if number else _PREFIXES[0])


def _decimals(largest: float, digits: int) -> int:
    in_front = 1 if abs(largest) < 1 else math.floor(math.log10(abs(largest))) + 1
    return min(max(0, digits - in_front), 3)
