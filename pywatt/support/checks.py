"""Checks of numbers that users give; errors say what to give instead."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

from pywatt.errors import ArgumentError


def check_count(name: str, count: Any, least: int, **or_else: str | None) -> None:
    """Raise ArgumentError unless `count` is an integer of at least `least`, or is `or_else`."""
    if count in or_else.values():
        return
    if not isinstance(count, SupportsIndex) or operator.index(count) < least:
        others = "".join(f", or {other!r}" for other in or_else.values())
        raise ArgumentError(
            f"{name} is {count!r}, but must be a whole number of at least {least}{others}"
        )


def check_positive(name: str, number: Any, example: str) -> None:
    """Raise ArgumentError unless `number` is finite and above 0."""
    try:
        right = not isinstance(number, bool | str | bytes) and 0.0 < float(number) < math.inf
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise ArgumentError(f"{name} is {number!r:.60}: give a number above 0, such as {example}")
