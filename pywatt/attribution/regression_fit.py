"""Fit powers to means over known mixtures of them, shrunk toward the common mean.

Readings are y = A p + noise: row k of A holds the shares of reading k's window in each name, p the
powers. The powers scatter around an unknown mean with a standard deviation (spread) that is also
unknown. How probable the readings are under each spread and noise (restricted likelihood;
D. Harville, J. Am. Stat. Assoc. 72, 1977) weighs them; powers and covariance are summed over all
spreads, so that powers that the readings do not determine keep the prior's uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Spreads that are tried, as shares of the mean power, and how large one is expected to be: names
# draw anything between idle and several times the mean.
SPREADS = np.geomspace(1e-3, 10.0, 41)
SPREAD_SCALE = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PowerFit:
    """Powers fitted to readings.

    Attributes:
        power_w: mean of the powers' distribution, shape (names,).
        covariance: its covariance in W², shape (names, names).
        trend: coefficients of the trends, shape (trends,).
        log_evidence: logarithm of how probable the readings are, up to a constant.
        residual_w: residuals of the readings, times trust, shape (readings,).
        explained: share of the readings' variance that is predicted for each from the others.
        condition: largest over smallest influence of any mixture of powers on the readings.
    """

    power_w: FloatArray
    covariance: FloatArray
    trend: FloatArray
    log_evidence: float
    residual_w: FloatArray
    explained: float
    condition: float


def fit_powers(
    shares: FloatArray,
    reading_w: FloatArray,
    trends_w: FloatArray,
    floor_w: float,
    trust: FloatArray,
) -> PowerFit:
    """Fit the powers whose mixtures the readings are.

    Args:
        shares: shape (readings, names); each row's sum is 1.
        reading_w: shape (readings,).
        trends_w: what slow changes add to the readings, times unknown coefficients;
            shape (readings, trends).
        floor_w: smallest noise of a reading, such as that of its resolution.
        trust: one over each reading's noise, relative to the others, about 1; shape (readings,).
    """
    readings, names = shares.shape
    # The common mean and the trends are free: what they explain is projected out.
    free = trust[:, None] * np.column_stack((np.ones(readings), trends_w))
    mean_w = max(abs(float(np.mean(reading_w))), floor_w)
    shares, reading_w = trust[:, None] * shares, trust * reading_w
    basis, _ = np.linalg.qr(free)
    inverse = np.linalg.pinv(free)
    mixed = shares - basis @ (basis.T @ shares)
    varied = reading_w - basis @ (basis.T @ reading_w)
    influence, axes = np.linalg.eigh(mixed.T @ mixed)
    influence = np.maximum(influence, 0.0)
    along = axes.T @ (mixed.T @ varied)
    degrees = max(1, readings - free.shape[1])
    squares = float(varied @ varied)

    rough_noise_w = np.sqrt(
        _squares_left(squares, along, influence, 1e12, floor_w, degrees) / degrees
    )
    ratios = (SPREADS * mean_w / rough_noise_w) ** 2
    left = _squares_left(squares, along, influence, ratios, floor_w, degrees)
    # Few readings determine their noise badly: Student's distribution is wider.
    noise_var = left / degrees
    spread_w = np.sqrt(ratios * noise_var)
    likely = -0.5 * np.sum(np.log1p(np.outer(ratios, influence)), axis=1)
    likely += -0.5 * degrees * np.log(left)
    prior = -0.5 * (spread_w / (SPREAD_SCALE * mean_w)) ** 2
    weight = likely + prior + np.log(np.gradient(spread_w) / mean_w)
    log_evidence = float(np.logaddexp.reduce(weight))
    weight = np.exp(weight - log_evidence)

    kept = ratios[:, None] / (1.0 + np.outer(ratios, influence))
    offsets = axes @ (kept * along).T  # of the powers from their mean, for each spread
    offsets_w = offsets @ weight
    away = offsets - offsets_w[:, None]
    covariance = (axes * (weight @ (noise_var[:, None] * kept))) @ axes.T
    covariance += (away * weight) @ away.T
    # The mean takes back what the offsets add to the readings on average.
    taken = inverse[0] @ shares
    moved = covariance @ taken
    covariance += float(taken @ moved) - moved[:, None] - moved[None, :]
    noise = float(weight @ noise_var)
    covariance += noise * float(inverse[0] @ inverse[0])
    coefficients = inverse @ (reading_w - shares @ offsets_w)
    residual_w = varied - mixed @ offsets_w

    ratio = float(np.exp(weight @ np.log(ratios)))
    hat = np.sum(basis**2, axis=1)
    rest = np.maximum(1.0 - hat, 1e-9)
    hat = hat + np.sum((mixed @ axes) ** 2 * (ratio / (1.0 + ratio * influence)), axis=1)
    left_out = np.sum((residual_w / np.maximum(1.0 - hat, 1e-9)) ** 2)
    variance = np.sum((varied / rest) ** 2)
    ranked = np.sort(influence)
    # One mixture, that of all names alike, is the common mean's.
    smallest = ranked[1] if names > 1 else ranked[0]
    return PowerFit(
        power_w=offsets_w + coefficients[0],
        covariance=covariance,
        trend=coefficients[1:],
        log_evidence=log_evidence,
        residual_w=residual_w,
        explained=float(1.0 - left_out / variance) if variance > 0 else 0.0,
        condition=float(np.sqrt(ranked[-1] / smallest)) if smallest > 0 else float("inf"),
    )


def _squares_left(
    squares: float,
    along: FloatArray,
    influence: FloatArray,
    ratio: FloatArray | float,
    floor_w: float,
    degrees: int,
) -> FloatArray:
    """Return the sum of squares that each ratio of spread to noise leaves, its penalty included."""
    kept = 1.0 / (1.0 / np.asarray(ratio)[..., None] + influence)
    return np.maximum(squares - kept @ along**2, degrees * floor_w**2)
