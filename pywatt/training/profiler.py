"""Measure a user's own training loop: its phases, steps, epochs and segments."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import METHODS, Method
from pywatt.errors import ArgumentError, PywattError
from pywatt.model.batch import samples_in
from pywatt.model.environment import date_now
from pywatt.model.modules import known_device, module_entries
from pywatt.sampling.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.sensors.info import OpenSensor
from pywatt.sensors.selection import SensorChoice, cover_devices, select
from pywatt.support.checks import check_count
from pywatt.support.progress import progress_bar
from pywatt.support.signals import uninterrupted
from pywatt.training.assembly import assemble
from pywatt.training.hooks import TIMED, TrainingHooks
from pywatt.training.record import Record
from pywatt.training.repeaters import OptimizerStep
from pywatt.training.replay import TrainingReplay
from pywatt.training.result import TrainingProfile
from pywatt.training.rotation import RECORDED_SEGMENT_S, SEGMENT_S, SegmentRotation
from pywatt.training.steps import Steps
from pywatt.training.tally import EpochTally

# Readings per second of sensors whose values are always fresh, no older than this, and of those
# that update at their own times, which must be seen soon after. Each reading costs a tenth of a
# millisecond where all CPUs are busy, and more of them add little to a run of hours.
FRESH_S = 0.001
FRESH_RATE_HZ = 25.0
PUBLISHED_RATE_HZ = 200.0

# Writing the record before the end of the training may take this share of its time.
RECORD_SHARE = 0.002


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
                    p.log(loss=loss)
        print(p.result())

    Waiting for the loader is the phase "data"; what is in no phase is "other". Whatever ends the
    block, `result` returns what was measured until then. Memory stays bounded in long trainings:
    segments of a minute are attributed and then dropped.

    Args:
        model: the model.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings per second, 1 to 10,000; None: 25 if every sensor is always fresh, such as
            RAPL and the software estimate, else 200.
        method: how energy is shared among phases, and among modules: ``overlap``, ``regression``,
            ``time``, or ``auto``, the most certain one that can be trusted; see `pywatt.attribute`.
            ``replay`` of modules needs `pywatt.profile_training`.
        record: a file that accumulates sessions; see `pywatt.profile_training`.
        device: device of a model that has no tensors.
        clock: a `ScriptedClock` for tests.

    Raises:
        ArgumentError: not a torch module, an unknown sensor or method, a rate out of range, or the
            record of another model.
        FileFormatError: `record` exists and is not a record.
        SensorError: a sensor asked for by name that cannot be read.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sensors: SensorChoice = "auto",
        rate_hz: float | None = None,
        method: Method = "auto",
        record: str | os.PathLike[str] | None = None,
        device: torch.device | str = "cpu",
        clock: _core.Clock | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
        if method not in METHODS:
            raise ArgumentError(f"method is {method!r}, but must be one of {', '.join(METHODS)}")
        self._model, self._method = model, method
        self._default_device = known_device(device)
        self._clock = _core.steady_clock() if clock is None else clock
        entries = module_entries(model, self._default_device)
        self.device = entries[0].device
        devices = tuple(dict.fromkeys(entry.device for entry in entries))
        selection = select(sensors, devices=devices)
        if sensors != "auto":
            selection = cover_devices(selection, devices)
        self._sensors = selection.sensors
        self._rate_hz = default_rate_hz(self._sensors) if rate_hz is None else rate_hz
        self._segments = SegmentRotation(
            self._new_monitor, self._new_hooks, method=method, clock=self._clock
        )
        self._segments.ledger.add_notes(selection.notes)
        self._record = None if record is None else Record(record, entries[0].type)
        self._before = () if self._record is None else self._record.earlier
        self._date = date_now()
        self._epochs: list[EpochTally] = []
        self._steps = Steps(self._clock)
        self._begun = False
        # The user's loop enters these marks; their recorder changes with each segment.
        self._phases = {name: _core.SpanMark() for name in TIMED}
        self._next_write_s = -math.inf
        self._ended: str | None = "going on"
        self._result: TrainingProfile | None = None

    def __enter__(self) -> TrainingProfiler:
        """Start sampling, and wait until the slowest meter has shown idle power."""
        if self._begun:
            raise PywattError("this profiler was used already: make a new one for another run")
        self._segments.begin()
        self._record_phases(self._segments.hooks.phases)
        self._begun = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; an exception of the user propagates."""
        try:
            with uninterrupted():
                self._leave(kind)
        except BaseException as late:
            self.make_sure(late)
            raise

    def make_sure(self, error: BaseException) -> None:
        """Stop after all if Ctrl-C reached `__exit__` before signals were blocked."""
        if self._segments.is_running:
            with uninterrupted():
                self._leave(type(error))

    def epoch(
        self,
        loader: Iterable[Any],
        *,
        max_batches: int | None = None,
        move: Callable[[Any], Any] | None = None,
    ) -> Iterator[Any]:
        """Iterate over a loader once, as one epoch.

        An epoch that ends by `break` counts as not complete: give `max_batches` instead.

        Args:
            loader: batches.
            max_batches: end after so many.
            move: called with each batch first, in the phase "data", such as to move it to a GPU.
        """
        check_count("max_batches", max_batches, 1, or_else=None)
        self._record_phases(self._segments.hooks.phases)
        tally = EpochTally()
        self._segments.begin_epoch(len(self._epochs), tally)
        self._epochs.append(tally)
        try:
            data = self._phases["data"]
            with data:
                batches = iter(islice(iter(loader), max_batches))
            steps = self._steps
            while True:
                if steps.until_check == 0:
                    self._between_steps()
                steps.until_check -= 1
                with data:
                    batch = next(batches, _END)
                    if batch is not _END and move is not None:
                        batch = move(batch)
                if batch is _END:
                    break
                steps.batches += 1
                tally.add_batch(samples_in(batch))
                yield batch
            tally.complete = True
        finally:
            self._end_epoch(tally)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Mark what runs inside as "data", "forward", "backward" or "optimizer".

        Phases do not nest: one inside another, or in another thread meanwhile, belongs to the one
        that began first.

        Raises:
            ArgumentError: another name.
        """
        try:
            return self._phases[name]
        except (KeyError, TypeError):
            phases = ", ".join(map(repr, self._phases))
            raise ArgumentError(f"unknown phase {name!r}; choose from {phases}") from None

    def log(self, *, loss: Any = None, samples: int | None = None) -> None:
        """Set what the profiler cannot see of a batch.

        Args:
            loss: its loss, a number or a tensor; a tensor is kept on its device until the end of
                the epoch, and nothing waits for it.
            samples: its number of samples, if the shape of its first tensor does not give it.

        Raises:
            ArgumentError: `samples` is not a whole number of at least 0.
        """
        if samples is not None:
            check_count("samples", samples, 0)
        if self._epochs:
            self._epochs[-1].update_last(loss, samples)

    def expect_one_step(self) -> None:
        """Trace the first step, which is not like others, since it will be the only one."""
        self._steps.is_only_one = True

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Add notes for the reader of the result."""
        self._segments.ledger.add_notes(notes)

    @property
    def wants_replay(self) -> bool:
        """Whether replay was requested, or is needed to separate the modules."""
        if self._method not in ("auto", "replay") or not self._steps.traced:
            return False
        self._segments.fold_pending()
        ledger = self._segments.ledger
        return ledger.total is not None and (
            self._method == "replay" or not ledger.separates_modules
        )

    def replay(
        self,
        run_pass: Callable[[], None],
        step: OptimizerStep,
        *,
        budget_s: float,
        progress: bool | None = None,
    ) -> None:
        """Measure the modules' forward and backward one by one, for use by `result`.

        Args:
            run_pass: runs forward and backward of one batch and calls `step`, without side effects;
                it may be ended early from inside.
            step: marks the step of the optimizer.
            budget_s: how long this may take.
            progress: show a progress bar; None: only in a terminal.
        """
        ledger = self._segments.ledger
        with progress_bar("replaying", round(budget_s), progress) as advance:
            ledger.replayed = TrainingReplay.of(
                ledger,
                self._segments.last_hooks.entries,
                run_pass,
                step,
                self._new_monitor(max(self._rate_hz, DEFAULT_RATE_HZ)),
                device=self.device,
                scale=self._steps.batches / max(1, self._steps.traced),
                budget_s=budget_s,
                advance=advance,
            ).run()

    @property
    def complete_epochs(self) -> int:
        """Number of completed epochs, those of earlier sessions in the record included."""
        earlier = sum(epoch.complete for profile in self._before for epoch in profile.epochs)
        return earlier + sum(epoch.complete for epoch in self._epochs)

    def result(self) -> TrainingProfile:
        """Return the energies, after the `with` statement.

        Raises:
            PywattError: the profiler has not been entered and left.
        """
        if not self._begun or self._segments.is_running:
            raise PywattError("there is no result yet: leave the profiler's `with` statement first")
        if self._result is None:
            self._segments.fold_pending()
            self._write_record()
            self._result = self._profile()
        return self._result

    def _profile(self) -> TrainingProfile:
        """Return the profile of this session and those before it."""
        from pywatt.training.merge import merged

        own = assemble(
            self._segments.last_hooks,
            self._segments.ledger,
            self._epochs,
            first_index=sum(e.complete for profile in self._before for e in profile.epochs),
            batches=self._steps.batches,
            traced_batches=self._steps.traced,
            date=self._date,
            ended=self._ended,
            method=self._method,
        )
        return merged((*self._before, own))

    # Steps and epochs.

    def _end_epoch(self, tally: EpochTally) -> None:
        tally.end()
        if tally.note is not None:
            self.add_notes((tally.note,))
        # After an exception, the loop's generator may be closed only after the profiler.
        if not self._segments.is_running or tally is not self._epochs[-1]:
            return
        self._steps.end(self._segments.hooks)
        self._segments.end_epoch()
        self._rotate(epoch_ended=True)
        self._record_phases(self._segments.hooks.phases)

    def _rotate(self, *, epoch_ended: bool = False) -> None:
        recorded = self._record is not None and epoch_ended
        if self._segments.rotate(after_s=RECORDED_SEGMENT_S if recorded else SEGMENT_S):
            self._write_record(when_due=True)

    def _between_steps(self) -> None:
        """Do what is due between two steps."""
        self._steps.end(self._segments.hooks)
        self._rotate()
        self._steps.begin(self._segments.hooks)
        self._record_phases(self._segments.hooks.phases)

    def _record_phases(self, recorders: Mapping[str, AbstractContextManager[Any]]) -> None:
        for name, mark in self._phases.items():
            mark.target = recorders.get(name)

    def _new_monitor(self, rate_hz: float | None = None) -> Monitor:
        return Monitor(self._sensors, rate_hz=rate_hz or self._rate_hz, clock=self._clock)

    def _new_hooks(self) -> TrainingHooks:
        return TrainingHooks(self._model, self._clock, default_device=self._default_device)

    def _write_record(self, *, when_due: bool = False) -> None:
        begin_s = self._clock.now_s()
        if self._record is None or (when_due and begin_s < self._next_write_s):
            return
        note = self._record.write(self._profile())
        end_s = self._clock.now_s()
        self._next_write_s = end_s + (end_s - begin_s) / RECORD_SHARE
        if note is not None:
            self._segments.ledger.add_notes((note,))

    def _leave(self, kind: type[BaseException] | None) -> None:
        if not self._segments.is_running:
            return
        self._ended = None if kind is None else kind.__name__
        if kind is not None:
            self._segments.ledger.add_notes(
                (f"the training ended early with {kind.__name__}: this is what was measured",)
            )
        self._steps.end(self._segments.hooks)
        self._segments.end()
        self._record_phases({})
        if self._epochs:
            self._epochs[-1].end()
        if self._record is not None:
            self._segments.fold_pending()
            self._write_record()


_END: Any = object()


def default_rate_hz(sensors: Sequence[OpenSensor]) -> float:
    """Return the readings per second that a training needs."""
    periods_s = [info.update_period_s for sensor in sensors for info in sensor.infos]
    fresh = all(period_s is not None and period_s <= FRESH_S for period_s in periods_s)
    return FRESH_RATE_HZ if fresh else PUBLISHED_RATE_HZ
