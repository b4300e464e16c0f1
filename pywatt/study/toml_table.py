"""One table of a TOML file, read key by key; errors name the line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pywatt.errors import StudyError

Place = tuple[str | int, ...]

_REQUIRED: Any = object()
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*([\w.-]+|"[^"]*"|'[^']*')\s*=""")


class TomlTable:
    """A table and its place in the file.

    Args:
        path: the file, for messages.
        text: text of the file.
        table: this table, parsed.
        place: keys and indices that lead to it.
        below: a table whose keys are defaults.
    """

    def __init__(
        self,
        path: Path,
        text: str,
        table: Mapping[str, Any],
        place: Place = (),
        below: TomlTable | None = None,
    ) -> None:
        self._path, self._text, self._place = path, text, place
        self._own, self._below = table, below
        self._table: dict[str, Any] = {**({} if below is None else below._table), **table}
        self._read: dict[str, None] = {}

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the table."""
        return frozenset(self._table)

    def over(self, below: TomlTable) -> TomlTable:
        """Return this table, with the keys of another where it lacks them."""
        return TomlTable(self._path, self._text, self._own, self._place, below)

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return the value of a key, of any type."""
        self._read[key] = None
        if key not in self._table:
            if default is _REQUIRED:
                self.fail((), f"has no {key!r}, which it needs")
            return default
        return self._table[key]

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """Return a string that is not empty."""
        found = self.get(key, default)
        if not (isinstance(found, str) and found.strip()):
            self.fail((key,), f'must be a string, such as {key} = "a", not {found!r}')
        return str(found)

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """Return one or more distinct strings."""
        found = self.get(key, default)
        items = found if isinstance(found, (list, tuple)) else [found]
        if not items or not all(isinstance(item, str) and item for item in items):
            self.fail((key,), f'must be strings, such as {key} = ["a", "b"], not {found!r}')
        return self._each_once(key, items)

    def number(self, key: str, *, above: float, default: Any = _REQUIRED) -> float:
        """Return a number above a limit."""
        found = self.get(key, default)
        right = isinstance(found, (int, float)) and not isinstance(found, bool)
        if not right or not above < found < math.inf:
            self.fail((key,), f"must be a number above {above:g}, not {found!r}")
        return float(found)

    def whole_number(self, key: str, *, least: int, default: Any = _REQUIRED) -> int:
        """Return an integer of at least `least`."""
        found = self.get(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or found < least:
            self.fail((key,), f"must be an integer of at least {least}, not {found!r}")
        return int(found)

    def whole_numbers(self, key: str, default: Any = _REQUIRED) -> tuple[int, ...]:
        """Return one or more distinct integers from 0 to 2**32 - 1."""
        found = self.get(key, default)
        items = found if isinstance(found, (list, tuple)) else [found]
        right = (isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**32 for i in items)
        if not items or not all(right):
            self.fail((key,), f"must be integers from 0 to 2**32 - 1, such as {key} = [0, 1]")
        return self._each_once(key, items)

    def table(self, key: str, *, or_else: str = "") -> TomlTable:
        """Return a table inside this one."""
        found = self.get(key)
        if not isinstance(found, dict):
            self.fail((key,), f"must be a table, which [{key}] begins {or_else}".rstrip())
        return TomlTable(self._path, self._text, found, (*self._place, key))

    def tables(self, key: str) -> Iterator[TomlTable]:
        """Yield the tables of an array inside this one; there must be at least one."""
        found = self.get(key)
        if not isinstance(found, list) or not found or not all(isinstance(t, dict) for t in found):
            self.fail((key,), f"must be tables, each begun by [[{key}]]")
        for index, table in enumerate(found):
            yield TomlTable(self._path, self._text, table, (*self._place, key, index))

    def done(self) -> None:
        """Raise for keys that were never read."""
        for key in self._table:
            if key not in self._read:
                near = difflib.get_close_matches(key, self._read, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self._read)}"
                self.fail((key,), f"is not a known key; {hint}")

    def where(self, place: Place) -> str:
        """Return file, line and key of a place in this table."""
        if self._below is not None and place and place[0] not in self._own:
            return self._below.where(place)
        whole = (*self._place, *place)
        line = _line_of(self._text, whole)
        parts = [str(self._path), *([f"line {line}"] if line else []), *([_dotted(whole)])]
        return ", ".join(part for part in parts if part)

    def fail(self, place: Place, what: str) -> NoReturn:
        """Raise StudyError with the place and what is wrong there."""
        raise StudyError(f"{self.where(place)}: {what}")

    def _each_once(self, key: str, items: Any) -> tuple[Any, ...]:
        if len(set(items)) < len(items):
            self.fail((key,), f"has a duplicate: {list(items)!r}")
        return tuple(items)


def _dotted(place: Place) -> str:
    parts = (f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def _line_of(text: str, place: Place) -> int | None:
    """Return the line, from 1, of a place or of the nearest table that holds it; None if not found.

    TOML parsers keep no line numbers. This finds headers and keys at the start of a line, where
    they usually are.
    """
    best: tuple[int, int] | None = None
    counts: dict[Place, int] = {}
    here: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            here = _header_place(header[1], header[2], counts)
            found = here
        elif key := _KEY.match(line):
            found = (*here, *_keys(key[1]))
        else:
            continue
        if found == place[: len(found)] and (best is None or len(found) > best[0]):
            best = len(found), number
    return None if best is None else best[1]


def _header_place(bracket: str, name: str, counts: dict[Place, int]) -> Place:
    """Return the place that a header begins, with arrays of tables counted."""
    place: Place = ()
    keys = _keys(name)
    for depth, key in enumerate(keys):
        place = (*place, key)
        if bracket == "[[" and depth == len(keys) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _keys(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
