"""Replay: each module's own call, with the input it really got, run back to back in blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pywatt.metering.energy_curve import is_fine, poll_period_s
from pywatt.metering.sensor_model import SensorModel
from pywatt.model.modules import ModuleEntry
from pywatt.repetition.blocks import Block
from pywatt.repetition.rounds import (
    ASSUMED_SPREAD,
    WorkEnergies,
    combine,
    expected_wrong,
    next_round,
)
from pywatt.repetition.sensing import (
    FIRST_BLOCK_S,
    PROBE_SWITCHES,
    PROBES_S,
    Sensing,
    energies_of,
    telling,
)
from pywatt.repetition.solve import BlockEnergies
from pywatt.replay.passes import Passes
from pywatt.replay.path_estimate import NameEnergies
from pywatt.replay.result import Replayed, energies_by_name, notes_on
from pywatt.replay.survey import Survey, survey
from pywatt.sampling.monitor import Monitor

FloatArray = npt.NDArray[np.float64]
Advance = Callable[[float, str], None]

# Another, longer probe must not take more than a share of the budget.
PROBE_SHARE = 0.2
PROBE_LEAST_SHARE = 0.3

# A sensor may still show what came before for so long: NVML's averaged power is that of 1 s.
FORGET_S = 1.0

# One pause a round for so many blocks.
BLOCKS_A_PAUSE = 8

# Calls longer than this share of a period have so many periods of idle around their block.
CUT_SHARE = 0.03
REST_PERIODS = 1.2

# A pass to the next module's call may take so much of a block's time, else one pass serves several.
PASS_SHARE = 0.25

# Each work has so many blocks, so that one that was disturbed shows; fewer, but at least one, where
# the budget does not suffice.
LEAST_BLOCKS = 3

# Where every reading is fresh, blocks are so many readings long, and no shorter.
FINE_READINGS = 50
FINE_BLOCK_S = 0.05

# Energies are solved for again after so many times as many blocks.
SOLVE_AGAIN = 1.25

# What the sensors show in so long tells whether every reading is fresh.
LOOK_S = 0.02

# It is enough once so little of the energy is expected on the wrong work; of an estimate, whose
# scale is off by far more, more.
GOOD_ENOUGH = 0.002
GOOD_ENOUGH_ESTIMATED = 0.05

# Nor is an estimate worth more than this share of the budget, once each work has had a block.
ESTIMATED_SHARE = 1.0 / 3.0


class Replay:
    """Runs a model's modules in blocks while their sensors are read.

    Args:
        entries: the model's modules.
        run_pass: runs one pass, on the same input each time, and leaves no trace of it.
        monitor: reads the sensors, not running yet.
        time_s: time in each module in the real pass, its children included, shape (entries,).
        self_time_s: its own time, likewise.
        duration_s: how long the real pass took.
        devices: devices whose modules each source meters, by the source's name.
        budget_s: how long this may take.
        advance: told how many seconds of the budget have gone since, and what is going on.
        sensor_models: how sensors average, by their names, where that is known beforehand.
        seed: of the random order.
    """

    def __init__(
        self,
        entries: Sequence[ModuleEntry],
        run_pass: Callable[[], None],
        monitor: Monitor,
        *,
        time_s: FloatArray,
        self_time_s: FloatArray,
        duration_s: float,
        devices: Mapping[str, Collection[str]],
        budget_s: float,
        advance: Advance,
        sensor_models: Mapping[str, SensorModel],
        seed: int = 0,
    ) -> None:
        self._entries, self._run_pass, self._monitor = entries, run_pass, monitor
        self._devices, self._budget_s, self._advance = devices, budget_s, advance
        self._time_share, self._self_time_share = time_s / duration_s, self_time_s / duration_s
        self._clock = monitor.clock
        self._random = random.Random(seed)
        self._seen = Survey([], [], 0.0)
        self._passes: Passes | None = None
        self._sensing = Sensing(monitor, sensor_models)
        # The probe's blocks come first. They follow each other too closely to be rounds.
        self._probed = 0
        self._block_s = FIRST_BLOCK_S
        self._period_s = 0.0  # of the fastest sensor, where none is fine
        self._solving_s = 0.0
        self._start_s = self._reported_s = self._clock.now_s()

    def run(self) -> Replayed:
        """Replay within the budget; a pass that fails ends it with what there is until then."""
        notes: tuple[str, ...] = ()
        try:
            self._replay()
        except Exception as error:
            notes = (f"replay ended early, since a pass of the model failed in it: {error!r:.200}",)
        return self._finish(notes)

    @property
    def _blocks(self) -> list[Block]:
        return [] if self._passes is None else self._passes.blocks

    def _replay(self) -> None:
        self._tell("looking at the model's calls")
        self._seen = self._survey()
        self._passes = self._new_passes()
        works = self._seen.works
        with self._monitor:
            self._monitor.idle(LOOK_S)
            traces = [t for source in self._sensing.sources() for t in telling(source)]
            coarse = not all(map(is_fine, traces))
            fine_s = FINE_READINGS * max(map(poll_period_s, traces), default=0.0)
            todo = [k for k, work in enumerate(works) if work.problem is None]
            if coarse and todo:
                self._monitor.idle(min(FORGET_S, max(0.0, self._left_s())))
                self._probe(todo)
                self._probed = len(self._blocks)
            else:
                self._block_s = max(FINE_BLOCK_S, fine_s)
            self._limit_to_budget()
            self._run_rounds(todo)
            if self._blocks and not self._is_blind():
                self._monitor.idle(self._monitor.settle_s)

    def _survey(self) -> Survey:
        """Find out which calls a pass makes."""
        return survey(
            self._entries,
            self._run_pass,
            self._clock,
            self._time_share,
            self._self_time_share,
            until_s=self._start_s + self._budget_s,
        )

    def _new_passes(self) -> Passes:
        """What runs passes, once they are known."""
        return Passes(
            self._entries,
            self._seen,
            self._run_pass,
            self._clock,
            self._monitor.idle,
            self._random,
            self._tell,
        )

    def _limit_to_budget(self) -> None:
        """Leave out the works of least time, where the budget does not suffice for all."""
        works, spent_s = self._seen.works, 0.0
        todo = [k for k, work in enumerate(works) if work.problem is None]
        for place, k in enumerate(sorted(todo, key=lambda k: -works[k].share)):
            spent_s += self._cost_s(k)
            if place > 0 and spent_s > self._left_s():
                works[k].problem = f"there was no time for it within budget_s={self._budget_s:g}"

    def _cost_s(self, work: int) -> float:
        """About how long a block takes, with the pass that leads to it and its part of a pause."""
        lead_s = min(self._seen.pass_s, PASS_SHARE * self._block_s)
        return (1.0 + 1.0 / BLOCKS_A_PAUSE) * self._block_s + lead_s + 2.0 * self._rest_s(work)

    def _probe(self, todo: list[int]) -> None:
        """Find out what the sensors' readings mean, from one module that goes on and off.

        The first one that takes much of the time: little else runs in a pass before it.
        """
        self._tell("finding out how the sensor averages")
        works = self._seen.works
        most = max(works[k].share for k in todo)
        work = next(k for k in todo if works[k].share >= PROBE_LEAST_SHARE * most)
        self._sensing.learn(self._blocks)
        for lengths_s in PROBES_S:
            # What a counter's reading means needs no load to be told.
            late = self._budget_s - self._left_s() > PROBE_SHARE * self._budget_s
            if self._sensing.known or late or works[work].problem is not None:
                break
            for _ in range(PROBE_SWITCHES):
                self._run_blocks([work], self._random.uniform(*lengths_s))
                self._monitor.idle(self._random.uniform(*lengths_s))
            self._sensing.learn(self._blocks)
        self._block_s, self._period_s = self._sensing.block_s, self._sensing.period_s

    def _run_rounds(self, todo: list[int]) -> None:
        """Run rounds of blocks until the works are known well enough, or the budget is spent."""
        works = self._seen.works
        count = len(works)
        time_share = np.array([work.time_share for work in works])
        own_share = np.array([work.share for work in works])
        weight = time_share.copy()
        estimated = all(source.info.estimated for source in self._sensing.sources())
        enough = GOOD_ENOUGH_ESTIMATED if estimated else GOOD_ENOUGH
        solved, least = 0, 0
        spread = np.full(count, ASSUMED_SPREAD)
        while True:
            todo = [k for k in todo if works[k].problem is None]
            each_s = float(np.mean([self._cost_s(k) for k in todo])) if todo else np.inf
            affordable = int(self._left_s() / each_s)
            slots = min(len(todo), affordable)
            spent = estimated and self._left_s() < (1.0 - ESTIMATED_SHARE) * self._budget_s
            if slots < 1 or self._is_blind() or (spent and solved > 0):
                return
            least = least or int(np.clip(affordable // len(todo), 1, LEAST_BLOCKS))
            had = np.array(
                [sum(b.work == k for b in self._blocks[self._probed :]) for k in range(count)]
            )
            chosen = [
                todo[k] for k in next_round(weight[todo], spread[todo], had[todo], slots, least)
            ]
            self._random.shuffle(chosen)
            for first in range(0, len(chosen), BLOCKS_A_PAUSE):
                self._run_blocks(chosen[first : first + BLOCKS_A_PAUSE])
                self._monitor.idle(self._block_s)
            # What a few blocks more tell changes little, and takes long where there are many.
            count_now = len(self._blocks)
            if count_now < SOLVE_AGAIN * solved:
                continue
            solved = count_now
            found = self._combined()
            if found is None:
                continue
            known = np.isfinite(found.call_j) & (found.call_s > 0)
            calls_per_s = np.divide(time_share, found.call_s, where=known, out=np.zeros(count))
            weight = np.where(known, calls_per_s * np.abs(found.call_j), weight)
            spread = np.where(found.spread > 0, found.spread, spread)
            # What is one work alone has what was measured, however well replay tells it.
            wrong = expected_wrong(found, calls_per_s, own_share, todo) if count > 1 else 0.0
            if np.all(had[todo] >= LEAST_BLOCKS) and wrong <= enough:
                return

    def _run_blocks(self, works: list[int], block_s: float | None = None) -> None:
        """Run a block of each, in random order; several in one pass where passes are long."""
        assert self._passes is not None
        at_once = max(1, int(np.ceil(self._seen.pass_s / (PASS_SHARE * self._block_s))))
        for first in range(0, len(works), at_once):
            if self._left_s() <= 0:
                return
            self._passes.run(
                works[first : first + at_once],
                lambda _: block_s or self._block_s * self._random.uniform(0.9, 1.1),
                self._rest_s,
            )

    def _rest_s(self, work: int) -> float:
        """How long to idle around a block: a call that a reading cuts is not even inside."""
        call_s = self._seen.call_s(work)
        return REST_PERIODS * self._period_s if call_s > CUT_SHARE * self._period_s else 0.0

    def _left_s(self) -> float:
        return self._budget_s - self._solving_s - (self._clock.now_s() - self._start_s)

    def _is_blind(self) -> bool:
        """Whether no sensor can be read any more."""
        traces = self._monitor.traces.values()
        return all(trace.ended is not None for trace in traces)

    def _tell(self, doing: str) -> None:
        now_s = self._clock.now_s()
        self._advance(now_s - self._reported_s, doing)
        self._reported_s = now_s

    def _combine(self, energies: BlockEnergies) -> WorkEnergies:
        """Average the blocks of the rounds; the probe's, where time did not suffice for any."""
        rounds = slice(self._probed if self._probed < len(self._blocks) else 0, None)
        energies = replace(
            energies, call_j=energies.call_j[rounds], call_j_std=energies.call_j_std[rounds]
        )
        return combine(self._blocks[rounds], energies, len(self._seen.works))

    def _combined(self) -> WorkEnergies | None:
        """Energies of all works so far, from the source that is first."""
        begin_s = self._clock.now_s()
        try:
            for source in self._sensing.sources():
                models = self._sensing.models_of(source, self._blocks)
                energies = energies_of(source, models, self._blocks)
                if energies is not None:
                    return self._combine(energies)
            return None
        finally:
            # The last time of all, in `_finish`, has to fit in the budget too.
            self._solving_s = self._clock.now_s() - begin_s

    def _finish(self, notes: tuple[str, ...]) -> Replayed:
        names: dict[str, NameEnergies] = {}
        models: dict[str, SensorModel] = {}
        sources = self._sensing.sources() if self._blocks else ()
        notes += tuple(f"in replay, {note}" for note in self._monitor.read()[1])
        waiting = any(work.problem is None for work in self._seen.works)
        if waiting and not notes and not any(block.work >= 0 for block in self._blocks):
            notes = (
                f"nothing could be replayed within budget_s={self._budget_s:g}: the energies are "
                "what the run alone tells; give it more seconds",
            )
        for source in sources:
            seen = self._sensing.models_of(source, self._blocks)
            models |= seen
            energies = energies_of(source, seen, self._blocks)
            if energies is None:
                notes += (
                    f"{source.name} published too little within budget_s={self._budget_s:g} to "
                    "tell modules apart by replay: give it more seconds",
                )
                continue
            names[source.name] = energies_by_name(
                self._entries,
                self._seen,
                self._combine(energies),
                energies.idle_w,
                energies.idle_w_std,
                self._devices.get(source.name, ()),
            )
        return Replayed(
            names=names,
            models=models,
            notes=(*notes, *notes_on(self._entries, self._seen)),
            duration_s=self._clock.now_s() - self._start_s,
            blocks=sum(block.work >= 0 for block in self._blocks),
        )
