"""Catching a module's own call, and repeating it so that nothing shows afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pywatt import _core
from pywatt.model.modules import ModuleEntry
from pywatt.model.reachable_state import State, copy_tensors
from pywatt.model.state import preserved_state
from pywatt.repetition.blocks import Block
from pywatt.repetition.timing import (
    TIMING_S,
    NotRepeatable,
    calls_on_device,
    on_host,
    time_on_device,
)
from pywatt.support.signals import uninterrupted

FloatArray = npt.NDArray[np.float64]
Seen = Callable[[tuple[Any, ...], dict[str, Any]], None]


class Enough(BaseException):
    """Ends a pass once what it was made for is done; no model catches it by mistake."""


def end_pass(thread: int) -> None:
    """End a pass that runs in a thread; one of the model's own would only lose its result."""
    if threading.get_ident() == thread:
        raise Enough


class Intercept:
    """Sees the calls of a module with their arguments, before they run.

    It stands in for what is called in the instance's own dictionary, so that no torch hook changes
    the path that a fused module takes.
    """

    def __init__(self, entry: ModuleEntry, seen: Seen) -> None:
        self._module, self._home = entry.module, entry.module.__dict__
        self._attribute = entry.timed_at or "forward"
        self._seen = seen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Show the arguments, and call the module itself."""
        self._seen(args, kwargs)
        return self._inner(*args, **kwargs)

    def __enter__(self) -> Intercept:
        # Only now: two may see the calls of one module, and the inner one is then called too.
        self._inner = getattr(self._module, self._attribute)
        self._inner_is_own = self._attribute in self._home
        self._home[self._attribute] = self
        return self

    def __exit__(self, *_: object) -> None:
        if self._inner_is_own:
            self._home[self._attribute] = self._inner
        else:
            del self._home[self._attribute]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the module itself."""
        return self._inner(*args, **kwargs)


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

    # Whether autograd keeps, during a call, what backward needs.
    records_gradients = False

    def __init__(
        self,
        module: nn.Module,
        run: Callable[[tuple[Any, ...], dict[str, Any]], Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        device: str,
        clock: _core.Clock,
    ) -> None:
        self._module, self._run, self._device, self._clock = module, run, device, clock
        self._args, self._kwargs = args, kwargs

    def _copies(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments that the module may write into."""
        copies: dict[int, torch.Tensor] = {}
        return copy_tensors(self._args, copies), copy_tensors(self._kwargs, copies)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What is repeated."""
        self._run(args, kwargs)

    def block(
        self, work: int, duration_s: float, ready: Callable[[], None] = lambda: None
    ) -> Block:
        """Call it back to back for about `duration_s`, after `ready`, before which it is tried."""
        state = State(self._module, self._args, self._kwargs)
        args, kwargs = self._copies()
        versions = [(p, p._version) for p in self._module.parameters() if not p.is_inference()]
        try:
            with preserved_state(self._module), torch.set_grad_enabled(self.records_gradients):
                try:
                    self._call(args, kwargs)
                    changes = state.restore()

                    def call() -> None:
                        self._call(args, kwargs)
                        if changes:
                            state.restore()

                    mark_s, done = self._repeat(call, duration_s, ready)
                except Exception as error:
                    raise NotRepeatable(f"its call failed when repeated: {error!r:.200}") from error
        finally:
            with uninterrupted():
                state.restore()
                state.restore_tensors()
        if any(parameter._version != version for parameter, version in versions):
            raise NotRepeatable("its call writes into its parameters")
        return Block(work, mark_s, done)

    def _repeat(
        self, call: Callable[[], None], duration_s: float, ready: Callable[[], None]
    ) -> tuple[FloatArray, FloatArray]:
        if not self._device.startswith("cuda"):
            ready()
            return on_host(call, duration_s, self._clock)
        least_s = min(duration_s, TIMING_S)
        call_s = time_on_device(call, least_s, self._clock, self._synchronize)
        ready()
        return calls_on_device(call, duration_s / call_s, self._clock, self._synchronize)

    def _synchronize(self) -> None:
        torch.cuda.synchronize(self._device)
