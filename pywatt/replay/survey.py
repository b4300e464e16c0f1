"""Which calls a pass of the model makes, and which of them do the same work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.model.modules import ModuleEntry
from pywatt.replay.calls import Enough, Intercept, end_pass, intercepted
from pywatt.replay.same_work import work_of

FloatArray = npt.NDArray[np.float64]

# A container is replayed where its own time is at least this share of the run.
SIGNIFICANT_SHARE = 0.003


@dataclass(slots=True)
class Work:
    """Calls that do the same.

    Attributes:
        calls: where in a pass: indices of modules, and the number of the call of each.
        time_share: part of the run's time that such calls take, what they call included.
        share: part that they take themselves, where others are called in them.
        problem: why it cannot be replayed, "" where that needs no mention; None if it can.
    """

    calls: list[tuple[int, int]] = field(default_factory=list)
    time_share: float = 0.0
    share: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass called.

    Attributes:
        works: the kinds of calls, in the order in which they began first.
        of_call: for each module, the work of each of its calls.
        pass_s: how long the pass took.
    """

    works: list[Work]
    of_call: list[list[int]]
    pass_s: float

    def call_s(self, work: int) -> float:
        """About how long one call of a work takes."""
        found = self.works[work]
        return self.pass_s * found.time_share / len(found.calls)


def survey(
    entries: Sequence[ModuleEntry],
    run_pass: Callable[[], None],
    clock: _core.Clock,
    time_share: FloatArray,
    self_time_share: FloatArray,
    until_s: float,
) -> Survey:
    """Run one pass and see what it calls, so far as it comes.

    Args:
        entries: the model's modules.
        run_pass: runs a pass.
        clock: the host's clock.
        time_share: part of the real run that each module took, its children included.
        self_time_share: part that it took itself.
        until_s: the pass is ended at the first call after this moment.
    """
    index: dict[Hashable, int] = {}
    of_call: list[list[int]] = [[] for _ in entries]
    thread = threading.get_ident()

    def see(k: int) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
        def seen_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            key = work_of(entries[k].module, args, kwargs)
            of_call[k].append(index.setdefault(key, len(index)))
            if clock.now_s() > until_s:
                end_pass(thread)

        return seen_call

    with intercepted([Intercept(entry, see(k)) for k, entry in enumerate(entries)]):
        start_s = clock.now_s()
        with suppress(Enough):
            run_pass()
        pass_s = clock.now_s() - start_s
    works = [Work() for _ in index]
    inside = containers(entries, of_call)
    for k, calls in enumerate(of_call):
        share = (self_time_share if k in inside else time_share)[k]
        for call, which in enumerate(calls):
            works[which].calls.append((k, call))
            works[which].time_share += float(time_share[k]) / len(calls)
            works[which].share += float(share) / len(calls)
    for work in works:
        if work.calls[0][0] in inside and work.share < SIGNIFICANT_SHARE:
            work.problem = ""
    return Survey(works, of_call, pass_s)


def containers(entries: Sequence[ModuleEntry], of_call: Sequence[list[int]]) -> set[int]:
    """Modules below which others were called."""
    found: set[int] = set()
    above: list[int] = []
    for k, entry in enumerate(entries):
        del above[entry.depth :]
        if of_call[k]:
            found.update(above)
        above.append(k)
    return found
