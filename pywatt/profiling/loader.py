"""The batches of a loader, repeated as often as the sensors need."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pywatt.errors import ArgumentError
from pywatt.support.notes import NoteOnParts

# Factor by which the number of passes grows between two checks of whether they are enough.
CHECK_GROWTH = 1.25


def can_iterate(loader: Any) -> bool:
    """Return whether `iter` accepts the loader."""
    return hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")


class Batches:
    """The batches of a loader, in one pass or several.

    Raises:
        ArgumentError: the loader has no batch.
    """

    def __init__(self, loader: Iterable[Any], max_batches: int | None) -> None:
        self._loader, self._most = loader, max_batches
        self._rest = iter(loader)
        self._passes = 1
        head = list(itertools.islice(self._rest, 1))
        if not head:
            raise ArgumentError("the loader gave no batch: there is nothing to profile")
        self.first = head[0]

    @property
    def count(self) -> int | None:
        """Number of batches in one pass; None where the loader does not know it."""
        try:
            length = len(self._loader)  # type: ignore[arg-type]  # not every loader has a length
        except Exception:  # a loader may work although its __len__ raises
            return self._most
        return length if self._most is None else min(length, self._most)

    def until(self, enough: Callable[[], bool]) -> Iterator[Any]:
        """Yield the batches, and repeat the loader until `enough()`, if it can be repeated."""
        yield from itertools.islice(itertools.chain([self.first], self._rest), self._most)
        if self._most is not None or self._loader is self._rest:
            return
        checked = 0.0
        while True:
            # A check takes time, which matters beside short passes.
            if self._passes >= CHECK_GROWTH * checked:
                if enough():
                    return
                checked = self._passes
            before = self._passes
            for batch in self._loader:
                self._passes = before + 1
                yield batch
            if self._passes == before:
                return  # exhausted: it can be iterated only once

    @property
    def notes(self) -> tuple[str, ...]:
        """A note where the loader was repeated."""
        if self._passes == 1:
            return ()
        return (
            NoteOnParts(
                f"repeated the loader {self._passes} times: one pass is too short for the sensors; "
                "calls, time and energy are sums over all passes"
            ),
        )
