"""Intercept a module's call and repeat it without side effects."""

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
    calls_on_host,
    time_on_device,
)
from pywatt.support.signals import uninterrupted

FloatArray = npt.NDArray[np.float64]
OnCall = Callable[[tuple[Any, ...], dict[str, Any]], None]


class EndPass(BaseException):
    """Ends a pass that has served its purpose. Not an `Exception`, which a model might catch."""


def end_pass(thread: int) -> None:
    """End the pass that runs in `thread`; do nothing in a thread that the model started."""
    if threading.get_ident() == thread:
        raise EndPass


class Intercept:
    """Calls a function with the arguments of each call of a module, before the call runs.

    It replaces the callable in the instance's own dictionary, since a torch hook would change the
    path that a fused module takes.
    """

    def __init__(self, entry: ModuleEntry, on_call: OnCall) -> None:
        self._module, self._instance_dict = entry.module, entry.module.__dict__
        self._attribute = entry.timed_at or "forward"
        self._on_call = on_call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `on_call` with the arguments, then the module."""
        self._on_call(args, kwargs)
        return self._inner(*args, **kwargs)

    def __enter__(self) -> Intercept:
        # Looked up only now: two may intercept one module, and the inner one must be called too.
        self._inner = getattr(self._module, self._attribute)
        self._inner_is_own = self._attribute in self._instance_dict
        self._instance_dict[self._attribute] = self
        return self

    def __exit__(self, *_: object) -> None:
        if self._inner_is_own:
            self._instance_dict[self._attribute] = self._inner
        else:
            del self._instance_dict[self._attribute]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the module."""
        return self._inner(*args, **kwargs)


@contextmanager
def intercepted(intercepts: Iterable[Intercept]) -> Iterator[None]:
    """Attach intercepts inside the block; all are removed after it, even on Ctrl-C."""
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
    """Repeats one call of a module on copies of its arguments, and restores its state.

    Args:
        module: the module.
        run: calls the module with args and kwargs.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call.
        device: device of the module.
        clock: the host's clock.

    Raises:
        NotRepeatable: the repeated call failed, or changed what cannot be restored.
    """

    # Whether autograd records the call for backward.
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
        """Return copies of the arguments, which the module may write into."""
        copies: dict[int, torch.Tensor] = {}
        return copy_tensors(self._args, copies), copy_tensors(self._kwargs, copies)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the call that is repeated."""
        self._run(args, kwargs)

    def block(
        self, kind: int, duration_s: float, ready: Callable[[], None] = lambda: None
    ) -> Block:
        """Try the call, call `ready`, then repeat the call for about `duration_s`."""
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
        return Block(kind, mark_s, done)

    def _repeat(
        self, call: Callable[[], None], duration_s: float, ready: Callable[[], None]
    ) -> tuple[FloatArray, FloatArray]:
        if not self._device.startswith("cuda"):
            ready()
            return calls_on_host(call, duration_s, self._clock)
        least_s = min(duration_s, TIMING_S)
        call_s = time_on_device(call, least_s, self._clock, self._synchronize)
        ready()
        return calls_on_device(call, duration_s / call_s, self._clock, self._synchronize)

    def _synchronize(self) -> None:
        torch.cuda.synchronize(self._device)
