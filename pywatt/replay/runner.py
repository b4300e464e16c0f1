"""Replay: run each module's call, with its real input, back to back in blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pywatt.metering.freshness import is_fine, poll_period_s
from pywatt.metering.sensor_model import SensorModel
from pywatt.model.modules import ModuleEntry
from pywatt.repetition.blocks import Block
from pywatt.repetition.rounds import (
    ASSUMED_SPREAD,
    KindEnergies,
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
    energy_traces,
)
from pywatt.repetition.solve import BlockEnergies
from pywatt.replay.passes import Passes
from pywatt.replay.path_estimate import NameEstimate
from pywatt.replay.result import Replayed, energies_by_name, notes_on
from pywatt.replay.survey import Survey, survey
from pywatt.sampling.monitor import Monitor

FloatArray = npt.NDArray[np.float64]
Advance = Callable[[float, str], None]

# A longer probe runs only up to this share of the budget, with a module of at least this share of
# the largest one's time.
PROBE_SHARE = 0.2
PROBE_LEAST_SHARE = 0.3

# A sensor may show earlier power for this long: NVML's averaged power covers 1 s.
FORGET_S = 1.0

# Number of blocks per pause.
BLOCKS_PER_PAUSE = 8

# Calls longer than this share of a period have this many idle periods around their block.
CUT_SHARE = 0.03
REST_PERIODS = 1.2

# A pass up to the module's call may take this share of a block's time, else a pass runs several.
PASS_SHARE = 0.25

# Fewest blocks per kind, so that a disturbed one shows; if the budget is too small, at least one.
LEAST_BLOCKS = 3

# If every reading is fresh, blocks last this many readings, and at least this long.
FINE_READINGS = 50
FINE_BLOCK_S = 0.05

# Energies are solved for again when the number of blocks has grown by this factor.
SOLVE_GROWTH = 1.25

# Readings of this time show whether every reading is fresh.
FRESHNESS_CHECK_S = 0.02

# Replay ends when no more than this share of energy is expected on the wrong kind; more for
# estimated sensors, whose scale is off by far more.
GOOD_ENOUGH = 0.002
GOOD_ENOUGH_ESTIMATED = 0.05

# Estimated sensors also get no more than this share of the budget, once each kind has had a block.
ESTIMATED_SHARE = 1.0 / 3.0


class Replay:
    """Runs a model's modules in blocks while their sensors are read.

    Args:
        entries: the model's modules.
        run_pass: runs one pass, on the same input each time, without side effects.
        monitor: reads the sensors, not running yet.
        time_s: time in each module in the real pass, children included, shape (entries,).
        self_time_s: the same without children.
        duration_s: duration of the real pass.
        devices: devices whose modules each source meters, by the source's name.
        budget_s: how long replay may take.
        advance: called with the seconds of the budget spent since the last call, and the current
            step.
        sensor_models: how sensors average, by their names, if known beforehand.
        seed: seed of the random order.
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
        # Number of blocks of the probe, which come first and are too close together to be rounds.
        self._probed = 0
        self._block_s = FIRST_BLOCK_S
        self._period_s = 0.0  # of the fastest sensor, if none is always fresh
        self._solve_s = 0.0
        self._start_s = self._reported_s = self._clock.now_s()

    def run(self) -> Replayed:
        """Replay within the budget; a failed pass ends it with the results so far."""
        notes: tuple[str, ...] = ()
        try:
            self._replay()
        except Exception as error:
            notes = (f"replay ended early, since a pass of the model failed: {error!r:.200}",)
        return self._finish(notes)

    @property
    def _blocks(self) -> list[Block]:
        return [] if self._passes is None else self._passes.blocks

    def _replay(self) -> None:
        self._report("recording the model's calls")
        self._seen = self._survey()
        self._passes = self._new_passes()
        kinds = self._seen.kinds
        with self._monitor:
            self._monitor.idle(FRESHNESS_CHECK_S)
            traces = [t for source in self._sensing.sources() for t in energy_traces(source)]
            coarse = not all(map(is_fine, traces))
            fine_s = FINE_READINGS * max(map(poll_period_s, traces), default=0.0)
            todo = [k for k, kind in enumerate(kinds) if kind.problem is None]
            if coarse and todo:
                self._monitor.idle(min(FORGET_S, max(0.0, self._left_s())))
                self._probe(todo)
                self._probed = len(self._blocks)
            else:
                self._block_s = max(FINE_BLOCK_S, fine_s)
            self._limit_to_budget()
            self._run_rounds(todo)
            if self._blocks and not self._sensors_ended():
                self._monitor.idle(self._monitor.settle_s)

    def _survey(self) -> Survey:
        """Find which calls a pass makes."""
        return survey(
            self._entries,
            self._run_pass,
            self._clock,
            self._time_share,
            self._self_time_share,
            until_s=self._start_s + self._budget_s,
        )

    def _new_passes(self) -> Passes:
        """Make what runs passes, once the calls are known."""
        return Passes(
            self._entries,
            self._seen,
            self._run_pass,
            self._clock,
            self._monitor.idle,
            self._random,
            self._report,
        )

    def _limit_to_budget(self) -> None:
        """Leave out the kinds with the least time if the budget is too small for all."""
        kinds, spent_s = self._seen.kinds, 0.0
        todo = [k for k, kind in enumerate(kinds) if kind.problem is None]
        for place, k in enumerate(sorted(todo, key=lambda k: -kinds[k].share)):
            spent_s += self._cost_s(k)
            if place > 0 and spent_s > self._left_s():
                kinds[k].problem = f"there was no time for it within budget_s={self._budget_s:g}"

    def _cost_s(self, kind: int) -> float:
        """Return about how long a block takes, with its pass and its share of a pause."""
        lead_s = min(self._seen.pass_s, PASS_SHARE * self._block_s)
        return (1.0 + 1.0 / BLOCKS_PER_PAUSE) * self._block_s + lead_s + 2.0 * self._rest_s(kind)

    def _probe(self, todo: list[int]) -> None:
        """Find how the sensors average, from one module that runs on and off.

        It is the first one that takes much of the time: little else runs before it in a pass.
        """
        self._report("measuring the averaging window")
        kinds = self._seen.kinds
        most = max(kinds[k].share for k in todo)
        kind = next(k for k in todo if kinds[k].share >= PROBE_LEAST_SHARE * most)
        self._sensing.learn(self._blocks)
        for lengths_s in PROBES_S:
            # A counter does not average: it needs no load.
            late = self._budget_s - self._left_s() > PROBE_SHARE * self._budget_s
            if self._sensing.known or late or kinds[kind].problem is not None:
                break
            for _ in range(PROBE_SWITCHES):
                self._run_blocks([kind], self._random.uniform(*lengths_s))
                self._monitor.idle(self._random.uniform(*lengths_s))
            self._sensing.learn(self._blocks)
        self._block_s, self._period_s = self._sensing.block_s, self._sensing.period_s

    def _run_rounds(self, todo: list[int]) -> None:
        """Run rounds of blocks until the energies are certain enough, or the budget is spent."""
        kinds = self._seen.kinds
        count = len(kinds)
        time_share = np.array([kind.time_share for kind in kinds])
        own_share = np.array([kind.share for kind in kinds])
        weight = time_share.copy()
        estimated = all(source.info.estimated for source in self._sensing.sources())
        enough = GOOD_ENOUGH_ESTIMATED if estimated else GOOD_ENOUGH
        solved, least = 0, 0
        spread = np.full(count, ASSUMED_SPREAD)
        while True:
            todo = [k for k in todo if kinds[k].problem is None]
            each_s = float(np.mean([self._cost_s(k) for k in todo])) if todo else np.inf
            affordable = int(self._left_s() / each_s)
            slots = min(len(todo), affordable)
            spent = estimated and self._left_s() < (1.0 - ESTIMATED_SHARE) * self._budget_s
            if slots < 1 or self._sensors_ended() or (spent and solved > 0):
                return
            least = least or int(np.clip(affordable // len(todo), 1, LEAST_BLOCKS))
            had = np.array(
                [sum(b.kind == k for b in self._blocks[self._probed :]) for k in range(count)]
            )
            chosen = [
                todo[k] for k in next_round(weight[todo], spread[todo], had[todo], slots, least)
            ]
            self._random.shuffle(chosen)
            for first in range(0, len(chosen), BLOCKS_PER_PAUSE):
                self._run_blocks(chosen[first : first + BLOCKS_PER_PAUSE])
                self._monitor.idle(self._block_s)
            # A few more blocks change little, and solving takes long if there are many.
            count_now = len(self._blocks)
            if count_now < SOLVE_GROWTH * solved:
                continue
            solved = count_now
            found = self._combined()
            if found is None:
                continue
            known = np.isfinite(found.call_j) & (found.call_s > 0)
            calls_per_s = np.divide(time_share, found.call_s, where=known, out=np.zeros(count))
            weight = np.where(known, calls_per_s * np.abs(found.call_j), weight)
            spread = np.where(found.spread > 0, found.spread, spread)
            # A single kind has all the measured energy, whatever the error of replay.
            wrong = expected_wrong(found, calls_per_s, own_share, todo) if count > 1 else 0.0
            if np.all(had[todo] >= LEAST_BLOCKS) and wrong <= enough:
                return

    def _run_blocks(self, kinds: list[int], block_s: float | None = None) -> None:
        """Run a block of each, in random order; several in one pass if passes are long."""
        assert self._passes is not None
        at_once = max(1, int(np.ceil(self._seen.pass_s / (PASS_SHARE * self._block_s))))
        for first in range(0, len(kinds), at_once):
            if self._left_s() <= 0:
                return
            self._passes.run(
                kinds[first : first + at_once],
                lambda _: block_s or self._block_s * self._random.uniform(0.9, 1.1),
                self._rest_s,
            )

    def _rest_s(self, kind: int) -> float:
        """Return how long to idle around a block, so that readings cut no long call."""
        call_s = self._seen.call_s(kind)
        return REST_PERIODS * self._period_s if call_s > CUT_SHARE * self._period_s else 0.0

    def _left_s(self) -> float:
        return self._budget_s - self._solve_s - (self._clock.now_s() - self._start_s)

    def _sensors_ended(self) -> bool:
        """Return whether no sensor can be read any more."""
        traces = self._monitor.traces.values()
        return all(trace.ended is not None for trace in traces)

    def _report(self, doing: str) -> None:
        now_s = self._clock.now_s()
        self._advance(now_s - self._reported_s, doing)
        self._reported_s = now_s

    def _combine(self, energies: BlockEnergies) -> KindEnergies:
        """Average the blocks of the rounds; those of the probe if there was no time for rounds."""
        rounds = slice(self._probed if self._probed < len(self._blocks) else 0, None)
        energies = replace(
            energies, call_j=energies.call_j[rounds], call_j_std=energies.call_j_std[rounds]
        )
        return combine(self._blocks[rounds], energies, len(self._seen.kinds))

    def _combined(self) -> KindEnergies | None:
        """Return the energies of all kinds so far, from the first source that has them."""
        begin_s = self._clock.now_s()
        try:
            for source in self._sensing.sources():
                models = self._sensing.models_of(source, self._blocks)
                energies = energies_of(source, models, self._blocks)
                if energies is not None:
                    return self._combine(energies)
            return None
        finally:
            # The last solution, in `_finish`, must fit in the budget too.
            self._solve_s = self._clock.now_s() - begin_s

    def _finish(self, notes: tuple[str, ...]) -> Replayed:
        estimates: dict[str, NameEstimate] = {}
        models: dict[str, SensorModel] = {}
        sources = self._sensing.sources() if self._blocks else ()
        notes += tuple(f"in replay, {note}" for note in self._monitor.read()[1])
        waiting = any(kind.problem is None for kind in self._seen.kinds)
        if waiting and not notes and not any(block.kind >= 0 for block in self._blocks):
            notes = (
                f"nothing could be replayed within budget_s={self._budget_s:g}: the energies are "
                "from the run alone; raise budget_s",
            )
        for source in sources:
            seen = self._sensing.models_of(source, self._blocks)
            models |= seen
            energies = energies_of(source, seen, self._blocks)
            if energies is None:
                notes += (
                    f"{source.name} updated too rarely within budget_s={self._budget_s:g} to "
                    "separate modules by replay: raise budget_s",
                )
                continue
            estimates[source.name] = energies_by_name(
                self._entries,
                self._seen,
                self._combine(energies),
                energies.idle_w,
                energies.idle_w_std,
                self._devices.get(source.name, ()),
            )
        return Replayed(
            estimates=estimates,
            models=models,
            notes=(*notes, *notes_on(self._entries, self._seen)),
            duration_s=self._clock.now_s() - self._start_s,
            blocks=sum(block.kind >= 0 for block in self._blocks),
        )
