"""Repeat a call in blocks with idle between, while sensors are read, until its energy is known."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pywatt.calls.energies import CALL, OTHER, Figures, call_figures
from pywatt.calls.marked import MarkedCalls
from pywatt.calls.result import CallWindow
from pywatt.errors import ArgumentError
from pywatt.metering.freshness import is_fine
from pywatt.metering.source import Source
from pywatt.repetition.blocks import PASSES, Block
from pywatt.repetition.sensing import (
    BLOCK_PERIODS,
    BLOCK_S,
    PROBE_SWITCHES,
    PROBES_S,
    Sensing,
    energies_of,
)
from pywatt.repetition.timing import (
    TIMING_S,
    NotRepeatable,
    calls_on_device,
    calls_on_host,
    time_on_device,
)
from pywatt.sampling.monitor import Monitor

FloatArray = npt.NDArray[np.float64]

# Figures are updated after this many blocks or this share of the budget, whichever comes first.
ROUND_BLOCKS = 6
ROUND_SHARE = 0.4

# Fewer blocks do not show how much they vary.
MIN_BLOCKS = 3

# No block or pause takes more than this share of the budget, so that there are several of them.
BUDGET_SHARE = 0.06

# Share of the budget spent at most on finding the sensors' averaging windows.
PROBE_SHARE = 0.5

# A pause holds two readings of idle alone, whatever their phase.
PAUSE_PERIODS = 2.2
MIN_PAUSE_S = 0.1
UNKNOWN_PERIOD_S = 0.1

# Longest pause between calls that are spaced to hit all phases of a sensor's period.
MAX_SPACE_S = 0.05

# Kind of the time in which figures are computed, beside `PASSES` for that of the warm-up.
UPDATES = PASSES - 1
UPDATE_S = 1e-3


class Repetition:
    """One measurement of a call. What it has found so far can be read at any time.

    Args:
        call: the call to repeat.
        monitor: reads the sensors; running while `run` does.
        target_rel_std: the standard deviation to reach, as a share of the energy.
        budget_s: time to spend after the warm-up call.
        seed: seed of the lengths of blocks and pauses.

    Attributes:
        blocks: all that ran, in order, with nothing but idle between.
        figures: energy of one call by each source's sensor; None where it is not known.
        windows: energy of the windows inside the call.
        window_notes: why that is not known.
    """

    def __init__(
        self,
        call: Callable[[], object],
        monitor: Monitor,
        *,
        target_rel_std: float,
        budget_s: float,
        seed: int = 0,
    ) -> None:
        self.blocks: list[Block] = []
        self.figures: dict[str, Figures | None] = {}
        self.windows: tuple[CallWindow, ...] = ()
        self.window_notes: tuple[str, ...] = ()
        self._call, self._monitor, self._clock = call, monitor, monitor.clock
        self._target, self._budget_s = target_rel_std, budget_s
        self._random = random.Random(seed)
        self._marked = MarkedCalls(self._clock)
        # The call with its windows, where the warm-up opened any.
        self._recorded: Callable[[], object] | None = None
        self._sensing = Sensing(monitor)
        self._synchronize: Callable[[], None] | None = None
        self._call_s = 0.0
        # Blocks before this index only identified the sensors; they are too short to be measured.
        self._probed = 0
        self._start_s = self._clock.now_s()

    def run(self) -> None:
        """Repeat until the target is reached or the budget is spent.

        Raises:
            ArgumentError: calls take no time.
            BaseException: whatever the call raises, as it is.
        """
        self._warm_up()
        self._start_s = self._clock.now_s()
        if self._marked.any:
            # A new recorder, since the warm-up is not measured.
            with MarkedCalls(self._clock) as marked:
                self._recorded = marked.recorded(self._call)
                self._marked = marked
                self._probe()
                self._repeat()
        else:
            self._probe()
            self._repeat()

    def update(self) -> None:
        """Compute the figures from all blocks so far."""
        began_s = self._clock.now_s()
        # Idle ends where something else begins: its last part counts as this update's.
        self._add_other(UPDATES, began_s - UPDATE_S)
        self._learn()
        sources, models = self.sources(), self._sensing.models
        self.figures = {source.info.name: self._figures(source) for source in sources}
        if self._marked.any and self.counted:
            window = self.blocks[0].end_s, began_s
            self.windows, self.window_notes = self._marked.energies(sources, models, *window)
        self._add_other(UPDATES, began_s)

    def _figures(self, source: Source) -> Figures | None:
        blocks = self.blocks[self._probed :]
        models = self._sensing.models_of(source, blocks)
        energies = energies_of(source, models, blocks)
        if energies is None:
            return None
        return call_figures(energies, list(models.values()), blocks)

    def sources(self) -> tuple[Source, ...]:
        """Return what has been read so far."""
        return self._sensing.sources()

    @property
    def on_cuda(self) -> bool:
        """Whether CUDA is in use, so that the host's time is not the device's."""
        return self._synchronize is not None

    @property
    def counted(self) -> list[Block]:
        """The blocks that the figures are computed from."""
        return [block for block in self.blocks if block.kind == CALL]

    @property
    def total(self) -> Figures | None:
        """Energy of one call over all sources; None where one of them is not known."""
        total: Figures | None = None
        for found in self.figures.values():
            if found is None:
                return None
            total = found if total is None else total.plus(found)
        return total

    @property
    def is_known(self) -> bool:
        """Whether the energy is known to the target."""
        total = self.total
        if total is None or len(self.counted) < MIN_BLOCKS:
            return False
        return total.energy_j_std <= self._target * total.energy_j

    @property
    def unidentified(self) -> set[str]:
        """Names of sensors whose averaging window is not known."""
        return {
            source.info.name
            for source in self.sources()
            if source.counter is None
            and source.power is not None
            and not is_fine(source.power)
            and not self._sensing.knows(source.power)
        }

    def _warm_up(self) -> None:
        began_s = self._clock.now_s()
        try:
            with self._marked:
                self._call()
            self._call_s = self._clock.now_s() - began_s
            self._synchronize = _cuda_synchronize()
            if self._synchronize is not None:
                call_s = time_on_device(self._call, TIMING_S, self._clock, self._synchronize)
                self._call_s = call_s
        finally:
            self._add_other(PASSES, began_s)

    def _probe(self) -> None:
        """Find the averaging windows of power sensors by a load that switches on and off.

        The measurement follows, in blocks and pauses as long as the sensors need.
        """
        end_s = self._clock.now_s() + PROBE_SHARE * self._budget_s
        for lengths_s in PROBES_S:
            if not self.unidentified:
                return
            for _ in range(PROBE_SWITCHES):
                self._idle(*lengths_s)
                if self._clock.now_s() > end_s:
                    return
                self._block(self._random.uniform(*lengths_s), probe=True)
            # The last block stays: it marks where idle begins.
            self._probed = len(self.blocks) - 1
            self._idle(*lengths_s)
            self._learn()

    def _repeat(self) -> None:
        while self._has_time():
            self._round()
            self.update()
            if self._is_done():
                self._settle()
                if self._is_done():
                    return
        self._settle()

    def _round(self) -> None:
        end_s = self._clock.now_s() + ROUND_SHARE * self._budget_s
        block_s, pause_s = self._lengths_s()
        # Random pauses, so that blocks begin at every phase of a sensor's period.
        longest_s = pause_s + UNKNOWN_PERIOD_S
        self._idle(pause_s, longest_s)
        for number in range(ROUND_BLOCKS):
            if not self._has_time() or (number and self._clock.now_s() >= end_s):
                return
            self._block(block_s * self._random.uniform(0.9, 1.1), spaced=number % 2 == 1)
            self._idle(pause_s, longest_s)

    def _settle(self) -> None:
        """Wait until the sensors have shown all blocks, and update the figures."""
        self._monitor.idle(self._monitor.settle_s)
        self.update()

    def _is_done(self) -> bool:
        return self.is_known and all(_is_known(window, self._target) for window in self.windows)

    def _block(self, length_s: float, *, probe: bool = False, spaced: bool = False) -> None:
        """Run calls back to back for about `length_s`, or `spaced` where windows need it."""
        began_s = self._clock.now_s()
        call = self._recorded or self._call
        can_be_spaced = self._recorded is not None and not self.on_cuda
        spaced = spaced and can_be_spaced and self._call_s < length_s / 2
        try:
            if spaced:
                mark_s, done = self._spaced(call, length_s)
            elif self._synchronize is not None:
                calls = length_s / max(self._call_s, 1e-9)
                mark_s, done = calls_on_device(call, calls, self._clock, self._synchronize)
            else:
                mark_s, done = calls_on_host(call, length_s, self._clock)
        except NotRepeatable:
            raise ArgumentError(
                "the calls take no time on the given clock: advance it inside the function"
            ) from None
        except BaseException:
            self._add_other(PASSES, began_s)
            raise
        # A call longer than any block counts while probing too.
        counts = not spaced and not (probe and self._call_s < BLOCK_S[1])
        self.blocks.append(Block(CALL if counts else OTHER, mark_s, done))
        if not spaced:
            self._call_s = self.blocks[-1].call_s

    def _spaced(
        self, call: Callable[[], object], duration_s: float
    ) -> tuple[FloatArray, FloatArray]:
        """Call with random pauses, each no longer than a call."""
        end_s = self._clock.now_s() + duration_s
        longest_s = min(self._call_s, MAX_SPACE_S)
        marks: list[float] = []
        while not marks or marks[-1] < end_s:
            if marks:
                self._monitor.idle(self._random.uniform(0.0, longest_s))
            marks.append(self._clock.now_s())
            call()
            marks.append(self._clock.now_s())
        done = np.repeat(np.arange(len(marks) / 2 + 1), 2)[1:-1]
        return np.array(marks), done

    def _idle(self, shortest_s: float, longest_s: float) -> None:
        """Idle for a random time, so that blocks begin at all phases of the sensors' periods."""
        self._monitor.idle(self._random.uniform(shortest_s, longest_s))

    def _lengths_s(self) -> tuple[float, float]:
        """Return lengths of blocks and pauses that give each sensor several readings in each."""
        block_s, pause_s = BLOCK_S[0], MIN_PAUSE_S
        for source in self.sources():
            if source.silent is not None or is_fine(source.traces[0]):
                continue
            model = self._sensing.models.get(source.info.name)
            period_s = model.period_s if model is not None and model.period_s else UNKNOWN_PERIOD_S
            window_s = period_s
            if model is not None and model.window_s is not None:
                window_s = model.window_s
            block_s = max(block_s, window_s + BLOCK_PERIODS * period_s)
            pause_s = max(pause_s, window_s + PAUSE_PERIODS * period_s)
        most_s = BUDGET_SHARE * self._budget_s
        return max(BLOCK_S[0], min(block_s, most_s)), max(MIN_PAUSE_S, min(pause_s, most_s))

    def _learn(self) -> None:
        """Find how sensors average, unless that is known of all."""
        if not (self._sensing.models and self._sensing.known):
            self._sensing.learn(self.blocks)

    def _has_time(self) -> bool:
        """Return whether a block fits into the budget; the first one always does."""
        left_s = self._budget_s - (self._clock.now_s() - self._start_s)
        block_s, pause_s = self._lengths_s()
        return not self.counted or left_s > max(block_s, self._call_s) + pause_s

    def _add_other(self, kind: int, start_s: float) -> None:
        """Record that something other than a block ran from `start_s` until now."""
        end_s = self._clock.now_s()
        if self.blocks:
            start_s = max(start_s, self.blocks[-1].end_s)
        if end_s > start_s:
            self.blocks.append(Block(kind, np.array([start_s, end_s]), np.array([0.0, 1.0])))


def _is_known(window: CallWindow, target: float) -> bool:
    return (
        window.energy_j is not None
        and window.energy_j_std is not None
        and window.energy_j_std <= target * window.energy_j
    )


def _cuda_synchronize() -> Callable[[], None] | None:
    """Return what synchronizes all CUDA devices in use; None where the program has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    # Synchronizing a device that is not in use would create a context there.
    used = [i for i in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(i) > 0]
    used = used or [torch.cuda.current_device()]

    def synchronize() -> None:
        for index in used:
            torch.cuda.synchronize(index)

    return synchronize
