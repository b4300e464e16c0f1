"""Replay: each module's own call, with the input it really got, run back to back in blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt.attribution.sensor_model import SensorModel
from pywatt.attribution.source import Source, sources_of
from pywatt.modules import ModuleEntry
from pywatt.monitor import Monitor
from pywatt.replay.blocks import Block, BlockEnergies, readings_of, solve
from pywatt.replay.calls import Enough, Intercept, Repeater
from pywatt.replay.closing import NameEnergies
from pywatt.replay.findings import Replayed, energies_by_name, notes_on
from pywatt.replay.repeat import NotRepeatable
from pywatt.replay.rounds import ASSUMED_SPREAD, WorkEnergies, combine, next_round
from pywatt.replay.sensing import (
    BLOCK_S,
    FIRST_BLOCK_S,
    PASSES,
    PROBE_SWITCHES,
    PROBES_S,
    block_length_s,
    models_of,
    pause,
    sharpened,
)
from pywatt.replay.survey import survey
from pywatt.trace import Trace

FloatArray = npt.NDArray[np.float64]
Advance = Callable[[str, float], None]

# A second, longer probe must not take more than a share of the budget.
PROBE_SHARE = 0.2
PROBE_LEAST_SHARE = 0.3

# A sensor may still show what came before for so long: NVML's averaged power is that of 1 s.
FORGET_S = 1.0

# One pause a round for so many blocks.
BLOCKS_A_PAUSE = 8

# A pass to the next module's call may take so much of a block's time, else one pass serves several.
PASS_SHARE = 0.25

# One round of them all, and one more, if the budget is to suffice for every work.
LEAST_BLOCKS = 2


class Replay:
    """Runs a model's modules in blocks while their sensors are read.

    Args:
        entries: the model's modules.
        run_pass: runs one pass, on the same input each time, and leaves no trace of it.
        monitor: reads the sensors, not running yet.
        time_s: time in each module in the real pass, its children included, shape (entries,).
        self_time_s: its own time, likewise.
        duration_s: how long the real pass took.
        devices_of: devices whose modules a source meters.
        budget_s: how long this may take.
        advance: told what is going on, and how many seconds of the budget have gone since.
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
        devices_of: Callable[[Source], Iterable[str]],
        budget_s: float,
        advance: Advance,
        seed: int = 0,
    ) -> None:
        self._entries, self._run_pass, self._monitor = entries, run_pass, monitor
        self._devices_of, self._budget_s, self._advance = devices_of, budget_s, advance
        self._clock = monitor.clock
        self._random = random.Random(seed)
        self._blocks: list[Block] = []
        self._models: dict[str, SensorModel] = {}
        # The probe's blocks come first. They follow each other too closely to be rounds.
        self._probed = 0
        self._block_s = FIRST_BLOCK_S
        self._start_s = self._reported_s = self._clock.now_s()
        self._seen = survey(
            entries, run_pass, self._clock, time_s / duration_s, self_time_s / duration_s
        )
        self._works, self._pass_s = self._seen.works, self._seen.pass_s

    def run(self) -> Replayed:
        """Replay within the budget."""
        self._limit_to_budget()
        todo = [k for k, work in enumerate(self._works) if work.problem is None]
        if todo:
            with self._monitor:
                self._pause(FORGET_S)
                self._probe(todo)
                self._probed = len(self._blocks)
                self._run_rounds(todo)
                self._pause(self._monitor.settle_s)
        return self._finish()

    def _limit_to_budget(self) -> None:
        """Leave out the works of least time, where the budget does not suffice for all."""
        least_s = LEAST_BLOCKS * (BLOCK_S[0] + min(self._pass_s, PASS_SHARE * BLOCK_S[0]))
        most = max(1, int(self._budget_s / least_s))
        todo = [work for work in self._works if work.problem is None]
        todo.sort(key=lambda work: -work.share)
        for work in todo[most:]:
            work.problem = f"there was no time for it within budget_s={self._budget_s:g}"

    def _probe(self, todo: list[int]) -> None:
        """Find out what the sensors' readings mean, from one module that goes on and off.

        The first one that takes much of the time: little else runs in a pass before it.
        """
        self._tell("finding out how the sensor averages")
        most = max(self._works[k].share for k in todo)
        work = next(k for k in todo if self._works[k].share >= PROBE_LEAST_SHARE * most)
        for lengths_s in PROBES_S:
            for _ in range(PROBE_SWITCHES):
                self._run_blocks([work], self._random.uniform(*lengths_s))
                self._pause(self._random.uniform(*lengths_s))
            self._models |= models_of(self._sources(), self._blocks)
            if all(model.window_identified for model in self._models.values()):
                break
            spent_s = self._budget_s - self._left_s()
            if spent_s > PROBE_SHARE * self._budget_s or self._works[work].problem is not None:
                break
        self._block_s = block_length_s(self._models.values())

    def _run_rounds(self, todo: list[int]) -> None:
        count = len(self._works)
        weight = np.array([work.share for work in self._works])
        spread = np.full(count, ASSUMED_SPREAD)
        while True:
            todo = [k for k in todo if self._works[k].problem is None]
            block_s = self._block_s + min(self._pass_s, PASS_SHARE * self._block_s)
            slots = min(len(todo), int(self._left_s() / block_s))
            if slots < 1:
                return
            had = np.array(
                [sum(b.work == k for b in self._blocks[self._probed :]) for k in range(count)]
            )
            chosen = [todo[k] for k in next_round(weight[todo], spread[todo], had[todo], slots)]
            self._random.shuffle(chosen)
            for first in range(0, len(chosen), BLOCKS_A_PAUSE):
                self._run_blocks(chosen[first : first + BLOCKS_A_PAUSE])
                self._pause(self._block_s)
            found = self._combined()
            if found is not None:
                known = np.isfinite(found.call_j) & (found.call_s > 0)
                power_w = np.divide(found.call_j, found.call_s, where=known, out=np.ones(count))
                share = np.array([work.share for work in self._works])
                weight = np.where(known, share * np.maximum(power_w, 0.0), weight)
                spread = np.where(found.spread > 0, found.spread, spread)

    def _run_blocks(self, works: list[int], block_s: float | None = None) -> None:
        """Run a block of each, in random order; several in one pass where passes are long."""
        at_once = max(1, int(np.ceil(self._pass_s / (PASS_SHARE * self._block_s))))
        for first in range(0, len(works), at_once):
            if self._left_s() <= 0:
                return
            self._one_pass(works[first : first + at_once], block_s)

    def _one_pass(self, works: list[int], block_s: float | None) -> None:
        """Run the model until the calls of these works have been repeated."""
        targets: dict[int, dict[int, int]] = {}
        for work in dict.fromkeys(works):
            k, call = self._random.choice(self._works[work].calls)
            targets.setdefault(k, {})[call] = work
        waiting = sum(len(calls) for calls in targets.values())
        length_s = block_s or self._block_s * self._random.uniform(0.9, 1.1)
        began_s = self._clock.now_s()
        busy = False

        def see(k: int, intercepts: dict[int, Intercept]) -> Callable[..., None]:
            number = 0

            def seen_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                nonlocal number, waiting, busy, began_s
                if busy:
                    return
                work = targets[k].get(number)
                number += 1
                if work is None:
                    return
                busy = True
                entry = self._entries[k]
                self._tell(f"replaying {entry.name or 'the model'} ({entry.type})")
                try:
                    repeater = Repeater(
                        entry.module, intercepts[k].run, args, kwargs, entry.device, self._clock
                    )
                    block = repeater.block(work, length_s)
                    self._add_pass(began_s, block.start_s)
                    self._blocks.append(block)
                    began_s = block.end_s
                except NotRepeatable as problem:
                    self._works[work].problem = str(problem)
                finally:
                    busy = False
                waiting -= 1
                if waiting == 0:
                    raise Enough

            return seen_call

        intercepts: dict[int, Intercept] = {}
        with ExitStack() as attached:
            for k in targets:
                intercepts[k] = attached.enter_context(
                    Intercept(self._entries[k], see(k, intercepts))
                )
            with suppress(Enough):
                self._run_pass()
        for work in works:
            if waiting and not any(b.work == work for b in self._blocks):
                self._works[work].problem = "a second pass did not call it as the first one did"
        self._add_pass(began_s, self._clock.now_s())

    def _add_pass(self, start_s: float, end_s: float) -> None:
        """Remember when something else than a block ran, of which nothing is known."""
        if end_s > start_s:
            self._blocks.append(Block(PASSES, np.array([start_s, end_s]), np.array([0.0, 1.0])))

    def _pause(self, duration_s: float) -> None:
        """Let the device idle."""
        pause(self._clock, duration_s)

    def _left_s(self) -> float:
        return self._budget_s - (self._clock.now_s() - self._start_s)

    def _tell(self, doing: str) -> None:
        now_s = self._clock.now_s()
        self._advance(doing, now_s - self._reported_s)
        self._reported_s = now_s

    def _sources(self) -> tuple[Source, ...]:
        infos = [info for sensor in self._monitor.sensors for info in sensor.infos]
        return sources_of(self._monitor.traces, infos)

    def _model_of(self, trace: Trace) -> SensorModel:
        """How a sensor averages, from the probe, with all updates until now."""
        return sharpened(trace, self._models.get(trace.sensor.name), self._blocks)

    def _solve(self, source: Source) -> BlockEnergies | None:
        found = [readings_of(t, self._model_of(t), self._blocks) for t in source.traces]
        readings = [part for part in found if part is not None]
        # What a reading is the mean of is needed only where no other sensor is sure of it.
        sure = [part for part in readings if not part.inside_only]
        return solve(sure or readings, self._blocks)

    def _combine(self, energies: BlockEnergies) -> WorkEnergies:
        """Average the blocks of the rounds; the probe's, where time did not suffice for any."""
        rounds = slice(self._probed if self._probed < len(self._blocks) else 0, None)
        energies = replace(
            energies, call_j=energies.call_j[rounds], call_j_std=energies.call_j_std[rounds]
        )
        return combine(self._blocks[rounds], energies, len(self._works))

    def _combined(self) -> WorkEnergies | None:
        """Energies of all works so far, from the source that is first."""
        for source in self._sources():
            energies = self._solve(source)
            if energies is not None:
                return self._combine(energies)
        return None

    def _finish(self) -> Replayed:
        names: dict[str, NameEnergies] = {}
        notes: list[str] = []
        for source in self._sources() if self._blocks else ():
            energies = self._solve(source)
            if energies is None:
                notes.append(f"{source.name} published too little to tell modules apart by replay")
                continue
            works = self._combine(energies)
            names[source.name] = energies_by_name(
                self._entries,
                self._seen,
                works,
                energies.idle_w,
                energies.idle_w_std,
                set(self._devices_of(source)),
            )
        return Replayed(
            names=names,
            models={t.sensor.name: self._model_of(t) for s in self._sources() for t in s.traces},
            notes=(*notes, *notes_on(self._entries, self._seen)),
            duration_s=self._clock.now_s() - self._start_s,
            blocks=sum(block.work >= 0 for block in self._blocks),
        )


@contextmanager
def replay_progress(budget_s: float, show: bool | None) -> Iterator[Advance]:
    """Show a bar of the budget's seconds, with what is being done."""
    from pywatt.progress import progress_bar

    with progress_bar("replaying", round(budget_s), show) as bar:

        def advance(doing: str, passed_s: float) -> None:
            bar(passed_s, doing)

        yield advance
