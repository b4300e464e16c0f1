"""Significance as a z: standard deviations of a normal deviate."""

import math


def as_z(t: float, freedom: float) -> float:
    """Return the z that a normal deviate exceeds as rarely as Student's t exceeds `t`."""
    from scipy.special import ndtri, stdtr

    return math.copysign(float(ndtri(stdtr(freedom, -abs(t)))), t)


def of_many(z: float, count: int) -> float:
    """Return the z that any of `count` independent deviates exceeds as rarely as one exceeds `z`.

    This is Sidak's correction.
    """
    from scipy.special import ndtr, ndtri

    # log1p and expm1, since the probabilities are too near to 1 for a plain root.
    return float(-ndtri(-math.expm1(math.log1p(-ndtr(-z)) / max(count, 1))))
