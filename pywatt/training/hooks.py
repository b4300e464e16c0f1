"""Record the phases of a training as spans, and in some steps the calls of its modules."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pywatt.model.hooks import Hook, ModuleHooks
from pywatt.spans.columns import CallPaths, SpanBlock, Spans
from pywatt.training.autograd import BackwardTracker

# Recorded phases; the rest of the time is "other".
TIMED = ("data", "forward", "backward", "optimizer")

# In traced steps these have span names of their own, since tracing takes time too.
WITH_MODULES = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class SpanLabel:
    """What a span name denotes.

    Attributes:
        kind: "phase", "traced" (a phase in a traced step), "forward", "backward", or "recompute" (a
            forward call that checkpointing repeats in backward).
        of: name of the phase or module.
        entry: index of the module; -1 for a phase.
        device: device that it is charged to.
    """

    kind: str
    of: str
    entry: int
    device: str


class TrainingHooks(ModuleHooks):
    """Records phases always, and calls of modules between `attach` and `detach`.

    Takes the arguments of `ModuleHooks`, but entering it puts no hook on any module.
    """

    def _name_spans(self) -> None:
        self.labels = [
            SpanLabel("forward", entry.name, k, entry.device)
            for k, entry in enumerate(self.entries)
        ]
        phases: dict[tuple[str, bool], list[int]] = {}
        for device in self.devices:
            for phase in TIMED:
                phases.setdefault((phase, False), []).append(len(self.labels))
                self.labels.append(SpanLabel("phase", phase, -1, device))
                traced = len(self.labels)
                if phase in WITH_MODULES:
                    self.labels.append(SpanLabel("traced", phase, -1, device))
                phases.setdefault((phase, True), []).append(
                    traced if phase in WITH_MODULES else traced - 1
                )
        self._first_backward = len(self.labels)
        for kind in ("backward", "recompute"):
            self.labels += [
                SpanLabel(kind, entry.name, k, entry.device) for k, entry in enumerate(self.entries)
            ]
        self.windows = [f"{m.kind} {m.of}" for m in self.labels[len(self.entries) :]]
        self._phase_names = phases
        self._pairs: dict[int, tuple[Hook, Hook]] = {}
        self._tracker = BackwardTracker(self._enter_backward, self._leave_backward, self._arrive)
        self._arrived: set[int] = set()
        self.open_phase: TracedPhase | None = None
        self._plain_phases = {phase: self._plain_phase(phases[phase, False]) for phase in TIMED}
        self._traced_phases = {
            phase: TracedPhase(
                self,
                [self._pair(name) for name in phases[phase, True]],
                self._tracker if phase == "backward" else None,
            )
            for phase in TIMED
        }
        self.traced = False

    def __enter__(self) -> TrainingHooks:
        """Begin to record phases."""
        self.begin()
        return self

    def attach(self) -> None:
        """Start tracing the calls of modules."""
        super().attach()
        self._tracker.begin_step()
        self.traced = True

    def detach(self) -> None:
        """Stop tracing the calls of modules."""
        self.traced = False
        self._tracker.begin_step()
        super().detach()

    @property
    def phases(self) -> Mapping[str, AbstractContextManager[Any]]:
        """Context manager of each phase of `TIMED`, as the current step is traced or not.

        Phases do not nest: one inside another belongs to the outer one.
        """
        return self._traced_phases if self.traced else self._plain_phases

    def leave_all(self) -> None:
        """End the open phase, if any, after an exception has ended the training."""
        if self.open_phase is not None:
            self.open_phase.end()

    @property
    def in_backward(self) -> bool:
        """Whether a traced backward is open, in which checkpointing repeats forward calls."""
        return self.open_phase is not None and self.open_phase.is_backward

    @property
    def missed_backward(self) -> bool:
        """Whether a backward pass ran outside of the phase in a traced step."""
        return self._tracker.missed

    @property
    def late_backward(self) -> bool:
        """Whether a backward pass ran in another step than its traced forward."""
        return self._tracker.late

    def device_of(self, name: int) -> str:
        """Return the device that the spans of a name are charged to."""
        return self.labels[name].device

    def phase_spans(self, devices: Iterable[str]) -> Spans:
        """Return the spans of phases alone, with the call paths of `spans`."""
        everything = self.spans(devices)
        paths = everything.paths
        top = paths.parent < 0
        top &= np.array([self.labels[n].entry < 0 for n in paths.name], dtype=bool)
        blocks = [
            SpanBlock(b.start_s[keep], b.end_s[keep], b.path[keep], b.thread[keep])
            for b in everything.blocks()
            if np.any(keep := top[b.path])
        ]
        return Spans(everything.names, CallPaths.of(paths.name, paths.parent, top), blocks)

    def _plain_phase(self, names: Sequence[int]) -> AbstractContextManager[Any]:
        """Return the context manager of a phase in untraced steps, which nearly all are."""
        if self.timelines:
            return TracedPhase(self, [self._pair(name) for name in names], None)
        return self.recorder.guard(names)

    def _pair(self, name: int) -> tuple[Hook, Hook]:
        return super()._hooks(name, self.device_of(name))

    def _cached(self, name: int) -> tuple[Hook, Hook]:
        if name not in self._pairs:
            self._pairs[name] = self._pair(name)
        return self._pairs[name]

    def _hooks(self, name: int, device: str) -> tuple[Hook, Hook]:
        calls = _TracedCalls(
            name,
            self,
            self._tracker,
            self._cached(name),
            self._cached(self._first_backward + len(self.entries) + name),
        )
        return calls.before, calls.after

    def _enter_backward(self, entry: int) -> None:
        self._cached(self._first_backward + entry)[0]()

    def _leave_backward(self, entry: int) -> None:
        self._cached(self._first_backward + entry)[1]()

    def _arrive(self, entry: int) -> None:
        """Put the spans of autograd's thread for a CUDA device into the phase too.

        The recorder only needs the path: the time of the phase is known already.
        """
        if self.entries[entry].device not in self.timelines:
            return
        thread = threading.get_ident()
        if thread in self._arrived:
            return
        self._arrived.add(thread)
        for name in self._phase_names["backward", True]:
            if self.device_of(name) == self.entries[entry].device:
                self.recorder.enter(name)


class TracedPhase:
    """A phase in a traced step, or one that GPU events time.

    Args:
        hooks: the hooks that record it.
        pairs: hooks that begin and end its span on each device.
        tracker: tracks modules in the graph, if the phase is a traced backward; else None.
    """

    __slots__ = ("_entered", "_hooks", "_pairs", "_thread", "_tracker")

    def __init__(
        self,
        hooks: TrainingHooks,
        pairs: Sequence[tuple[Hook, Hook]],
        tracker: BackwardTracker | None,
    ) -> None:
        self._hooks, self._pairs, self._tracker = hooks, pairs, tracker
        self._entered, self._thread = 0, 0

    @property
    def is_backward(self) -> bool:
        """Whether this is a traced backward."""
        return self._tracker is not None

    def __enter__(self) -> TracedPhase:
        """Begin, unless another phase is open."""
        if self._hooks.open_phase is None:
            self._hooks.open_phase = self
            self._entered, self._thread = 1, threading.get_ident()
            for before, _ in self._pairs:
                before()
            if self._tracker is not None:
                self._tracker.expect()
        elif self._is_open_here:
            self._entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        """End with the outermost `with` statement."""
        if self._is_open_here:
            self._entered -= 1
            if self._entered == 0:
                self.end()

    @property
    def _is_open_here(self) -> bool:
        return self._hooks.open_phase is self and self._thread == threading.get_ident()

    def end(self) -> None:
        """End now."""
        if self._tracker is not None:
            self._tracker.close()
        self._hooks.open_phase = None
        for _, after in reversed(self._pairs):
            after()


class _TracedCalls:
    """Hooks of one module: a span for each call, and marks on the nodes that it makes."""

    __slots__ = ("_forward", "_hooks", "_index", "_recompute", "_tracker")

    def __init__(
        self,
        index: int = 0,
        hooks: TrainingHooks | None = None,
        tracker: BackwardTracker | None = None,
        forward: tuple[Hook, Hook] | None = None,
        recompute: tuple[Hook, Hook] | None = None,
    ) -> None:
        self._index, self._hooks, self._tracker = index, hooks, tracker
        self._forward, self._recompute = forward, recompute

    def before(self, *_: Any) -> None:
        if self._hooks is None or self._tracker is None:
            return
        self._tracker.begin_call(self._index)
        pair = self._recompute if self._hooks.in_backward else self._forward
        if pair is not None:
            pair[0]()

    def after(self, *arguments: Any) -> None:
        if self._hooks is None or self._tracker is None:
            return
        pair = self._recompute if self._hooks.in_backward else self._forward
        if pair is not None:
            pair[1]()
        self._tracker.end_call(self._index, arguments[-1] if arguments else None)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copied or pickled model keeps working, unmeasured.
        return _TracedCalls, ()
