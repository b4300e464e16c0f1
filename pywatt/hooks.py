"""Turns module calls into spans: hooks on every module, taken on entry and removed on exit."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pywatt import _core
from pywatt.cuda_clock import CudaTimeline
from pywatt.modules import ModuleEntry, frames_compiled, module_entries
from pywatt.spans import BLOCK_SPANS, CallPaths, SpanBlock, Spans

Hook = Callable[..., None]


class ModuleHooks:
    """Records a span for each call of each module of a model, and for windows of the user's.

    Modules on the CPU are timed on the host's clock by native hooks. Modules on a CUDA device are
    timed by events on the stream that is current at the call, since their kernels run after the
    hook has returned. `compiled_inside` tells afterwards whether torch.compile was at work
    meanwhile.

    Args:
        model: the model; its tree is taken when this is entered.
        clock: clock of the spans.
        default_device: device of a model that has no tensors.
        timeline: makes the clock of a CUDA device; for tests.
    """

    def __init__(
        self,
        model: nn.Module,
        clock: _core.Clock,
        *,
        default_device: str = "cpu",
        timeline: Callable[[str, _core.Clock], CudaTimeline] = CudaTimeline,
    ) -> None:
        self.model = model
        self.entries: list[ModuleEntry] = module_entries(model, default_device)
        self.windows: list[str] = []
        self.recorder = _core.SpanRecorder(clock)
        self.timelines = {
            device: timeline(device, clock)
            for device in sorted({e.device for e in self.entries})
            if device.startswith("cuda")
        }
        self._cuda_hooks = {d: _CudaHooks(self.recorder, t) for d, t in self.timelines.items()}
        self._attached = ExitStack()
        self._frames_before = 0
        self.compiled_inside = False

    @property
    def device(self) -> str:
        """Device of the model itself."""
        return self.entries[0].device

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices of the model, its own first."""
        return tuple(dict.fromkeys(entry.device for entry in self.entries))

    def __enter__(self) -> ModuleHooks:
        """Put the hooks on; if one cannot be put on, those before are taken off."""
        self._frames_before = frames_compiled()
        with ExitStack() as attached:
            for timeline in self.timelines.values():
                timeline.begin()
            for index, entry in enumerate(self.entries):
                self._attach(attached, index, entry)
            self._attached = attached.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take all hooks off and close what is open."""
        self._attached.close()
        self.recorder.close_all()
        self.compiled_inside = frames_compiled() > self._frames_before
        for timeline in self.timelines.values():
            timeline.end()

    def synchronize(self) -> None:
        """Wait until the CUDA devices of the model have done what they were given."""
        for timeline in self.timelines.values():
            timeline.synchronize()

    def _hooks(self, name: int, device: str) -> tuple[Hook, Hook]:
        if device in self._cuda_hooks:
            return self._cuda_hooks[device].hooks(name)
        return self.recorder.hooks(name)

    def _attach(self, attached: ExitStack, index: int, entry: ModuleEntry) -> None:
        before, after = self._hooks(index, entry.device)
        module = entry.module
        if entry.timed_at is not None:
            timed = _TimedCall(module, entry.timed_at, before, after)
            attached.callback(timed.detach)
            timed.attach()
        else:
            attached.callback(module.register_forward_pre_hook(before, prepend=True).remove)
            attached.callback(module.register_forward_hook(after, always_call=True).remove)

    def open_window(self, name: str) -> Callable[[], None]:
        """Open a span that is not a module's; returns what closes it."""
        if name not in self.windows:
            self.windows.append(name)
        index = len(self.entries) + self.windows.index(name)
        before, after = self._hooks(index, self.device)
        before()
        return after

    def device_of(self, name: int) -> str:
        """Device to which the spans of a name are charged; windows to the model's own."""
        return self.entries[name].device if name < len(self.entries) else self.device

    def spans(self, devices: Iterable[str]) -> Spans:
        """Return the spans of modules (and windows) on these devices; name i is entry i.

        Only once the hooks are off. Parents on other devices have no spans in it.
        """
        chosen = set(devices)
        names = [entry.name for entry in self.entries] + self.windows
        name, parent = self.recorder.paths()
        on_device = np.array([self.device_of(n) in chosen for n in name], dtype=bool)
        return _DeviceSpans(names, CallPaths.of(name, parent, on_device), self, on_device)


