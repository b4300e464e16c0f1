"""Shared by all benchmarks: a row of the table, and a fair comparison of two things."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class WrongAnswerError(Exception):
    """An answer is wrong, so its timing does not matter."""


def check(right: bool | np.bool_, message: str) -> None:
    """Raise WrongAnswerError unless `right`; unlike assert, also under python -O."""
    if not right:
        raise WrongAnswerError(message)


@dataclass(frozen=True)
class Target:
    figure: float  # what is compared
    sign: str  # "<=" or ">="
    limit: float
    shown: str

    @property
    def met(self) -> bool:
        return bool({"<=": operator.le, ">=": operator.ge}[self.sign](self.figure, self.limit))


@dataclass(frozen=True)
class Row:
    """One comparison; without a target it is reported and not judged."""

    what: str
    ours: str
    other: str = ""
    ratio: float | None = None
    target: Target | None = None

    @property
    def met(self) -> bool:
        return self.target is None or self.target.met


def timed(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def interleaved(rounds: int, *contenders: Callable[[], float]) -> list[np.ndarray]:
    """Time the contenders in turn, A B A B ..., so that a disturbance affects all of them."""
    times_s = np.array([[contender() for contender in contenders] for _ in range(rounds)])
    return list(times_s.T)


def median_ratio(numerator_s: np.ndarray, denominator_s: np.ndarray) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return float(np.median(numerator_s / denominator_s))


def median_with_error(slowdowns: np.ndarray) -> tuple[float, float]:
    """Return the median and its standard error, from the median absolute deviation."""
    median = float(np.median(slowdowns))
    std = 1.4826 * float(np.median(np.abs(slowdowns - median)))
    return median, 1.2533 * std / math.sqrt(len(slowdowns))


def show_s(duration_s: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if duration_s * scale >= 1.0:
            return f"{duration_s * scale:.3g} {unit}"
    return f"{duration_s * 1e9:.3g} ns"
