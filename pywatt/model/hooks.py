"""Turn module calls into spans: hooks on every module, added on entry and removed on exit."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pywatt import _core
from pywatt.model.cuda_timeline import Call, CudaTimeline
from pywatt.model.modules import ModuleEntry, frames_compiled, module_entries
from pywatt.spans.columns import BLOCK_SPANS, CallPaths, SpanBlock, Spans

Hook = Callable[..., None]

# More than the streams of any device.
STREAMS = 1000


class ModuleHooks:
    """Records a span for each call of each module of a model, and for the user's windows.

    Modules on the CPU are timed on the host's clock by native hooks. Modules on a CUDA device are
    timed by events on the stream that is current at the call, since their kernels run after the
    hook has returned. Afterwards, `compiled_inside` is whether torch.compile ran in the meantime.

    Args:
        model: the model.
        clock: clock of the spans.
        default_device: device of a model that has no tensors.
        timeline: makes the timeline of a CUDA device; for tests.
        find_device: returns the device that a module's work is charged to; for tests.
    """

    def __init__(
        self,
        model: nn.Module,
        clock: _core.Clock,
        *,
        default_device: str = "cpu",
        timeline: Callable[[str, _core.Clock], CudaTimeline] = CudaTimeline,
        find_device: Callable[[nn.Module], str | None] | None = None,
    ) -> None:
        self.model = model
        self.entries: list[ModuleEntry] = module_entries(model, default_device, find_device)
        self.windows: list[str] = []
        self.recorder = _core.SpanRecorder(clock)
        self.timelines = {
            device: timeline(device, clock)
            for device in sorted({e.device for e in self.entries})
            if device.startswith("cuda")
        }
        self._open: dict[str, dict[int, list[tuple[int, Call | None]]]] = {
            device: {} for device in self.timelines
        }
        self._attached = ExitStack()
        self._frames_before = 0
        self.compiled_inside = False
        self._name_spans()

    def _name_spans(self) -> None:
        """Prepare span names other than the modules', in subclasses that have any."""

    @property
    def device(self) -> str:
        """Device of the model itself."""
        return self.entries[0].device

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices of the model, its own first."""
        return tuple(dict.fromkeys(entry.device for entry in self.entries))

    def __enter__(self) -> ModuleHooks:
        """Start recording and add the hooks; if one cannot be added, none is."""
        self.begin()
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove all hooks and close what is open.

        Raises:
            RuntimeError: a CUDA device failed, and no other exception is propagating.
        """
        self.detach()
        self.recorder.close_all()
        self.compiled_inside = frames_compiled() > self._frames_before
        failures = [timeline.end() for timeline in self.timelines.values()]
        for failure in failures:
            if failure is not None and error is None:
                raise failure

    def begin(self) -> None:
        """Relate the clocks of CUDA devices to the host's, before the first span."""
        self._frames_before = frames_compiled()
        for timeline in self.timelines.values():
            timeline.begin()

    def attach(self) -> None:
        """Add the hooks; if one cannot be added, remove those before it."""
        with ExitStack() as attached:
            for index, entry in enumerate(self.entries):
                self._attach(attached, index, entry)
            self._attached = attached.pop_all()

    def detach(self) -> None:
        """Remove the hooks. The ends of calls in progress are not recorded."""
        self._attached.close()

    def synchronize(self) -> None:
        """Wait until the CUDA devices of the model have finished their work."""
        for timeline in self.timelines.values():
            timeline.synchronize()

    def _hooks(self, name: int, device: str) -> tuple[Hook, Hook]:
        if device in self.timelines:
            calls = _CudaCalls(name, self.recorder, self.timelines[device], self._open[device])
            return calls.before, calls.after
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
        """Open a span that is not a module's; return a function that closes it."""
        if name not in self.windows:
            self.windows.append(name)
        index = len(self.entries) + self.windows.index(name)
        before, after = self._hooks(index, self.device)
        before()
        return after

    def device_of(self, name: int) -> str:
        """Return the device that spans of a name are charged to; of windows, the model's own."""
        return self.entries[name].device if name < len(self.entries) else self.device

    def spans(self, devices: Iterable[str]) -> Spans:
        """Return the spans of modules (and windows) on these devices; name i is entry i.

        Call it once the hooks are removed. Parents on other devices have no spans in it.
        """
        chosen = set(devices)
        names = [entry.name for entry in self.entries] + self.windows
        name, parent = self.recorder.paths()
        on_device = np.array([self.device_of(n) in chosen for n in name], dtype=bool)
        return _DeviceSpans(names, CallPaths.of(name, parent, on_device), self, on_device)