class _DeviceSpans(Spans):
    """Spans of some devices: those of the host from the recorder, those of CUDA from its events."""

    def __init__(
        self,
        names: list[str],
        paths: CallPaths,
        hooks: ModuleHooks,
        on_device: npt.NDArray[np.bool_],
    ) -> None:
        super().__init__(names, paths, ())
        self._recorder = hooks.recorder
        on_host = np.array([hooks.device_of(n) not in hooks.timelines for n in paths.name], bool)
        self._kept = on_device & on_host
        self._timelines = [
            timeline
            for device, timeline in hooks.timelines.items()
            if any(hooks.device_of(n) == device for n in paths.name[on_device])
        ]

    def __len__(self) -> int:
        return sum(len(block.path) for block in self.blocks())

    def blocks(self) -> Iterator[SpanBlock]:
        """Give the spans in blocks of bounded size."""
        everything = bool(np.all(self._kept))
        for first in range(0, len(self._recorder), BLOCK_SPANS):
            block = SpanBlock(*self._recorder.rows(first, BLOCK_SPANS))
            keep = slice(None) if everything else self._kept[block.path]
            kept = SpanBlock(
                block.start_s[keep], block.end_s[keep], block.path[keep], block.thread[keep]
            )
            if len(kept.path):
                yield kept
        for number, timeline in enumerate(self._timelines):
            yield from self._device_blocks(number, timeline)

    def _device_blocks(self, number: int, timeline: CudaTimeline) -> Iterator[SpanBlock]:
        """Give the spans of one timeline, together with their paths, which the recorder has."""
        rows, start_s, end_s, stream = timeline.spans()
        # Threads may have handed rows over in another order than the recorder's.
        order = np.argsort(rows, kind="stable")
        firsts = np.arange(0, len(self._recorder), BLOCK_SPANS)
        places = np.searchsorted(rows, [*firsts, len(self._recorder)], sorter=order)
        for first, begin, end in zip(firsts, places[:-1], places[1:], strict=True):
            chosen = order[begin:end]
            if len(chosen):
                path = self._recorder.rows(int(first), BLOCK_SPANS)[2][rows[chosen] - first]
                # Streams, and devices, run side by side as threads do.
                thread = (stream[chosen] + 1000 * number).astype(np.uint32)
                yield SpanBlock(start_s[chosen], end_s[chosen], path, thread)


class _CudaHooks:
    """Python hooks that record a pair of events around each call on one device."""

    def __init__(self, recorder: _core.SpanRecorder, timeline: CudaTimeline) -> None:
        self._recorder = recorder
        self._timeline = timeline
        self._open: dict[int, list[tuple[int, Any]]] = {}

    def hooks(self, name: int) -> tuple[Hook, Hook]:
        recorder, timeline, open_of = self._recorder, self._timeline, self._open

        def before(*_: Any) -> None:
            recorder.enter(name)
            stack = open_of.setdefault(threading.get_ident(), [])
            stack.append((name, timeline.record()))

        def after(*_: Any) -> None:
            end = timeline.record()
            row = recorder.exit(name)
            stack = open_of.get(threading.get_ident(), [])
            while stack:
                opened, start = stack.pop()
                if opened == name:
                    if row is not None:
                        timeline.add(row, start, end)
                    return
                timeline.drop(start)
            timeline.drop(end)

        return before, after


class _TimedCall:
    """Stands in for a callable attribute of a module and calls it inside a span.

    Only the instance's own dictionary is changed, which `detach` undoes to the letter. A copied or
    pickled model gets the callable itself back.
    """

    def __init__(self, module: nn.Module, attribute: str, before: Hook, after: Hook) -> None:
        self._home, self._attribute = module.__dict__, attribute
        self._inner = getattr(module, attribute)
        self._inner_is_own = attribute in self._home
        self._before, self._after = before, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._before()
        try:
            return self._inner(*args, **kwargs)
        finally:
            self._after()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self._inner,)

    def attach(self) -> None:
        self._home[self._attribute] = self

    def detach(self) -> None:
        """Go, also from under another profiler's that was put on later and stays."""
        outer = self._home.get(self._attribute)
        if outer is self:
            if self._inner_is_own:
                self._home[self._attribute] = self._inner
            else:
                del self._home[self._attribute]
        while isinstance(outer, _TimedCall):
            if outer._inner is self:
                outer._inner, outer._inner_is_own = self._inner, self._inner_is_own
            outer = outer._inner
