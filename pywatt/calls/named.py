"""A function and its arguments, from the text of a command line."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pywatt.errors import ArgumentError
from pywatt.support.callables import name_of

_EXAMPLE = "give module:function or path/to/file.py:function, such as json:dumps"
_BY_NAME = re.compile(r"([A-Za-z_]\w*)=(?!=)(.*)", re.DOTALL)


def function_named(target: str, *, folder: Path) -> Callable[..., Any]:
    """Import what ``module:function`` or ``path/to/file.py:function`` names.

    The folder, or the file's own, comes first on the import path, as in Python itself. A file is
    run once, as a module is. Errors in it propagate unchanged.

    Args:
        target: what to import.
        folder: where to look for modules and paths.

    Raises:
        ArgumentError: there is no such module or function, or it cannot be called.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ArgumentError(f"{target!r} names no function: {_EXAMPLE}")
    is_file = place.endswith(".py")
    module = _from_file(folder / place, place) if is_file else _from_name(place, folder)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            callables = [n for n, at in vars(module).items() if callable(at) and n[0] != "_"]
            known = ", ".join(callables[:8]) or "nothing that can be called"
            raise ArgumentError(f"{place} has no {name!r}; it has {known}") from None
    if not callable(found):
        raise ArgumentError(f"{target} is {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]  # checked above


def _from_name(name: str, folder: Path) -> ModuleType:
    _look_first_in(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that this one imports is missing: not our error.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ArgumentError(
            f"there is no module {name!r} in {folder} or installed: {_EXAMPLE}"
        ) from None
    except (ValueError, TypeError):  # a name such as ".x"
        raise ArgumentError(f"{name!r} is not a module name: {_EXAMPLE}") from None


def _from_file(path: Path, given: str) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"there is no file {given}")
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if getattr(loaded, "__file__", None) == str(path):
        return loaded  # type: ignore[return-value]  # it has a file
    _look_first_in(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # its name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses of the file look up their module there.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _look_first_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def arguments_of(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Read arguments: ``name=value`` by name, others in order; Python literals, else text."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        by_name = _BY_NAME.fullmatch(text)
        if by_name is None:
            args.append(_literal(text))
        elif by_name[1] in kwargs:
            raise ArgumentError(f"the argument {by_name[1]} is given twice")
        else:
            kwargs[by_name[1]] = _literal(by_name[2])
    return args, kwargs


def check_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Raise an ArgumentError where a function's signature does not accept the arguments."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some of those written in C
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        called = f"{name_of(function)}{signature}"
        raise ArgumentError(f"{called} does not take these arguments: {error}; see --arg") from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def share_of(text: str) -> float:
    """Read a share: ``2%`` or ``0.02``."""
    try:
        return float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        raise ArgumentError(f"{text!r} is not a share: give 2% or 0.02") from None
