"""Repeats a call in blocks with idle between, while sensors are read, until its energy is known."""

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
from pywatt.metering.energy_curve import is_fine
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
    on_host,
    time_on_device,
)
from pywatt.sampling.monitor import Monitor

FloatArray = npt.NDArray[np.float64]

# Figures are looked at after so many blocks, or this share of the budget; and believed after so
# many: fewer do not tell how far they spread.
ROUND_BLOCKS = 6
ROUND_SHARE = 0.4
LEAST_BLOCKS = 3

# No block nor pause takes more than this share of the budget, so that there are several of them.
BUDGET_SHARE = 0.06

# A sensor's window is looked for during this share of the budget.
PROBE_SHARE = 0.5

# A pause holds two readings that see nothing else, whatever their phase.
PAUSE_PERIODS = 2.2
LEAST_PAUSE_S = 0.1
UNKNOWN_PERIOD_S = 0.1

# Calls are this much apart at most where that is done to meet all phases of a sensor's period.
LONGEST_SPACE_S = 0.05

# Work of the time in which figures are worked out, beside `PASSES` for that of the warm-up.
LOOKS = PASSES - 1
LOOK_S = 1e-3


class Repetition:
    """One measurement of a call. What it has found so far can be read at any time.

    Args:
        call: what is called.
        monitor: reads the sensors; running while `run` does.
        target_rel_std: what the standard deviation of the energy shall be as a share of it.
        budget_s: how long this may take after the warm-up call.
        seed: of the lengths of blocks and pauses.

    Attributes:
        blocks: all that ran, in order, with nothing but idle between.
        figures: what each source tells of one call, by its sensor; None where it does not.
        windows: what windows inside the call take.
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
        # The blocks before this one told what readings mean, too short to tell more.
        self._probed = 0
        self._start_s = self._clock.now_s()

    def run(self) -> None:
        """Repeat until the target or the end of the budget is reached.

        Raises:
            ArgumentError: calls take no time.
            BaseException: whatever the call raises, as it is.
        """
        self._warm_up()
        self._start_s = self._clock.now_s()
        if self._marked.any:
            # Another one, since the warm-up is not what is measured.
            with MarkedCalls(self._clock) as marked:
                self._recorded = marked.recorded(self._call)
                self._marked = marked
                self._probe()
                self._repeat()
        else:
            self._probe()
            self._repeat()

    def look(self) -> None:
        """Work out the figures from all blocks so far."""
        began_s = self._clock.now_s()
        # Idle has an end where something else begins: the last of it is counted to the look.
        self._other(LOOKS, began_s - LOOK_S)
        self._learn()
        sources, models = self.sources(), self._sensing.models
        self.figures = {source.info.name: self._figures(source) for source in sources}
        if self._marked.any and self.counted:
            window = self.blocks[0].end_s, began_s
            self.windows, self.window_notes = self._marked.energies(sources, models, *window)
        self._other(LOOKS, began_s)

    def _figures(self, source: Source) -> Figures | None:
        blocks = self.blocks[self._probed :]
        models = self._sensing.models_of(source, blocks)
        energies = energies_of(source, models, blocks)
        if energies is None:
            return None
        return call_figures(energies, list(models.values()), blocks)

    def sources(self) -> tuple[Source, ...]:
        """What has been read so far."""
        return self._sensing.sources()

    @property
    def on_cuda(self) -> bool:
        """Whether CUDA is in use, so that the host's time is not the device's."""
        return self._synchronize is not None

    @property
    def counted(self) -> list[Block]:
        """The blocks that the figures rest on."""
        return [block for block in self.blocks if block.work == CALL]

    @property
    def total(self) -> Figures | None:
        """What all sources together tell of one call; None where one of them does not."""
        total: Figures | None = None
        for found in self.figures.values():
            if found is None:
                return None
            total = found if total is None else total.plus(found)
        return total

    @property
    def is_known(self) -> bool:
        """Whether the energy is known as well as was asked for."""
        total = self.total
        if total is None or len(self.counted) < LEAST_BLOCKS:
            return False
        return total.energy_j_std <= self._target * total.energy_j

    @property
    def windows_unknown(self) -> set[str]:
        """Names of sensors whose readings are means over a time that is not known."""
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
            self._other(PASSES, began_s)

    def _probe(self) -> None:
        """Find out what readings are the mean of, where they are no counter's: by going on and off.

        What is measured comes afterwards, in blocks and pauses as long as the sensors need.
        """
        end_s = self._clock.now_s() + PROBE_SHARE * self._budget_s
        for lengths_s in PROBES_S:
            if not self.windows_unknown:
                return
            for _ in range(PROBE_SWITCHES):
                self._idle(*lengths_s)
                if self._clock.now_s() > end_s:
                    return
                self._block(self._random.uniform(*lengths_s), probe=True)
            # The last of them tells where idle begins.
            self._probed = len(self.blocks) - 1
            self._idle(*lengths_s)
            self._learn()

    def _repeat(self) -> None:
        while self._has_time():
            self._round()
            self.look()
            if self._is_done():
                self._settle()
                if self._is_done():
                    return
        self._settle()

    def _round(self) -> None:
        end_s = self._clock.now_s() + ROUND_SHARE * self._budget_s
        block_s, pause_s = self._lengths_s()
        # Any phase of a sensor's period shall be met.
        longest_s = pause_s + UNKNOWN_PERIOD_S
        self._idle(pause_s, longest_s)
        for number in range(ROUND_BLOCKS):
            if not self._has_time() or (number and self._clock.now_s() >= end_s):
                return
            self._block(block_s * self._random.uniform(0.9, 1.1), apart=number % 2 == 1)
            self._idle(pause_s, longest_s)

    def _settle(self) -> None:
        """Wait until the sensors have shown all blocks, and look."""
        self._monitor.idle(self._monitor.settle_s)
        self.look()

    def _is_done(self) -> bool:
        return self.is_known and all(_is_told(window, self._target) for window in self.windows)

    def _block(self, length_s: float, *, probe: bool = False, apart: bool = False) -> None:
        """Run calls back to back for about so long; `apart`: not so, where windows need it."""
        began_s = self._clock.now_s()
        call = self._recorded or self._call
        can_be_apart = self._recorded is not None and not self.on_cuda
        apart = apart and can_be_apart and self._call_s < length_s / 2
        try:
            if apart:
                mark_s, done = self._apart(call, length_s)
            elif self._synchronize is not None:
                calls = length_s / max(self._call_s, 1e-9)
                mark_s, done = calls_on_device(call, calls, self._clock, self._synchronize)
            else:
                mark_s, done = on_host(call, length_s, self._clock)
        except NotRepeatable:
            raise ArgumentError(
                "the calls take no time on the clock that was given: advance it inside the function"
            ) from None
        except BaseException:
            self._other(PASSES, began_s)
            raise
        # A call that is longer than any block would be is worth as much while probing.
        counts = not apart and not (probe and self._call_s < BLOCK_S[1])
        self.blocks.append(Block(CALL if counts else OTHER, mark_s, done))
        if not apart:
            self._call_s = self.blocks[-1].call_s

    def _apart(
        self, call: Callable[[], object], duration_s: float
    ) -> tuple[FloatArray, FloatArray]:
        """Call with pauses of any length up to that of a call."""
        end_s = self._clock.now_s() + duration_s
        longest_s = min(self._call_s, LONGEST_SPACE_S)
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
        """Let the device idle for any time, so that blocks begin at all phases of the sensors'."""
        self._monitor.idle(self._random.uniform(shortest_s, longest_s))

    def _lengths_s(self) -> tuple[float, float]:
        """How long blocks and pauses must be for all sensors to see several of each alone."""
        block_s, pause_s = BLOCK_S[0], LEAST_PAUSE_S
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
        return max(BLOCK_S[0], min(block_s, most_s)), max(LEAST_PAUSE_S, min(pause_s, most_s))

    def _learn(self) -> None:
        """Find out how sensors average, where that is not known of all yet."""
        if not (self._sensing.models and self._sensing.known):
            self._sensing.learn(self.blocks)

    def _has_time(self) -> bool:
        """Whether a block fits into the budget; one runs however long it takes."""
        left_s = self._budget_s - (self._clock.now_s() - self._start_s)
        block_s, pause_s = self._lengths_s()
        return not self.counted or left_s > max(block_s, self._call_s) + pause_s

    def _other(self, work: int, start_s: float) -> None:
        """Remember when something else than a block ran, until now."""
        end_s = self._clock.now_s()
        if self.blocks:
            start_s = max(start_s, self.blocks[-1].end_s)
        if end_s > start_s:
            self.blocks.append(Block(work, np.array([start_s, end_s]), np.array([0.0, 1.0])))


def _is_told(window: CallWindow, target: float) -> bool:
    return (
        window.energy_j is not None
        and window.energy_j_std is not None
        and window.energy_j_std <= target * window.energy_j
    )


def _cuda_synchronize() -> Callable[[], None] | None:
    """What waits for all CUDA devices in use; None where the program has not used any."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    # Waiting for a device that is not in use would first make a context there.
    used = [i for i in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(i) > 0]
    used = used or [torch.cuda.current_device()]

    def synchronize() -> None:
        for index in used:
            torch.cuda.synchronize(index)

    return synchronize
