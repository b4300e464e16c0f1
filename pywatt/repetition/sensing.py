"""How the sensors see blocks of calls: what each reading is the mean of, and how long blocks need.

A load that goes on and off tells a sensor's averaging window, and blocks of calls are such a load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pywatt.metering.energy_curve import is_fine, update_period_s
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source, sources_of
from pywatt.repetition.averaging_fit import sharpen
from pywatt.repetition.blocks import Block, readings_of
from pywatt.repetition.solve import BlockEnergies, solve
from pywatt.sampling.monitor import Monitor
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import CallPaths, SpanBlock, Spans

# A load that goes on and off tells the sensor's window: so often, for so long each time; where that
# does not tell, for longer.
PROBE_SWITCHES = 10
PROBES_S = ((0.06, 0.24), (0.2, 0.8))

# Blocks are so many update periods long beyond the averaging window, and no shorter or longer.
BLOCK_PERIODS = 2.2
BLOCK_S = (0.15, 0.6)
FIRST_BLOCK_S = 0.3

# A counter that moves more seldom than this many of the power's periods needs the power too.
SLOWER_COUNTER = 1.5


def telling(source: Source) -> tuple[Trace, ...]:
    """The traces that tell a block's energy: a counter that moves as often as the power does.

    What it counts it counts whole, while a power has to be known as the mean of some time.
    """
    if source.counter is None or source.power is None:
        return source.traces
    counter_s, power_s = update_period_s(source.counter), update_period_s(source.power)
    if counter_s is None or (power_s is not None and counter_s > SLOWER_COUNTER * power_s):
        return source.traces
    return (source.counter,)


class Sensing:
    """What a monitor's sensors tell of blocks of calls.

    Args:
        monitor: reads the sensors.
        known: how sensors average, by their names, where that need not be found out.

    Attributes:
        models: how each slow sensor averages, by its name, as `learn` has found.
    """

    def __init__(self, monitor: Monitor, known: Mapping[str, SensorModel] | None = None) -> None:
        self.models: dict[str, SensorModel] = {}
        self._monitor, self._known = monitor, known or {}

    def sources(self) -> tuple[Source, ...]:
        """What has been read so far."""
        infos = [info for sensor in self._monitor.sensors for info in sensor.infos]
        return sources_of(self._monitor.traces, infos)

    def learn(self, blocks: Sequence[Block]) -> None:
        """Find out how each slow sensor that tells energies averages, from all blocks so far."""
        spans = spans_of(blocks) if blocks else None
        for source in self.sources():
            for trace in telling(source):
                if not is_fine(trace):
                    name, known = trace.sensor.name, self._known.get(trace.sensor.name)
                    self.models[name] = (
                        characterize(trace, spans) if known is None else known.in_trace(trace)
                    )

    def models_of(self, source: Source, blocks: Sequence[Block]) -> dict[str, SensorModel]:
        """How the sensors of a source average, as it was learned, with all updates until now."""
        found = {}
        for trace in telling(source):
            model = characterize(trace)
            known = self.models.get(trace.sensor.name)
            if known is not None and trace.power_w is not None:
                model = sharpen(replace(known, lattice=model.lattice), blocks)
            found[trace.sensor.name] = model
        return found

    def knows(self, trace: Trace) -> bool:
        """Whether it was told what the sensor's readings are the mean of."""
        model = self.models.get(trace.sensor.name)
        return model is not None and model.window_identified

    @property
    def known(self) -> bool:
        """Whether that was told of all sensors that have been looked at."""
        return all(m.window_identified for m in self.models.values())

    @property
    def block_s(self) -> float:
        """How long blocks are that the quickest sensor sees."""
        lengths_s = [
            (model.window_s or 0.0) + BLOCK_PERIODS * (model.period_s or 0.0)
            for model in self.models.values()
        ]
        return float(np.clip(min(lengths_s, default=FIRST_BLOCK_S), *BLOCK_S))

    @property
    def period_s(self) -> float:
        """Update period of the quickest sensor; 0 where none is known."""
        return min((m.period_s for m in self.models.values() if m.period_s), default=0.0)


def energies_of(
    source: Source, models: Mapping[str, SensorModel], blocks: Sequence[Block]
) -> BlockEnergies | None:
    """Find the energy of a call in each block; None where the source published too little.

    Args:
        source: what was read.
        models: how its sensors average, by their names.
        blocks: all that ran.
    """
    found = [readings_of(trace, models[trace.sensor.name], blocks) for trace in telling(source)]
    readings = [part for part in found if part is not None]
    # What a reading is the mean of is needed only where no other sensor is sure of it.
    sure = [part for part in readings if not part.inside_only]
    return solve(sure or readings, blocks)


def spans_of(blocks: Sequence[Block]) -> Spans:
    """When calls ran, as spans: those in blocks, without the waits between them, and passes."""
    names: list[int] = []
    start_s: list[float] = []
    end_s: list[float] = []
    for block in blocks:
        runs = np.diff(block.done) > 0
        start_s += block.mark_s[:-1][runs].tolist()
        end_s += block.mark_s[1:][runs].tolist()
        names += [int(block.work < 0)] * int(np.count_nonzero(runs))
    columns = SpanBlock(
        np.array(start_s),
        np.array(end_s),
        np.array(names, dtype=np.int32),
        np.zeros(len(names), dtype=np.uint32),
    )
    paths, top = np.arange(2, dtype=np.int32), np.full(2, -1, dtype=np.int32)
    return Spans(["block", "pass"], CallPaths(paths, top, top), [columns])
