"""When autograd works for which module: marks on the nodes that a module's forward call has made.

Autograd numbers its nodes in the order in which they are made, and of those that are ready runs the
one made last first. So the nodes of a call are those whose numbers lie between its beginning and
its end, and a mark where the owner changes tells when the backward call of each module begins and
ends. Marks neither see nor change gradients, unlike full backward hooks, which put a node of their
own around a module and so forbid it to work in place. A backward pass may run several graphs, each
an outermost call's, in turn, and checkpointing one pass inside a node of another's.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch

# Outputs are looked for tensors no deeper.
MAX_DEPTH = 6

# One step on the way from the outermost module to a node's owner: its name, and which call of it.
Step = tuple[int, int]


def next_number() -> int:
    """Number that autograd gives the next node of this thread."""
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]  # not in its stub


class Owners:
    """Follows the forward calls of modules, marks their nodes, and hears of them in backward.

    Args:
        enter: called when the backward call of a module begins, with the module's index.
        leave: called when it ends.
        arrive: called before each mark in a thread that is not the one of `expect`.

    Attributes:
        missed: whether a backward pass ran that was not expected; nothing is heard of its modules.
        late: whether one ran in another step than its forward. It may be of several steps, some of
            whose nodes have no marks: what is heard of modules in backward means nothing then.
    """

    def __init__(
        self,
        enter: Callable[[int], None],
        leave: Callable[[int], None],
        arrive: Callable[[int], None],
    ) -> None:
        self._enter, self._leave, self._arrive = enter, leave, arrive
        self._thread = 0  # whose forward calls are followed, while some are open
        self._open: list[int] = []  # forward calls under way
        self._calls: list[tuple[int, int]] = []  # of this step: module, parent's call
        # From which node number on which call is the innermost; each thread has its own numbers.
        self._from: list[int] = []
        self._innermost: list[int] = []
        self._first = 0  # the number of the outermost call's first node
        self._backward: list[Step] = []  # backward calls under way
        self._expected: int | None = None  # the thread of the backward pass that may be under way
        # By backward pass under way, in autograd's numbers: how many calls were when it began.
        self._passes: dict[int, int] = {}
        self._step = 0
        self.missed = self.late = False

    def begin_step(self) -> None:
        """A step begins, traced or not: calls before it are none of its own."""
        self._step += 1
        self._calls.clear()
        self._forget_numbers()

    def expect(self) -> None:
        """A backward pass may begin in this thread, with no call under way."""
        self._expected = threading.get_ident()
        self._backward.clear()
        self._passes.clear()

    def close(self) -> None:
        """A backward pass is over: its calls have ended, and calls of forward too."""
        if self._expected == threading.get_ident():
            self._reach(0, ())
        self._backward.clear()
        self._passes.clear()
        self._open.clear()
        self._expected = None

    def begin_call(self, module: int) -> None:
        """A module's forward call begins."""
        thread = threading.get_ident()
        if not self._open:
            if self._thread != thread:
                self._thread = thread
                self._forget_numbers()
            self._first = next_number()
        elif self._thread != thread:
            return
        self._calls.append((module, self._open[-1] if self._open else -1))
        self._open.append(len(self._calls) - 1)
        self._note(self._open[-1])

    def end_call(self, module: int, output: Any) -> None:
        """A module's forward call has ended; the outermost one's nodes are then marked."""
        if not self._open or self._thread != threading.get_ident():
            return
        # Calls that an exception ended are not always told of.
        while self._open and self._calls[self._open.pop()][0] != module:
            pass
        self._note(self._open[-1] if self._open else -1)
        if not self._open:
            self._mark(output)

    def _note(self, innermost: int) -> None:
        self._from.append(next_number())
        self._innermost.append(innermost)

    def _forget_numbers(self) -> None:
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
            if number >= 1 << 63:  # the gradient of a leaf, which is added up at once
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
                node.register_prehook(partial(self._mark_reached, self._step, self._steps(call)))
        for number, node in before:  # of an earlier call in this step, or of none
            steps = self._steps(self._call_of(number))
            node.register_prehook(partial(self._mark_reached, self._step, steps))

    def _call_of(self, number: int) -> int:
        """The innermost of the calls that made a node; -1 where none in this step did."""
        place = bisect_right(self._from, number)
        return self._innermost[place - 1] if place else -1

    def _steps(self, call: int) -> tuple[Step, ...]:
        steps: list[Step] = []
        while call >= 0:
            module, parent = self._calls[call]
            steps.append((module, call))
            call = parent
        return tuple(reversed(steps))

    def _mark_reached(self, made_in: int, steps: tuple[Step, ...], _grads: Any) -> None:
        """A node with a mark is about to run: its owner's backward call goes on, or begins."""
        if made_in != self._step:
            self.late = True
            return
        if self._expected is None:
            self.missed = True
            return
        if steps and threading.get_ident() != self._expected:
            self._arrive(steps[0][0])
        self._reach(self._base(), steps)

    def _base(self) -> int:
        """How many calls were under way when the backward pass began that runs this node."""
        number = torch._C._current_graph_task_id()
        if number not in self._passes:
            self._passes[number] = len(self._backward)
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(partial(self._pass_over, number))
        return self._passes[number]

    def _pass_over(self, number: int) -> None:
        """A backward pass is over, in the thread that has worked last: its calls have ended."""
        base = self._passes.pop(number, None)
        if base is not None:
            self._reach(base, ())

    def _reach(self, base: int, steps: tuple[Step, ...]) -> None:
        opened = self._backward
        keep = base
        for step, already in zip(steps, opened[base:], strict=False):
            if step != already:
                break
            keep += 1
        while len(opened) > keep:
            self._leave(opened.pop()[0])
        for step in steps[keep - base :]:
            opened.append(step)
            self._enter(step[0])


def tensors_in(item: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """All tensors in what a module takes or gives, in order."""
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
