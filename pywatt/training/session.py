"""A user's own training loop, measured: phases, steps, epochs, and parts that follow each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import METHODS, Method
from pywatt.batches import samples_in
from pywatt.errors import ArgumentError, PywattError
from pywatt.interrupts import uninterrupted
from pywatt.modules import known_device, module_entries
from pywatt.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.progress import progress_bar
from pywatt.sensors import SensorChoice, select, stand_in
from pywatt.training.assembly import assemble
from pywatt.training.hooks import TIMED, TrainingHooks
from pywatt.training.ledger import Ledger
from pywatt.training.record import Record
from pywatt.training.replay import (
    OptimizerStep,
    TrainingReplay,
    entries_with_backward,
    times_of,
)
from pywatt.training.result import TrainingProfile
from pywatt.training.sampling import StepSampling
from pywatt.training.segment import EpochPiece, Segment, fold
from pywatt.training.tally import EpochTally
from pywatt.training.tree import Tree

# Readings a second: what a training of hours has of more costs its time, and tells little more.
TRAINING_RATE_HZ = 200.0

# A segment is attributed and forgotten after so long, or at an epoch's end where that is recorded.
SEGMENT_S = 60.0
RECORDED_SEGMENT_S = 10.0

# Or once it has so many spans, of 16 bytes each.
MAX_SPANS = 500_000

# Modules are told apart by the segment alone in the first few that have traced steps.
MODULE_SEGMENTS = 3


class TrainingProfiler:
    """Measures a training inside a `with` statement, in the user's own loop.

    ::

        with pywatt.TrainingProfiler(model) as p:
            for _ in range(3):
                for images, labels in p.epoch(loader):
                    with p.phase("forward"):
                        loss = loss_fn(model(images), labels)
                    with p.phase("backward"):
                        loss.backward()
                    with p.phase("optimizer"):
                        optimizer.step()
                        optimizer.zero_grad()
                    p.tell(loss=loss)
        print(p.result())

    Waiting for the loader is the phase "data", and all that is in no phase is "other". Whatever
    ends the block, what was measured until then can be had from `result`. Memory stays bounded
    however long it takes: parts of a minute are attributed and forgotten.

    Args:
        model: the model.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings a second, 1 to 10,000.
        method: how energy is shared among phases, and among modules: ``overlap``, ``regression``,
            ``time``, or ``auto``, the surest that can be believed; see `pywatt.attribute`.
            ``replay``, of modules, takes `pywatt.profile_training`.
        record: a file that sessions add up in; see `pywatt.profile_training`.
        device: device of a model that has no tensors.
        clock: a `ScriptedClock` for tests.

    Raises:
        ArgumentError: not a torch module, an unknown sensor or method, a rate out of range, or the
            record of another model.
        FileFormatError: `record` is there and is no record.
        SensorError: a sensor asked for by name that cannot be read.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sensors: SensorChoice = "auto",
        rate_hz: float = TRAINING_RATE_HZ,
        method: Method = "auto",
        record: str | os.PathLike[str] | None = None,
        device: torch.device | str = "cpu",
        clock: _core.Clock | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
        if method not in METHODS:
            raise ArgumentError(f"method is {method!r}, but must be one of {', '.join(METHODS)}")
        self._model, self._method, self._rate_hz = model, method, rate_hz
        self._default_device = known_device(device)
        self._clock = _core.steady_clock() if clock is None else clock
        entries = module_entries(model, self._default_device)
        self.device = entries[0].device
        devices = tuple(dict.fromkeys(entry.device for entry in entries))
        selection = select(sensors, devices=devices)
        if sensors != "auto":
            selection = stand_in(selection, devices)
        self._sensors = selection.sensors
        self._ledger = Ledger()
        self._ledger.add_notes(selection.notes)
        self._record = None if record is None else Record(record, entries[0].type)
        self._before = () if self._record is None else self._record.earlier
        self._date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._epochs: list[EpochTally] = []
        self._pieces: list[EpochPiece] = []
        self._piece_start_s: float | None = None
        self._sampling = StepSampling()
        self._is_only_step = False
        self._batches = 0
        self._traced_batches = 0
        self._module_segments = 0
        self._monitor: Monitor | None = None
        self._hooks: TrainingHooks | None = None
        self._last_hooks: TrainingHooks | None = None
        self._start_s: float | None = None
        self._segment_start_s = 0.0
        self._next: tuple[Monitor, float] | None = None
        self._pending: Segment | None = None
        self._in_phase = False
        self._ended: str | None = "going on"
        self._result: TrainingProfile | None = None

    def __enter__(self) -> TrainingProfiler:
        """Start sampling, and wait until the slowest meter has shown the idle."""
        if self._start_s is not None:
            raise PywattError("this profiler was used already: make a new one for another run")
        with uninterrupted(), ExitStack() as undo:
            monitor = self._new_monitor()
            undo.enter_context(monitor)
            monitor.idle(monitor.settle_s)
            hooks = self._new_hooks()
            undo.enter_context(hooks)
            self._monitor, self._hooks = monitor, hooks
            self._start_s = self._segment_start_s = self._clock.now_s()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; the user's exception goes on."""
        try:
            with uninterrupted():
                self._leave(kind)
        except BaseException as late:
            self.make_sure(late)
            raise

    def make_sure(self, error: BaseException) -> None:
        """Leave after all where Ctrl-C came to `__exit__` before it was held back."""
        if self._monitor is not None:
            with uninterrupted():
                self._leave(type(error))

    def epoch(
        self,
        loader: Iterable[Any],
        *,
        max_batches: int | None = None,
        move: Callable[[Any], Any] | None = None,
    ) -> Iterator[Any]:
        """Go through a loader once, as one epoch.

        An epoch that is left by `break` counts as not complete: give `max_batches` instead.

        Args:
            loader: batches.
            max_batches: end after so many.
            move: what is done with a batch first, in the phase "data", such as moving it to a GPU.
        """
        hooks = self._running()
        self._begin_epoch()
        tally = self._epochs[-1]
        try:
            hooks.enter_phase("data")
            try:
                batches = iter(islice(iter(loader), max_batches))
            finally:
                hooks.leave_phase()
            while True:
                self._turn()
                begin_s = self._clock.now_s()
                traced = self._begin_step()
                hooks = self._running()
                hooks.enter_phase("data")
                try:
                    batch = next(batches, _END)
                    if batch is not _END and move is not None:
                        batch = move(batch)
                finally:
                    hooks.leave_phase()
                if batch is _END:
                    break
                self._batches += 1
                self._traced_batches += traced
                tally.add_batch(samples_in(batch))
                yield batch
                self._end_step(self._clock.now_s() - begin_s, traced)
            tally.complete = True
        finally:
            self._end_epoch(tally)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Mark what runs inside as "data", "forward", "backward" or "optimizer".

        Phases follow each other: one inside another belongs to the outer one.

        Raises:
            ArgumentError: another name.
        """
        if name not in TIMED:
            raise ArgumentError(f"{name!r} is no phase; there are {', '.join(map(repr, TIMED))}")
        hooks = self._hooks
        if self._in_phase or hooks is None:
            yield
            return
        self._in_phase = True
        hooks.enter_phase(name)
        try:
            yield
        finally:
            hooks.leave_phase()
            self._in_phase = False

    def tell(self, *, loss: Any = None, samples: int | None = None) -> None:
        """Tell what is not seen of a batch.

        Args:
            loss: its loss, a number or a tensor; a tensor is kept on its device until the end of
                the epoch, and nothing waits for it.
            samples: its number of samples, where its first tensor does not tell.
        """
        if self._epochs:
            self._epochs[-1].tell(loss, samples)

    def expect_one_step(self) -> None:
        """There will be one step only: it is traced, though the first is not like others."""
        self._is_only_step = True

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Say what else a reader must know."""
        self._ledger.add_notes(notes)

    @property
    def wants_replay(self) -> bool:
        """Whether replay was asked for, or is what it takes to tell the modules apart."""
        if self._method not in ("auto", "replay") or not self._traced_batches:
            return False
        self._fold_pending(wait=True)
        if self._ledger.total is None:
            return False
        told = [
            any(sums.told_s > 0 for sums in source.paths.values())
            for source in self._ledger.sources.values()
        ]
        return self._method == "replay" or not all(told)

    def replay(
        self,
        run_pass: Callable[[], None],
        step: OptimizerStep,
        *,
        budget_s: float,
        progress: bool | None = None,
    ) -> None:
        """Measure modules' forward and backward by themselves; `result` then uses what that tells.

        Args:
            run_pass: runs forward and backward of one batch and calls `step`, leaving no trace; it
                may be ended early from inside.
            step: stands for the optimizer's step.
            budget_s: how long this may take.
            progress: show a progress bar; None: only in a terminal.
        """
        assert self._last_hooks is not None
        entries = self._last_hooks.entries
        sources = self._ledger.sources.values()
        scale = self._batches / max(1, self._traced_batches)
        trees = [Tree.of(source, [e.name for e in entries], scale) for source in sources]
        longest = max(trees, key=lambda tree: float(np.sum(tree.times.time_s)))
        time_s, self_time_s = times_of(longest)
        with progress_bar("replaying", round(budget_s), progress) as advance:
            self._ledger.replayed = TrainingReplay(
                entries_with_backward(entries, step, self.device),
                run_pass,
                self._new_monitor(max(self._rate_hz, DEFAULT_RATE_HZ)),
                time_s=time_s,
                self_time_s=self_time_s,
                duration_s=longest.duration_s,
                sensor_models={},
                devices={source.name: source.devices for source in sources},
                budget_s=budget_s,
                advance=advance,
            ).run()

    @property
    def complete_epochs(self) -> int:
        """How many epochs were completed, in earlier sessions of the record too."""
        earlier = sum(epoch.complete for profile in self._before for epoch in profile.epochs)
        return earlier + sum(epoch.complete for epoch in self._epochs)

    def result(self) -> TrainingProfile:
        """Return the energies, once the `with` statement has been left.

        Raises:
            PywattError: the profiler has not been entered and left.
        """
        if self._start_s is None or self._monitor is not None:
            raise PywattError("there is no result yet: leave the profiler's `with` statement first")
        if self._result is None:
            self._fold_pending(wait=True)
            self._write_record()
            self._result = self._told()
        return self._result

    def _told(self) -> TrainingProfile:
        """This session and those before it."""
        from pywatt.training.merge import added_up

        assert self._last_hooks is not None
        own = assemble(
            self._last_hooks,
            self._ledger,
            self._epochs,
            first_index=sum(e.complete for profile in self._before for e in profile.epochs),
            batches=self._batches,
            traced_batches=self._traced_batches,
            date=self._date,
            ended=self._ended,
            method=self._method,
        )
        return added_up((*self._before, own))

    # Steps and epochs.

    def _running(self) -> TrainingHooks:
        if self._hooks is None:
            raise PywattError("the profiler is not running: use it inside its `with` statement")
        return self._hooks

    def _begin_epoch(self) -> None:
        self._epochs.append(EpochTally())
        self._piece_start_s = self._clock.now_s()

    def _end_epoch(self, tally: EpochTally) -> None:
        tally.end()
        # A loop that an exception ended may let go of its generator only after the profiler.
        if self._hooks is None or tally is not self._epochs[-1]:
            return
        if self._hooks.traced:
            self._hooks.detach()
        if self._piece_start_s is not None:
            self._end_piece(self._clock.now_s())
            self._piece_start_s = None
        self._turn(epoch_ended=True)

    def _end_piece(self, end_s: float) -> None:
        assert self._piece_start_s is not None
        self._pieces.append(EpochPiece(len(self._epochs) - 1, self._piece_start_s, end_s))
        self._epochs[-1].pieces += 1
        self._piece_start_s = end_s

    def _begin_step(self) -> bool:
        if not self._sampling.next_is_traced(is_only_one=self._is_only_step):
            return False
        with uninterrupted():
            self._running().attach()
        return True

    def _end_step(self, duration_s: float, traced: bool) -> None:
        hooks = self._running()
        if traced:
            with uninterrupted():
                hooks.detach()
        self._sampling.add(duration_s, traced=traced)

    # Segments.

    def _new_monitor(self, rate_hz: float | None = None) -> Monitor:
        return Monitor(self._sensors, rate_hz=rate_hz or self._rate_hz, clock=self._clock)

    def _new_hooks(self) -> TrainingHooks:
        return TrainingHooks(self._model, self._clock, default_device=self._default_device)

    def _turn(self, *, epoch_ended: bool = False) -> None:
        """Begin a new segment where the old one is long enough; attribute one that is over.

        The new one's sensors are read from before the old one ends, and the old one's for some time
        after, since slow meters show late what was.
        """
        now_s = self._clock.now_s()
        if self._pending is not None:
            self._fold_pending(wait=False)
        elif self._next is None:
            lasted_s = now_s - self._segment_start_s
            recorded = self._record is not None and epoch_ended
            long = lasted_s >= (RECORDED_SEGMENT_S if recorded else SEGMENT_S)
            if long or len(self._running().recorder) >= MAX_SPANS:
                with uninterrupted():
                    monitor = self._new_monitor()
                    monitor.__enter__()
                    self._next = (monitor, self._clock.now_s() + monitor.settle_s)
        if self._next is not None and now_s >= self._next[1]:
            with uninterrupted():
                self._end_segment(self._next[0])
                self._next = None

    def _end_segment(self, following: Monitor | None) -> None:
        """End the segment now; the one that follows begins at the same moment, if any does."""
        hooks, monitor = self._hooks, self._monitor
        assert hooks is not None
        assert monitor is not None
        begun = None if following is None else self._new_hooks()
        hooks.synchronize()
        hooks.recorder.close_all()
        end_s = self._clock.now_s()
        if self._piece_start_s is not None:
            self._end_piece(end_s)
        self._pending = Segment(hooks, monitor, self._segment_start_s, end_s, tuple(self._pieces))
        self._pieces = []
        self._last_hooks, self._hooks, self._monitor = hooks, begun, following
        self._segment_start_s = end_s
        try:
            monitor.stop_after(end_s)
        finally:
            hooks.__exit__(None, None, None)
            if begun is not None:
                begun.begin()

    def _fold_pending(self, *, wait: bool) -> None:
        """Attribute the segment that is over, once its sensors have shown its end."""
        segment = self._pending
        if segment is None or not (wait or segment.monitor.has_settled):
            return
        segment.monitor.wait()
        self._pending = None
        modules = self._module_segments < MODULE_SEGMENTS
        try:
            folded = fold(segment, self._method, modules=modules)
            self._module_segments += any(share.modules is not None for share in folded.shares)
            self._ledger.add(folded)
        except Exception as error:  # a failing measurement never ends the user's own run
            self._ledger.lose(segment, f"it could not be attributed: {error!r:.200}")
        if not wait:
            self._write_record()

    def _write_record(self) -> None:
        if self._record is None:
            return
        note = self._record.write(self._told())
        if note is not None:
            self._ledger.add_notes((note,))

    def _leave(self, kind: type[BaseException] | None) -> None:
        if self._monitor is None:
            return
        self._ended = None if kind is None else kind.__name__
        if kind is not None:
            self._ledger.add_notes(
                (f"the training ended early with {kind.__name__}: this is what was measured",)
            )
        if self._hooks is not None:
            self._hooks.leave_all()
        if self._next is not None:
            self._next[0].stop()
            self._next = None
        self._fold_pending(wait=True)
        self._end_segment(None)
        self._piece_start_s = None
        if self._epochs:
            self._epochs[-1].end()
        if self._record is not None:
            self._fold_pending(wait=True)
            self._write_record()


_END: Any = object()
