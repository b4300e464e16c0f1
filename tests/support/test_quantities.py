"""Numbers with units, and how many digits they have."""

import pytest

from pywatt.support.quantities import Scale, count, quantity, with_std


@pytest.mark.parametrize(
    ("largest", "unit", "decimals", "text"),
    [
        (50.0, "J", 3, "50.000"),
        (5.0, "mJ", 1, "5,000.0"),
        (0.05, "mJ", 3, "50.000"),
        (5e-3, "µJ", 1, "5,000.0"),
        (3e-6, "µJ", 3, "3.000"),
        (0.0, "J", 3, "0.000"),
        (1234567.8, "J", 0, "1,234,568"),
    ],
)
def test_one_unit_for_a_column(largest, unit, decimals, text):
    scale = Scale.of(largest, "J")
    assert (scale.unit, scale.decimals, scale.text(largest)) == (unit, decimals, text)


@pytest.mark.parametrize(
    ("number", "std", "text"),
    [
        (65.2134, 0.43, "65.21 ± 0.43 J"),
        (65.2134, 12.0, "65 ± 12 J"),
        (0.0652134, 0.00043, "65.21 ± 0.43 mJ"),
        (65.2134, 0.0, "65.21 J"),
        (65.2134, None, "65.21 J"),
        (7.772028, 1e-9, "7.772028 ± <0.000001 J"),
    ],
)
def test_the_uncertainty_decides_the_digits(number, std, text):
    assert with_std(number, std, "J") == text


def test_short_numbers():
    assert quantity(12345.6, "J") == "12,346 J"
    assert quantity(0.0021, "s") == "2.1 ms"
    assert [count(n) for n in (0, 999, 25_557_032)] == ["0", "999", "25.6 M"]