class _DeviceSpans(Spans):
    """Spans of some devices: the host's from the recorder, those of CUDA from events."""

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
        """Yield the spans in blocks of bounded size."""
        everything = bool(np.all(self._kept))
        for first in range(0, len(self._recorder), BLOCK_SPANS):
            block = SpanBlock(*self._recorder.rows(first, BLOCK_SPANS))
            keep = slice(None) if everything else self._kept[block.path]
            kept = SpanBlock(
                block.start_s[keep], block.end_s[keep], block.path[keep], block.thread[keep]
            )
            if len(kept.path):
                yield kept
        # Streams and devices run in parallel, as threads do; a single one has number 0.
        first_number = STREAMS if np.any(self._kept) else 0
        for number, timeline in enumerate(self._timelines):
            for block in timeline.blocks():
                thread = block.thread + np.uint32(first_number + STREAMS * number)
                yield replace(block, thread=thread)


class _CudaCalls:
    """Hooks that record a pair of events around each call of one name on one device."""

    __slots__ = ("_name", "_open", "_recorder", "_timeline")

    def __init__(
        self,
        name: int = 0,
        recorder: _core.SpanRecorder | None = None,
        timeline: CudaTimeline | None = None,
        opened: dict[int, list[tuple[int, Call | None]]] | None = None,
    ) -> None:
        self._name, self._recorder, self._timeline = name, recorder, timeline
        # Calls in progress by thread, of all names on the device.
        self._open = {} if opened is None else opened

    def before(self, *_: Any) -> None:
        if self._recorder is None or self._timeline is None:
            return
        self._recorder.enter(self._name)
        calls = self._open.setdefault(threading.get_ident(), [])
        calls.append((self._name, self._timeline.start()))

    def after(self, *_: Any) -> None:
        if self._recorder is None or self._timeline is None:
            return
        path = self._recorder.leave(self._name)
        if path is None:
            return
        calls = self._open.get(threading.get_ident(), [])
        while calls:
            name, call = calls.pop()
            if name == self._name:
                if call is not None:
                    self._timeline.finish(call, path)
                return
            # An exception hid the end of this one: it has no time.

    def __reduce__(self) -> tuple[Any, ...]:
        # A copied or pickled model keeps working, unmeasured.
        return _CudaCalls, ()


class _TimedCall:
    """Replaces a callable attribute of a module and calls it inside a span.

    Only the instance's own dictionary changes, and `detach` restores it exactly. A copied or
    pickled model has the original callable.
    """

    def __init__(self, module: nn.Module, attribute: str, before: Hook, after: Hook) -> None:
        self._instance_dict, self._attribute = module.__dict__, attribute
        self._inner = getattr(module, attribute)
        self._inner_is_own = attribute in self._instance_dict
        self._before, self._after = before, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = None
        self._before()
        try:
            output = self._inner(*args, **kwargs)
            return output
        finally:
            self._after(self, args, output)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self._inner,)

    def attach(self) -> None:
        self._instance_dict[self._attribute] = self

    def detach(self) -> None:
        """Remove this one, even under that of another profiler added later, which stays."""
        outer = self._instance_dict.get(self._attribute)
        if outer is self:
            if self._inner_is_own:
                self._instance_dict[self._attribute] = self._inner
            else:
                del self._instance_dict[self._attribute]
        while isinstance(outer, _TimedCall):
            if outer._inner is self:
                outer._inner, outer._inner_is_own = self._inner, self._inner_is_own
            outer = outer._inner
