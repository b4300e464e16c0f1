"""Catching a module's own call, and repeating it so that nothing shows afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pywatt import _core
from pywatt.interrupts import uninterrupted
from pywatt.modules import ModuleEntry
from pywatt.preserve import preserved_state
from pywatt.replay.blocks import Block
from pywatt.replay.state import State, copy_tensors

FloatArray = npt.NDArray[np.float64]
Seen = Callable[[tuple[Any, ...], dict[str, Any]], None]

# Marks are set about so often: often enough to follow a host that is busy with other things.
MARK_EVERY_S = 2e-4

# One call's time is found from calls that last so long together.
TIMING_S = 0.005

MAX_CALLS = 1_000_000

# Calls that took so much longer than the quick ones have waited: the host was busy with other work.
WAITED = 1.3


class NotRepeatable(Exception):  # noqa: N818  (an outcome that is handled, not an error)
    """A call that cannot be repeated; the message says why."""


class Enough(BaseException):
    """Ends a pass once what it was made for is done; no model catches it by mistake."""


class Intercept:
    """Sees the calls of a module with their arguments, before they run.

    It stands in for what is called in the instance's own dictionary, so that no torch hook changes
    the path that a fused module takes.
    """

    def __init__(self, entry: ModuleEntry, seen: Seen) -> None:
        self._home = entry.module.__dict__
        self._attribute = entry.timed_at or "forward"
        self._inner = getattr(entry.module, self._attribute)
        self._inner_is_own = self._attribute in self._home
        self._seen = seen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Show the arguments, and call the module itself."""
        self._seen(args, kwargs)
        return self._inner(*args, **kwargs)

    def __enter__(self) -> Intercept:
        self._home[self._attribute] = self
        return self

    def __exit__(self, *_: object) -> None:
        if self._inner_is_own:
            self._home[self._attribute] = self._inner
        else:
            del self._home[self._attribute]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Call the module itself; the output is dropped."""
        self._inner(*args, **kwargs)


@contextmanager
def intercepted(intercepts: Iterable[Intercept]) -> Iterator[None]:
    """Let them all see calls inside the block; none is left behind, at Ctrl-C neither."""
    with ExitStack() as attached:
        with uninterrupted():
            for intercept in intercepts:
                attached.enter_context(intercept)
        try:
            yield
        finally:
            with uninterrupted():
                attached.close()


class Repeater:
    """Repeats one call of a module, with its arguments copied and its state put back.

    Args:
        module: the module.
        run: calls it.
        args: what it was called with.
        kwargs: what it was called with by name.
        device: where it works.
        clock: the host's clock.

    Raises:
        NotRepeatable: the call failed when it was made again, or changed what cannot be put back.
    """

    def __init__(
        self,
        module: nn.Module,
        run: Callable[[tuple[Any, ...], dict[str, Any]], None],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        device: str,
        clock: _core.Clock,
    ) -> None:
        self._module, self._run, self._device, self._clock = module, run, device, clock
        self._args, self._kwargs = args, kwargs

    def block(
        self, work: int, duration_s: float, ready: Callable[[], None] = lambda: None
    ) -> Block:
        """Call it back to back for about `duration_s`, after `ready`, before which it is tried."""
        state = State(self._module, self._args, self._kwargs)
        copies: dict[int, torch.Tensor] = {}
        args = copy_tensors(self._args, copies)
        kwargs = copy_tensors(self._kwargs, copies)
        versions = [(p, p._version) for p in self._module.parameters() if not p.is_inference()]
        repeat = self._on_device if self._device.startswith("cuda") else self._on_host
        try:
            with preserved_state(self._module), torch.no_grad():
                try:
                    self._run(args, kwargs)
                    changes = state.restore()

                    def call() -> None:
                        self._run(args, kwargs)
                        if changes:
                            state.restore()

                    mark_s, done = repeat(call, duration_s, ready)
                except Exception as error:
                    raise NotRepeatable(f"its call failed when repeated: {error!r:.200}") from error
        finally:
            with uninterrupted():
                state.restore()
                state.restore_tensors()
        if any(parameter._version != version for parameter, version in versions):
            raise NotRepeatable("its call writes into its parameters")
        return Block(work, mark_s, done)

    def _on_host(
        self, call: Callable[[], None], duration_s: float, ready: Callable[[], None]
    ) -> tuple[FloatArray, FloatArray]:
        """Call until the time has passed, looking at the clock now and then."""
        ready()
        now_s, stride, calls = self._clock.now_s, 1, 0
        start_s = before_s = now_s()
        marks, done = [start_s], [0]
        while before_s - start_s < duration_s:
            for _ in range(stride):
                call()
            calls += stride
            after_s = now_s()
            if after_s > before_s:
                marks.append(after_s)
                done.append(calls)
            elif calls > MAX_CALLS:
                raise NotRepeatable("its call takes no time")
            if after_s - before_s < MARK_EVERY_S / 2:
                stride *= 2
            before_s = after_s
        return _without_waits(np.array(marks), np.array(done, dtype=np.float64))

    def _on_device(
        self, call: Callable[[], None], duration_s: float, ready: Callable[[], None]
    ) -> tuple[FloatArray, FloatArray]:
        """Give the device as many calls as will take the time, and wait for it at the ends."""
        now_s, calls = self._clock.now_s, 1
        while True:
            self._synchronize()
            start_s = now_s()
            for _ in range(calls):
                call()
            self._synchronize()
            end_s = now_s()
            if end_s - start_s >= min(duration_s, TIMING_S) or calls >= MAX_CALLS:
                break
            calls *= 4
        calls = int(np.clip(np.ceil(calls * duration_s / (end_s - start_s)), 1, MAX_CALLS))
        ready()
        start_s = now_s()
        for _ in range(calls):
            call()
        self._synchronize()
        return np.array([start_s, now_s()]), np.array([0.0, calls])

    def _synchronize(self) -> None:
        torch.cuda.synchronize(self._device)


def _without_waits(mark_s: FloatArray, done: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Put a mark where calls that took too long would have been done: the rest was waiting.

    Without it a reading that sees a part of such a stretch would be charged with the wrong calls.
    """
    calls, passed_s = np.diff(done), np.diff(mark_s)
    quick_s = float(np.quantile(passed_s / calls, 0.1)) * calls
    waited = passed_s > WAITED * quick_s
    at_s = np.concatenate((mark_s, (mark_s[:-1] + quick_s)[waited]))
    order = np.argsort(at_s, kind="stable")
    return at_s[order], np.concatenate((done, done[1:][waited]))[order]
