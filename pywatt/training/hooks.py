"""A training's phases as spans, and in some steps the modules' forward and backward calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pywatt.model.hooks import Hook, ModuleHooks
from pywatt.spans.columns import CallPaths, SpanBlock, Spans
from pywatt.training.autograd import Owners

# Phases that are recorded; the rest of the time is "other".
TIMED = ("data", "forward", "backward", "optimizer")

# In steps whose modules are traced, these are spans of other names, since tracing takes time too.
WITH_MODULES = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a span's name stands for.

    Attributes:
        kind: "phase", "traced" (a phase in a step whose modules are traced), "forward", "backward",
            or "again" (a forward call that checkpointing makes in backward).
        of: the phase's name, or the module's.
        entry: index of the module; -1 for a phase.
        device: device that it is charged to.
    """

    kind: str
    of: str
    entry: int
    device: str


class TrainingHooks(ModuleHooks):
    """Records phases all the time, and calls of modules between `attach` and `detach`.

    Unlike a `ModuleHooks`, whose args it has, it is entered with no hook on any module.
    """

    def _name_spans(self) -> None:
        self.meanings = [
            Meaning("forward", entry.name, k, entry.device) for k, entry in enumerate(self.entries)
        ]
        phases: dict[tuple[str, bool], list[int]] = {}
        for device in self.devices:
            for phase in TIMED:
                phases.setdefault((phase, False), []).append(len(self.meanings))
                self.meanings.append(Meaning("phase", phase, -1, device))
                traced = len(self.meanings)
                if phase in WITH_MODULES:
                    self.meanings.append(Meaning("traced", phase, -1, device))
                phases.setdefault((phase, True), []).append(
                    traced if phase in WITH_MODULES else traced - 1
                )
        self._first_backward = len(self.meanings)
        for kind in ("backward", "again"):
            self.meanings += [
                Meaning(kind, entry.name, k, entry.device) for k, entry in enumerate(self.entries)
            ]
        self.windows = [f"{m.kind} {m.of}" for m in self.meanings[len(self.entries) :]]
        self._phase_names = phases
        self._pairs: dict[int, tuple[Hook, Hook]] = {}
        self._owners = Owners(self._enter_backward, self._leave_backward, self._arrive)
        self._arrived: set[int] = set()
        self.open_phase: TracedPhase | None = None
        self._plain_phases = {phase: self._plain_phase(phases[phase, False]) for phase in TIMED}
        self._traced_phases = {
            phase: TracedPhase(
                self,
                [self._pair(name) for name in phases[phase, True]],
                self._owners if phase == "backward" else None,
            )
            for phase in TIMED
        }
        self.traced = False

    def __enter__(self) -> TrainingHooks:
        """Begin to record phases."""
        self.begin()
        return self

    def attach(self) -> None:
        """Trace the modules' calls from now on."""
        super().attach()
        self._owners.begin_step()
        self.traced = True

    def detach(self) -> None:
        """Trace them no more."""
        self.traced = False
        self._owners.begin_step()
        super().detach()

    @property
    def phases(self) -> Mapping[str, AbstractContextManager[Any]]:
        """What to enter for each phase of `TIMED`, in steps whose modules are traced or not.

        Phases follow each other: one inside another belongs to the outer one.
        """
        return self._traced_phases if self.traced else self._plain_phases

    def leave_all(self) -> None:
        """End the phase that is open, where an exception has ended the training."""
        if self.open_phase is not None:
            self.open_phase.end()

    @property
    def in_backward(self) -> bool:
        """Whether a traced backward is open, in which checkpointing runs forward calls again."""
        return self.open_phase is not None and self.open_phase.is_backward

    @property
    def missed_backward(self) -> bool:
        """Whether a backward pass ran outside of the phase, in a step that was traced."""
        return self._owners.missed

    @property
    def late_backward(self) -> bool:
        """Whether a backward pass ran in another step than its forward, which was traced."""
        return self._owners.late

    def device_of(self, name: int) -> str:
        """Device to which the spans of a name are charged."""
        return self.meanings[name].device

    def phase_spans(self, devices: Iterable[str]) -> Spans:
        """The spans of phases alone, with the call paths of `spans`."""
        everything = self.spans(devices)
        paths = everything.paths
        top = paths.parent < 0
        top &= np.array([self.meanings[n].entry < 0 for n in paths.name], dtype=bool)
        blocks = [
            SpanBlock(b.start_s[keep], b.end_s[keep], b.path[keep], b.thread[keep])
            for b in everything.blocks()
            if np.any(keep := top[b.path])
        ]
        return Spans(everything.names, CallPaths.of(paths.name, paths.parent, top), blocks)

    def _plain_phase(self, names: Sequence[int]) -> AbstractContextManager[Any]:
        """A phase in steps without traced modules, which nearly all are."""
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
            self._owners,
            self._cached(name),
            self._cached(self._first_backward + len(self.entries) + name),
        )
        return calls.before, calls.after

    def _enter_backward(self, entry: int) -> None:
        self._cached(self._first_backward + entry)[0]()

    def _leave_backward(self, entry: int) -> None:
        self._cached(self._first_backward + entry)[1]()

    def _arrive(self, entry: int) -> None:
        """Autograd works for a CUDA device in a thread of its own: its spans are in the phase too.

        Only the way there is told to the recorder: when the phase was is known already.
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
    """A phase in a step whose modules are traced, or one that a GPU's events time.

    Args:
        hooks: what records it.
        pairs: what begins and ends its span on each device.
        owners: told to look for modules in the graph, where it is backward.
    """

    __slots__ = ("_entered", "_hooks", "_owners", "_pairs", "_thread")

    def __init__(
        self, hooks: TrainingHooks, pairs: Sequence[tuple[Hook, Hook]], owners: Owners | None
    ) -> None:
        self._hooks, self._pairs, self._owners = hooks, pairs, owners
        self._entered, self._thread = 0, 0

    @property
    def is_backward(self) -> bool:
        """Whether it is backward, with its modules traced."""
        return self._owners is not None

    def __enter__(self) -> TracedPhase:
        """Begin, unless another phase is open."""
        if self._hooks.open_phase is None:
            self._hooks.open_phase = self
            self._entered, self._thread = 1, threading.get_ident()
            for before, _ in self._pairs:
                before()
            if self._owners is not None:
                self._owners.expect()
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
        if self._owners is not None:
            self._owners.close()
        self._hooks.open_phase = None
        for _, after in reversed(self._pairs):
            after()


class _TracedCalls:
    """Hooks of one module: a span for each call, and the nodes that the call makes."""

    __slots__ = ("_again", "_forward", "_hooks", "_index", "_owners")

    def __init__(
        self,
        index: int = 0,
        hooks: TrainingHooks | None = None,
        owners: Owners | None = None,
        forward: tuple[Hook, Hook] | None = None,
        again: tuple[Hook, Hook] | None = None,
    ) -> None:
        self._index, self._hooks, self._owners = index, hooks, owners
        self._forward, self._again = forward, again

    def before(self, *_: Any) -> None:
        if self._hooks is None or self._owners is None:
            return
        self._owners.begin_call(self._index)
        pair = self._again if self._hooks.in_backward else self._forward
        if pair is not None:
            pair[0]()

    def after(self, *arguments: Any) -> None:
        if self._hooks is None or self._owners is None:
            return
        pair = self._again if self._hooks.in_backward else self._forward
        if pair is not None:
            pair[1]()
        self._owners.end_call(self._index, arguments[-1] if arguments else None)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copied or pickled model keeps working, unmeasured.
        return _TracedCalls, ()
