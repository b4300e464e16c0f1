"""Find which calls a pass of the model makes, and which of them do the same work."""

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
from pywatt.replay.calls import EndPass, Intercept, end_pass, intercepted
from pywatt.replay.same_work import call_key

FloatArray = npt.NDArray[np.float64]

# A container is replayed if its own time is at least this share of the run.
SIGNIFICANT_SHARE = 0.003


@dataclass(slots=True)
class CallKind:
    """A kind of calls, which all do the same work.

    Attributes:
        calls: its calls in a pass: index of the module, and number of its call.
        time_share: share of the run's time that these calls take, with what they call.
        share: the same without what they call, if they call other modules.
        problem: why it cannot be replayed, "" if that needs no note; None if it can.
    """

    calls: list[tuple[int, int]] = field(default_factory=list)
    time_share: float = 0.0
    share: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass called.

    Attributes:
        kinds: the kinds of calls, in order of their first call.
        of_call: for each module, the index of the kind of each of its calls.
        pass_s: how long the pass took.
    """

    kinds: list[CallKind]
    of_call: list[list[int]]
    pass_s: float

    def call_s(self, kind: int) -> float:
        """Return about how long one call of a kind takes."""
        found = self.kinds[kind]
        return self.pass_s * found.time_share / len(found.calls)


def survey(
    entries: Sequence[ModuleEntry],
    run_pass: Callable[[], None],
    clock: _core.Clock,
    time_share: FloatArray,
    self_time_share: FloatArray,
    until_s: float,
) -> Survey:
    """Run one pass and record its calls, up to the time limit.

    Args:
        entries: the model's modules.
        run_pass: runs a pass.
        clock: the host's clock.
        time_share: share of the real run that each module took, children included.
        self_time_share: the same without children.
        until_s: the pass ends at the first call after this time.
    """
    index: dict[Hashable, int] = {}
    of_call: list[list[int]] = [[] for _ in entries]
    thread = threading.get_ident()

    def watch(k: int) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
        def on_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            key = call_key(entries[k].module, args, kwargs)
            of_call[k].append(index.setdefault(key, len(index)))
            if clock.now_s() > until_s:
                end_pass(thread)

        return on_call

    with intercepted([Intercept(entry, watch(k)) for k, entry in enumerate(entries)]):
        start_s = clock.now_s()
        with suppress(EndPass):
            run_pass()
        pass_s = clock.now_s() - start_s
    kinds = [CallKind() for _ in index]
    inside = containers(entries, of_call)
    for k, calls in enumerate(of_call):
        share = (self_time_share if k in inside else time_share)[k]
        for call, which in enumerate(calls):
            kinds[which].calls.append((k, call))
            kinds[which].time_share += float(time_share[k]) / len(calls)
            kinds[which].share += float(share) / len(calls)
    for kind in kinds:
        if kind.calls[0][0] in inside and kind.share < SIGNIFICANT_SHARE:
            kind.problem = ""
    return Survey(kinds, of_call, pass_s)


def containers(entries: Sequence[ModuleEntry], of_call: Sequence[list[int]]) -> set[int]:
    """Return the modules inside which others were called."""
    found: set[int] = set()
    above: list[int] = []
    for k, entry in enumerate(entries):
        del above[entry.depth :]
        if of_call[k]:
            found.update(above)
        above.append(k)
    return found
