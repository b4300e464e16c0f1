"""The phases of a training, as a loop marks them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pywatt.training.hooks import TIMED

# While nothing is measured.
NO_PHASES: Mapping[str, AbstractContextManager[Any]] = {phase: nullcontext() for phase in TIMED}


class PhaseMark:
    """What a loop enters for a phase: it may be kept, and entered in any step.

    Args:
        name: the phase.
        recorders: what records each phase now; another in each segment, and in traced steps.
    """

    __slots__ = ("_entered", "_name", "_recorders")

    def __init__(self, name: str, recorders: Mapping[str, AbstractContextManager[Any]]) -> None:
        self._name, self._recorders = name, recorders
        self._entered: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> None:
        """Begin the phase; inside of another, it belongs to that one."""
        recorder = self._recorders[self._name]
        self._entered.append(recorder)
        recorder.__enter__()

    def __exit__(self, *exception: Any) -> None:
        """End it."""
        self._entered.pop().__exit__(*exception)
