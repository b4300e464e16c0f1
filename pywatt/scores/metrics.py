"""Scores of accuracy against electricity: pure functions of plain numbers."""

import math

from pywatt.errors import ScoreDomainError


def sam(accuracy: float, energy_kwh: float, *, alpha: float = 5.0, beta: float = 5.0) -> float:
    """Return the Sustainable-Accuracy Metric, beta * accuracy**alpha / log10(energy_kwh).

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
    """Return SAM without its pole, beta * accuracy**alpha / log10(10 + energy_j / reference_j).

    Pywatt's own variant of `sam`. It falls with energy and rises with accuracy everywhere; at 0 J
    it is beta * accuracy**alpha. Compare scores only if they share reference_j, alpha and beta.

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


def sapi(
    accuracy: float,
    energy_j: float,
    parameters: float,
    *,
    alpha: float = 1 / 2,
    beta: float = 1 / 3,
    gamma: float = 1 / 6,
) -> float:
    """Return SAPI, accuracy**alpha / (log10(mJ per sample)**beta * log10(parameters)**gamma).

    Source: arXiv 2610.10324, as quoted by others. Whether its performance is a fraction or percent
    is not known here; that scales all scores alike and changes no ranking.

    Args:
        accuracy: a fraction in [0, 1], not percent.
        energy_j: J per sample; more than 1 mJ, where the formula has a pole.
        parameters: number of parameters of the model; more than 1, for the same reason.
        alpha: how strongly high accuracy is rewarded, 0 or more.
        beta: how strongly energy is penalized, 0 or more.
        gamma: how strongly size is penalized, 0 or more.

    Raises:
        ScoreDomainError: for anything outside these ranges.
    """
    _require_common(accuracy, alpha, beta, gamma)
    if not (math.isfinite(energy_j) and energy_j > 1e-3):
        raise ScoreDomainError(
            f"SAPI needs a finite energy above 1 mJ per sample, not {1e3 * energy_j:.4g} mJ: "
            "at 1 mJ its logarithm is zero; use penalized_score"
        )
    if not (math.isfinite(parameters) and parameters > 1):
        raise ScoreDomainError(f"SAPI needs more than one parameter, not {parameters}")
    reward: float = accuracy**alpha
    penalty: float = math.log10(1e3 * energy_j) ** beta * math.log10(parameters) ** gamma
    return reward / penalty


def netscore(
    accuracy: float,
    parameters: float,
    macs: float,
    *,
    alpha: float = 2.0,
    beta: float = 0.5,
    gamma: float = 0.5,
) -> float:
    """Return NetScore, 20 * log10(percent**alpha / (M parameters**beta * G-MACs**gamma)).

    Source: Wong, "NetScore", arXiv 1806.05512, in the units in which it is commonly computed. It
    uses multiply-accumulates in place of a measured energy.

    Args:
        accuracy: a fraction in (0, 1], not percent: the logarithm of 0 is not defined.
        parameters: number of parameters of the model; more than 0.
        macs: multiply-accumulates for one sample; half as many as FLOPs. More than 0.
        alpha: how strongly high accuracy is rewarded, 0 or more.
        beta: how strongly size is penalized, 0 or more.
        gamma: how strongly computation is penalized, 0 or more.

    Raises:
        ScoreDomainError: for anything outside these ranges.
    """
    _require_common(accuracy, alpha, beta, gamma)
    for name, number in (("accuracy", accuracy), ("parameters", parameters), ("macs", macs)):
        if not (math.isfinite(number) and number > 0.0):
            raise ScoreDomainError(f"NetScore needs finite {name} of more than 0, not {number}")
    return 20.0 * (
        alpha * math.log10(100.0 * accuracy)
        - beta * math.log10(parameters / 1e6)
        - gamma * math.log10(macs / 1e9)
    )


def _require_common(accuracy: float, alpha: float, beta: float, gamma: float = 0.0) -> None:
    if not 0.0 <= accuracy <= 1.0:  # also refuses NaN
        hint = f"; is it percent? Then give {accuracy / 100:g}" if 1.0 < accuracy <= 100.0 else ""
        raise ScoreDomainError(f"accuracy must be a fraction from 0 to 1, not {accuracy}{hint}")
    for name, exponent in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not (math.isfinite(exponent) and exponent >= 0.0):
            raise ScoreDomainError(f"{name} must be finite and 0 or more, not {exponent}")
