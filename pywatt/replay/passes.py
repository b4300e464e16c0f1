"""Passes of the model in which chosen calls are intercepted and repeated in blocks."""

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
from pywatt.replay.calls import EndPass, Intercept, Repeater, end_pass, intercepted
from pywatt.replay.survey import Survey


class Passes:
    """Runs passes and keeps the blocks of calls that they repeated.

    Args:
        entries: the model's modules.
        seen: the calls of a pass; a kind that cannot be repeated gets its `problem` there.
        run_pass: runs one pass, on the same input each time, without side effects.
        clock: the host's clock.
        idle: waits while nothing runs.
        rng: chooses which of several equal calls is repeated.
        report: called with a description of the current step.
    """

    def __init__(
        self,
        entries: Sequence[ModuleEntry],
        seen: Survey,
        run_pass: Callable[[], None],
        clock: _core.Clock,
        idle: Callable[[float], None],
        rng: random.Random,
        report: Callable[[str], None],
    ) -> None:
        self.blocks: list[Block] = []
        self._entries, self._kinds, self._run_pass = entries, seen.kinds, run_pass
        self._clock, self._idle, self._rng, self._report = clock, idle, rng, report

    def run(
        self, kinds: Sequence[int], block_s: Callable[[int], float], rest_s: Callable[[int], float]
    ) -> None:
        """Run the model until a call of each of these kinds has been repeated.

        Args:
            kinds: indices of the kinds.
            block_s: for how long each is repeated.
            rest_s: for how long the device idles before and after each block.
        """
        targets: dict[int, dict[int, int]] = {}
        for kind in dict.fromkeys(kinds):
            k, call = self._rng.choice(self._kinds[kind].calls)
            targets.setdefault(k, {})[call] = kind
        waiting = sum(len(calls) for calls in targets.values())
        began_s = self._clock.now_s()
        self._prepare(targets)
        busy, thread = False, threading.get_ident()

        def watch(k: int, intercepts: dict[int, Intercept]) -> Callable[..., None]:
            number = 0

            def on_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                nonlocal number, waiting, busy, began_s
                if busy:
                    return
                call, number = number, number + 1
                kind = targets[k].get(call)
                if kind is None:
                    return
                busy, entry = True, self._entries[k]
                self._report(f"replaying {entry.name or 'the model'} ({entry.type})")

                def ready() -> None:
                    self._add_pass(began_s, self._clock.now_s())
                    self._rest(rest_s(kind))

                try:
                    repeater = self._repeater(k, call, intercepts[k], args, kwargs)
                    self.blocks.append(repeater.block(kind, block_s(kind), ready))
                    self._rest(rest_s(kind))
                    began_s = self._clock.now_s()
                except NotRepeatable as problem:
                    self._kinds[kind].problem = str(problem)
                finally:
                    busy = False
                waiting -= 1
                if waiting == 0:
                    end_pass(thread)

            return on_call

        intercepts: dict[int, Intercept] = {}
        for k in targets:
            intercepts[k] = Intercept(self._entries[k], watch(k, intercepts))
        with intercepted(intercepts.values()), suppress(EndPass):
            self._run_pass()
        for kind in kinds:
            if waiting and not any(b.kind == kind for b in self.blocks):
                self._kinds[kind].problem = "a second pass did not call it as the first one did"
        self._add_pass(began_s, self._clock.now_s())

    def _prepare(self, targets: Mapping[int, Mapping[int, int]]) -> None:
        """Prepare for repeating; `targets` are kinds by module and number of its call."""

    def _repeater(
        self, k: int, call: int, intercept: Intercept, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Repeater:
        """Return what repeats a call of a module."""
        entry = self._entries[k]
        return Repeater(entry.module, intercept.run, args, kwargs, entry.device, self._clock)

    def _rest(self, duration_s: float) -> None:
        if duration_s > 0:
            self._idle(duration_s)

    def _add_pass(self, start_s: float, end_s: float) -> None:
        """Add a block for the time when something unknown ran."""
        if end_s > start_s:
            self.blocks.append(Block(PASSES, np.array([start_s, end_s]), np.array([0.0, 1.0])))
