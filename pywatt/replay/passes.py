"""Passes of the model in which chosen calls are caught and repeated in blocks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pywatt import _core
from pywatt.model.modules import ModuleEntry
from pywatt.repetition.blocks import PASSES, Block
from pywatt.repetition.timing import NotRepeatable
from pywatt.replay.calls import Enough, Intercept, Repeater, end_pass, intercepted
from pywatt.replay.survey import Survey


class Passes:
    """Runs passes and keeps the blocks of calls that were repeated in them.

    Args:
        entries: the model's modules.
        seen: which calls a pass makes; a work that cannot be repeated is marked there.
        run_pass: runs one pass, on the same input each time, and leaves no trace of it.
        clock: the host's clock.
        idle: lets time pass while nothing runs.
        chance: which of several equal calls is repeated.
        tell: told what is going on.
    """

    def __init__(
        self,
        entries: Sequence[ModuleEntry],
        seen: Survey,
        run_pass: Callable[[], None],
        clock: _core.Clock,
        idle: Callable[[float], None],
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.blocks: list[Block] = []
        self._entries, self._works, self._run_pass = entries, seen.works, run_pass
        self._clock, self._idle, self._chance, self._tell = clock, idle, chance, tell

    def run(
        self, works: Sequence[int], block_s: Callable[[int], float], rest_s: Callable[[int], float]
    ) -> None:
        """Run the model until the calls of some works have been repeated.

        Args:
            works: the works.
            block_s: for how long each is repeated.
            rest_s: for how long the device idles before and after the block of each.
        """
        targets: dict[int, dict[int, int]] = {}
        for work in dict.fromkeys(works):
            k, call = self._chance.choice(self._works[work].calls)
            targets.setdefault(k, {})[call] = work
        waiting = sum(len(calls) for calls in targets.values())
        began_s = self._clock.now_s()
        self._prepare(targets)
        busy, thread = False, threading.get_ident()

        def see(k: int, intercepts: dict[int, Intercept]) -> Callable[..., None]:
            number = 0

            def seen_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                nonlocal number, waiting, busy, began_s
                if busy:
                    return
                call, number = number, number + 1
                work = targets[k].get(call)
                if work is None:
                    return
                busy, entry = True, self._entries[k]
                self._tell(f"replaying {entry.name or 'the model'} ({entry.type})")

                def ready() -> None:
                    self._add_pass(began_s, self._clock.now_s())
                    self._rest(rest_s(work))

                try:
                    repeater = self._repeater(k, call, intercepts[k], args, kwargs)
                    self.blocks.append(repeater.block(work, block_s(work), ready))
                    self._rest(rest_s(work))
                    began_s = self._clock.now_s()
                except NotRepeatable as problem:
                    self._works[work].problem = str(problem)
                finally:
                    busy = False
                waiting -= 1
                if waiting == 0:
                    end_pass(thread)

            return seen_call

        intercepts: dict[int, Intercept] = {}
        for k in targets:
            intercepts[k] = Intercept(self._entries[k], see(k, intercepts))
        with intercepted(intercepts.values()), suppress(Enough):
            self._run_pass()
        for work in works:
            if waiting and not any(b.work == work for b in self.blocks):
                self._works[work].problem = "a second pass did not call it as the first one did"
        self._add_pass(began_s, self._clock.now_s())

    def _prepare(self, targets: Mapping[int, Mapping[int, int]]) -> None:
        """Find out beforehand what repeating takes; works by module and number of its call."""

    def _repeater(
        self, k: int, call: int, intercept: Intercept, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Repeater:
        """What repeats a call of a module."""
        entry = self._entries[k]
        return Repeater(entry.module, intercept.run, args, kwargs, entry.device, self._clock)

    def _rest(self, duration_s: float) -> None:
        if duration_s > 0:
            self._idle(duration_s)

    def _add_pass(self, start_s: float, end_s: float) -> None:
        """Remember when something else than a block ran, of which nothing is known."""
        if end_s > start_s:
            self.blocks.append(Block(PASSES, np.array([start_s, end_s]), np.array([0.0, 1.0])))
