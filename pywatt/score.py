"""Scores that set accuracy against electricity: pure functions of plain numbers."""

import math

from pywatt.errors import ScoreDomainError


def sam(accuracy: float, energy_kwh: float, *, alpha: float = 5.0, beta: float = 5.0) -> float:
    """The Sustainable-Accuracy Metric, literally: beta * accuracy**alpha / log10(energy_kwh).

    Source: "Watt For What", arXiv 2310.06522, where version 1 calls it GreenQuotientIndex.

    Args:
        accuracy: a fraction in [0, 1], not percent.
        energy_kwh: electricity in kWh, more than 1. At 1 kWh the formula has a pole, and below it
            a higher accuracy scores lower.
        alpha: how strongly high accuracy is rewarded, 0 or more.
        beta: a scale, 0 or more.

    Raises:
        ScoreDomainError: where the metric is not defined. `penalized_score` is, for any energy.
    """
    _require_common(accuracy, alpha, beta)
    if not math.isfinite(energy_kwh):
        raise ScoreDomainError(f"SAM needs a finite energy in kWh, not {energy_kwh}")
    if energy_kwh <= 1.0:
        raise ScoreDomainError(
            f"SAM needs more than 1 kWh, and this is {energy_kwh:.4g} kWh: at 1 kWh its logarithm "
            "is zero, and below that a higher accuracy would score lower; use penalized_score"
        )
    reward: float = beta * accuracy**alpha
    return reward / math.log10(energy_kwh)


def penalized_score(
    accuracy: float,
    energy_j: float,
    *,
    reference_j: float = 1.0,
    alpha: float = 5.0,
    beta: float = 5.0,
) -> float:
    """SAM without its pole: beta * accuracy**alpha / log10(10 + energy_j / reference_j).

    Ours, after `sam`. It falls with energy and rises with accuracy everywhere; without energy it
    is beta * accuracy**alpha. Compare scores only if they share reference_j, alpha and beta.

    Args:
        accuracy: a fraction in [0, 1], not percent.
        energy_j: J, 0 or more; a profile gives J per sample.
        reference_j: the energy that counts as one unit, J, more than 0.
        alpha: how strongly high accuracy is rewarded, 0 or more.
        beta: a scale, 0 or more.

    Raises:
        ScoreDomainError: for anything outside these ranges.
    """
    _require_common(accuracy, alpha, beta)
    if not (math.isfinite(energy_j) and energy_j >= 0.0):
        raise ScoreDomainError(f"the score needs a finite energy of 0 J or more, not {energy_j} J")
    if not (math.isfinite(reference_j) and reference_j > 0.0):
        raise ScoreDomainError(
            f"the score needs a finite reference_j of more than 0 J, not {reference_j} J"
        )
    reward: float = beta * accuracy**alpha
    return reward / math.log10(10.0 + energy_j / reference_j)


def _require_common(accuracy: float, alpha: float, beta: float) -> None:
    if not 0.0 <= accuracy <= 1.0:  # also refuses NaN
        hint = f"; is it percent? Then give {accuracy / 100:g}" if 1.0 < accuracy <= 100.0 else ""
        raise ScoreDomainError(f"accuracy must be a fraction from 0 to 1, not {accuracy}{hint}")
    for name, exponent in (("alpha", alpha), ("beta", beta)):
        if not (math.isfinite(exponent) and exponent >= 0.0):
            raise ScoreDomainError(f"{name} must be finite and 0 or more, not {exponent}")
