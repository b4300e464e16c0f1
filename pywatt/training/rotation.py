"""Measure a training in segments without gaps, each with its own readings."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack

from pywatt import _core
from pywatt.attribution import Method
from pywatt.errors import PywattError
from pywatt.sampling.monitor import Monitor
from pywatt.support.notes import NoteOnParts
from pywatt.support.signals import uninterrupted
from pywatt.training.hooks import TrainingHooks
from pywatt.training.ledger import Ledger
from pywatt.training.segment import EpochPiece, Segment, fold
from pywatt.training.tally import EpochTally

# A segment ends after so long; with a record, at the first end of an epoch after the second one.
SEGMENT_S = 60.0
RECORDED_SEGMENT_S = 10.0

# Or once it has this many spans, of 16 bytes each.
MAX_SPANS = 500_000

# Note on a backward pass that is not marked as one.
UNMARKED = (
    "a backward pass ran outside of the phase 'backward': its energy is in the phase around it or "
    "in 'other', and in no layer; put it into p.phase(\"backward\")"
)

# Note on a backward pass that is not in the step of its forward.
LATE = NoteOnParts(
    "a backward pass belonged to the forward of an earlier step, and modules are traced one step "
    "at a time: backward is reported as a phase, not by layer; call backward in the step of its "
    "forward to get it by layer"
)

# Note on epochs that overlap.
NESTED = (
    "an epoch began before the previous one had ended, whose energy is therefore unknown: finish "
    "one p.epoch(loader) before the next, and iterate over a validation loader without it"
)

# Modules are separated by the segment alone in the first few with traced steps.
MODULE_SEGMENTS = 3


class SegmentRotation:
    """Measures one segment after the other, and sums their energies in a ledger.

    Args:
        new_monitor: makes the monitor of a segment.
        new_hooks: makes the hooks of a segment.
        method: how its energy is shared; see `fold`.
        clock: clock of both.

    Attributes:
        ledger: sums of all attributed segments.
    """

    def __init__(
        self,
        new_monitor: Callable[[], Monitor],
        new_hooks: Callable[[], TrainingHooks],
        *,
        method: Method,
        clock: _core.Clock,
    ) -> None:
        self.ledger = Ledger()
        self._new_monitor, self._new_hooks = new_monitor, new_hooks
        self._method, self._clock = method, clock
        self._monitor: Monitor | None = None
        self._hooks: TrainingHooks | None = None
        self._last_hooks: TrainingHooks | None = None
        self._start_s = 0.0
        self._next: tuple[Monitor, float] | None = None
        self._failed_s = -math.inf  # when the sensors of the next one could not be read
        self._pending: Segment | None = None
        self._module_segments = 0
        self._epoch: tuple[int, EpochTally] | None = None
        self._piece_start_s = 0.0
        self._pieces: list[EpochPiece] = []

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._monitor is not None

    @property
    def hooks(self) -> TrainingHooks:
        """Hooks of the current segment.

        Raises:
            PywattError: there is none.
        """
        if self._hooks is None:
            raise PywattError("the profiler is not running: use it inside its `with` statement")
        return self._hooks

    @property
    def last_hooks(self) -> TrainingHooks:
        """Hooks of the segment that ended last."""
        assert self._last_hooks is not None
        return self._last_hooks

    def begin(self) -> None:
        """Start sampling, and wait until the slowest meter has shown idle power."""
        with uninterrupted(), ExitStack() as undo:
            monitor = self._new_monitor()
            undo.enter_context(monitor)
            monitor.idle(monitor.settle_s)
            hooks = self._new_hooks()
            undo.enter_context(hooks)
            self._monitor, self._hooks = monitor, hooks
            self._start_s = self._clock.now_s()
            undo.pop_all()

    def end(self) -> None:
        """End the last segment. `fold_pending` attributes it."""
        if self._hooks is not None:
            self._hooks.leave_all()
        if self._next is not None:
            self._next[0].stop()
            self._next = None
        self.fold_pending()
        self._end_segment(None)
        self._epoch = None

    def begin_epoch(self, index: int, tally: EpochTally) -> None:
        """Begin an epoch, the session's `index`-th from 0 on, and end one that is still open."""
        if self._epoch is not None:
            self._epoch[1].is_cut = True
            self.ledger.add_notes((NESTED,))
            self.end_epoch()
        self._epoch = index, tally
        self._piece_start_s = self._clock.now_s()

    def end_epoch(self) -> None:
        """End the epoch."""
        if self._epoch is not None:
            self._end_piece(self._clock.now_s())
            self._epoch = None

    def rotate(self, *, after_s: float = SEGMENT_S) -> bool:
        """Begin a new segment if the current one is long enough; attribute one that has ended.

        The sensors of the new segment are read from before the old one ends, and those of the old
        one for some time after, since slow meters lag.

        Args:
            after_s: length after which a segment ends.

        Returns:
            Whether a segment was attributed.
        """
        now_s = self._clock.now_s()
        if self._pending is not None:
            return self._pending.monitor.has_settled and self.fold_pending()
        long = now_s - self._start_s >= after_s or len(self.hooks.recorder) >= MAX_SPANS
        if self._next is None and long and now_s - self._failed_s >= SEGMENT_S:
            with uninterrupted():
                self._start_next()
        if self._next is not None and now_s >= self._next[1]:
            with uninterrupted():
                self._end_segment(self._next[0])
                self._next = None
        return False

    def _start_next(self) -> None:
        """Start the sensors of the next segment; if that fails, the current one continues."""
        try:
            monitor = self._new_monitor()
            monitor.__enter__()
        except PywattError as error:
            self._failed_s = self._clock.now_s()
            self.ledger.add_notes(
                (f"a segment was longer than usual, since the next could not start: {error}",)
            )
            return
        self._next = (monitor, self._clock.now_s() + monitor.settle_s)

    def fold_pending(self) -> bool:
        """Attribute the segment that has ended, if any, once its sensors have shown its end."""
        segment = self._pending
        if segment is None:
            return False
        segment.monitor.wait()
        modules = self._module_segments < MODULE_SEGMENTS
        try:
            # Ctrl-C may come here: the segment is then attributed at the end of the training.
            folded = fold(segment, self._method, modules=modules)
            with uninterrupted():
                self._pending = None
                self._module_segments += any(share.modules is not None for share in folded.shares)
                self.ledger.add(folded)
        except Exception as error:  # a failing measurement never ends the user's own run
            with uninterrupted():
                self._pending = None
                self.ledger.add_lost(segment, f"it could not be attributed: {error!r:.200}")
        return True

    def _end_piece(self, end_s: float) -> None:
        assert self._epoch is not None
        index, tally = self._epoch
        self._pieces.append(EpochPiece(index, self._piece_start_s, end_s))
        tally.pieces += 1
        self._piece_start_s = end_s

    def _end_segment(self, following: Monitor | None) -> None:
        """End the segment; the following one, if any, begins at the same moment."""
        hooks, monitor = self.hooks, self._monitor
        assert monitor is not None
        begun = None if following is None else self._new_hooks()
        hooks.synchronize()
        hooks.recorder.close_all()
        end_s = self._clock.now_s()
        if self._epoch is not None:
            self._end_piece(end_s)
        if hooks.missed_backward:
            self.ledger.add_notes((UNMARKED,))
        # The first step of a segment may run the backward of the segment before.
        if any(each is not None and each.late_backward for each in (self._last_hooks, hooks)):
            self.ledger.add_notes((LATE,))
            self.ledger.left_out = ("backward",)
        self._pending = Segment(hooks, monitor, self._start_s, end_s, tuple(self._pieces))
        self._pieces = []
        self._last_hooks, self._hooks, self._monitor = hooks, begun, following
        self._start_s = end_s
        try:
            monitor.stop_after(end_s)
        finally:
            hooks.__exit__(None, None, None)
            if begun is not None:
                begun.begin()
