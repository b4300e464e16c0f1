"""Track the backward calls of modules by marking the autograd nodes of their forward calls.

Autograd numbers nodes as they are created and, of those that are ready, runs the newest first. So
the nodes of a call have the numbers between its start and its end, and a mark wherever the owner
changes shows when each module's backward call begins and ends. Marks do not touch
gradients. Full backward hooks wrap a module in a node of their own, which forbids in-place
operations. A backward pass may run several graphs in turn, one for each outermost call, and
checkpointing runs one pass inside a node of another.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch

# Outputs are searched for tensors no deeper.
MAX_DEPTH = 6

# One call on the way from the outermost module to the owner of a node: its module and its number.
Frame = tuple[int, int]


def next_number() -> int:
    """Return the number that autograd gives the next node of this thread."""
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]  # not in its stub


class BackwardTracker:
    """Follows forward calls of modules, marks their nodes, and reports their backward calls.

    Args:
        enter: called with the module's index when its backward call begins.
        leave: called when it ends.
        arrive: called before each mark in a thread other than the one of `expect`.

    Attributes:
        missed: whether a backward pass ran unexpectedly; its modules are not reported.
        late: whether a backward pass ran in another step than its forward. It may span several
            steps, some of whose nodes have no marks: reported backward calls are invalid then.
    """

    def __init__(
        self,
        enter: Callable[[int], None],
        leave: Callable[[int], None],
        arrive: Callable[[int], None],
    ) -> None:
        self._enter, self._leave, self._arrive = enter, leave, arrive
        self._thread = 0  # thread of the open forward calls
        self._open: list[int] = []  # open forward calls
        self._calls: list[tuple[int, int]] = []  # of this step: module, parent call
        # First node number of each stretch, and its innermost call. Numbers are per thread.
        self._from: list[int] = []
        self._innermost: list[int] = []
        self._first = 0  # number of the outermost call's first node
        self._backward: list[Frame] = []  # open backward calls
        self._expected: int | None = None  # thread of the expected backward
        # Open backward passes: autograd's number -> how many calls were open when it began.
        self._passes: dict[int, int] = {}
        self._step = 0
        self.missed = self.late = False

    def begin_step(self) -> None:
        """Begin a step, traced or not: earlier calls do not belong to it."""
        self._step += 1
        self._calls.clear()
        self._clear_numbers()

    def expect(self) -> None:
        """Expect a backward pass in this thread, with no call open."""
        self._expected = threading.get_ident()
        self._backward.clear()
        self._passes.clear()

    def close(self) -> None:
        """End the backward phase, and with it all open calls, backward and forward."""
        if self._expected == threading.get_ident():
            self._switch_to(0, ())
        self._backward.clear()
        self._passes.clear()
        self._open.clear()
        self._expected = None

    def begin_call(self, module: int) -> None:
        """Begin a forward call of a module."""
        thread = threading.get_ident()
        if not self._open:
            if self._thread != thread:
                self._thread = thread
                self._clear_numbers()
            self._first = next_number()
        elif self._thread != thread:
            return
        self._calls.append((module, self._open[-1] if self._open else -1))
        self._open.append(len(self._calls) - 1)
        self._record_innermost(self._open[-1])

    def end_call(self, module: int, output: Any) -> None:
        """End a forward call of a module; mark the nodes if it is the outermost one."""
        if not self._open or self._thread != threading.get_ident():
            return
        # Calls that end by an exception are not always reported.
        while self._open and self._calls[self._open.pop()][0] != module:
            pass
        self._record_innermost(self._open[-1] if self._open else -1)
        if not self._open:
            self._mark(output)

    def _record_innermost(self, innermost: int) -> None:
        self._from.append(next_number())
        self._innermost.append(innermost)

    def _clear_numbers(self) -> None:
        self._from.clear()
        self._innermost.clear()

    def _mark(self, output: Any) -> None:
        seen: set[Any] = set()
        inside: list[tuple[int, Any]] = []
        before: list[tuple[int, Any]] = []
        made_by = (tensor.grad_fn for tensor in tensors_in(output))
        pending = [node for node in made_by if node is not None]
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            number = node._sequence_nr()
            if number >= 1 << 63:  # gradient of a leaf, accumulated at once
                continue
            if number < self._first:
                before.append((number, node))
                continue
            inside.append((number, node))
            pending += [source for source, _ in node.next_functions if source is not None]
        if not inside:
            return
        inside.sort(key=lambda one: one[0], reverse=True)
        owner = -2
        for number, node in inside:
            call = self._call_of(number)
            if call != owner:
                owner = call
                node.register_prehook(partial(self._on_mark, self._step, self._frames_of(call)))
        for number, node in before:  # of an earlier call in this step, or of none
            frames = self._frames_of(self._call_of(number))
            node.register_prehook(partial(self._on_mark, self._step, frames))

    def _call_of(self, number: int) -> int:
        """Return the innermost call that made a node; -1 if none of this step did."""
        place = bisect_right(self._from, number)
        return self._innermost[place - 1] if place else -1

    def _frames_of(self, call: int) -> tuple[Frame, ...]:
        frames: list[Frame] = []
        while call >= 0:
            module, parent = self._calls[call]
            frames.append((module, call))
            call = parent
        return tuple(reversed(frames))

    def _on_mark(self, made_in: int, frames: tuple[Frame, ...], _grads: Any) -> None:
        """Continue or begin the backward call that owns a marked node about to run."""
        if made_in != self._step:
            self.late = True
            return
        if self._expected is None:
            self.missed = True
            return
        if frames and threading.get_ident() != self._expected:
            self._arrive(frames[0][0])
        self._switch_to(self._depth_at_start(), frames)

    def _depth_at_start(self) -> int:
        """Return how many calls were open when the backward pass of this node began."""
        number = torch._C._current_graph_task_id()
        if number not in self._passes:
            self._passes[number] = len(self._backward)
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(partial(self._end_pass, number))
        return self._passes[number]

    def _end_pass(self, number: int) -> None:
        """End the calls of a backward pass; runs in the thread that worked on it last."""
        base = self._passes.pop(number, None)
        if base is not None:
            self._switch_to(base, ())

    def _switch_to(self, base: int, frames: tuple[Frame, ...]) -> None:
        """Leave and enter backward calls until those above `base` are `frames`."""
        opened = self._backward
        keep = base
        for frame, already in zip(frames, opened[base:], strict=False):
            if frame != already:
                break
            keep += 1
        while len(opened) > keep:
            self._leave(opened.pop()[0])
        for frame in frames[keep - base :]:
            opened.append(frame)
            self._enter(frame[0])


def tensors_in(item: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield all tensors in the inputs or outputs of a module, in order."""
    if isinstance(item, torch.Tensor):
        yield item
        return
    if depth >= MAX_DEPTH:
        return
    items: Any = ()
    if isinstance(item, Mapping):
        items = item.values()
    elif isinstance(item, (tuple, list)):
        items = item
    elif is_dataclass(item):
        items = [getattr(item, field.name, None) for field in fields(item)]
    for inner in items:
        yield from tensors_in(inner, depth + 1)
