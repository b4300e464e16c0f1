"""Properties of a function, found without calling it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def works_later(function: Callable[..., Any]) -> bool:
    """Return whether a call returns before its work is done: a generator, a coroutine, or both."""
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        is_one(each)
        for each in (function, type(function).__call__)  # an object is called through its class
        for is_one in (
            inspect.isgeneratorfunction,
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
        )
    )


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
