"""How sensors average over blocks of calls, and how long blocks must be.

A load that turns on and off shows a sensor's averaging window, and blocks of calls are such a load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pywatt.metering.freshness import is_fine, update_period_s
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source, sources_of
from pywatt.repetition.averaging_fit import fit_averaging
from pywatt.repetition.blocks import Block, readings_of
from pywatt.repetition.solve import BlockEnergies, solve
from pywatt.sampling.monitor import Monitor
from pywatt.sampling.trace import Trace
from pywatt.spans.columns import CallPaths, SpanBlock, Spans

# A load that turns on and off shows the sensor's window: this often, for this long each time; if
# that does not suffice, for longer.
PROBE_SWITCHES = 10
PROBES_S = ((0.06, 0.24), (0.2, 0.8))

# Blocks last this many update periods beyond the averaging window, within these limits.
BLOCK_PERIODS = 2.2
BLOCK_S = (0.15, 0.6)
FIRST_BLOCK_S = 0.3

# A counter whose period is longer than this many of the power's needs the power too.
SLOWER_COUNTER = 1.5


def energy_traces(source: Source) -> tuple[Trace, ...]:
    """Return the traces that give a block's energy: a counter that updates as often as the power.

    A counter misses nothing, while the averaging window of a power has to be known.
    """
    if source.counter is None or source.power is None:
        return source.traces
    counter_s, power_s = update_period_s(source.counter), update_period_s(source.power)
    if counter_s is None or (power_s is not None and counter_s > SLOWER_COUNTER * power_s):
        return source.traces
    return (source.counter,)


class Sensing:
    """What a monitor's sensors show of blocks of calls.

    Args:
        monitor: reads the sensors.
        known: how sensors average, by their names, if known beforehand.

    Attributes:
        models: how each slow sensor averages, by its name, as `learn` has found.
    """

    def __init__(self, monitor: Monitor, known: Mapping[str, SensorModel] | None = None) -> None:
        self.models: dict[str, SensorModel] = {}
        self._monitor, self._known = monitor, known or {}

    def sources(self) -> tuple[Source, ...]:
        """Return the sources with what has been read so far."""
        infos = [info for sensor in self._monitor.sensors for info in sensor.infos]
        return sources_of(self._monitor.traces, infos)

    def learn(self, blocks: Sequence[Block]) -> None:
        """Determine how each slow sensor averages, from all blocks so far."""
        spans = spans_of(blocks) if blocks else None
        for source in self.sources():
            for trace in energy_traces(source):
                if not is_fine(trace):
                    name, known = trace.sensor.name, self._known.get(trace.sensor.name)
                    self.models[name] = (
                        characterize(trace, spans) if known is None else known.in_trace(trace)
                    )

    def models_of(self, source: Source, blocks: Sequence[Block]) -> dict[str, SensorModel]:
        """Return how the sensors of a source average, as learned, with all updates until now."""
        found = {}
        for trace in energy_traces(source):
            model = characterize(trace)
            known = self.models.get(trace.sensor.name)
            if known is not None and trace.power_w is not None:
                model = fit_averaging(replace(known, updates=model.updates), blocks)
            found[trace.sensor.name] = model
        return found

    def knows(self, trace: Trace) -> bool:
        """Return whether the sensor's averaging window was identified."""
        model = self.models.get(trace.sensor.name)
        return model is not None and model.window_identified

    @property
    def known(self) -> bool:
        """Whether the averaging windows of all sensors looked at were identified."""
        return all(m.window_identified for m in self.models.values())

    @property
    def block_s(self) -> float:
        """Length of blocks that the quickest sensor resolves."""
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
    found = [
        readings_of(trace, models[trace.sensor.name], blocks) for trace in energy_traces(source)
    ]
    readings = [part for part in found if part is not None]
    # Readings whose window is not known are used only if there are no others.
    sure = [part for part in readings if not part.inside_only]
    return solve(sure or readings, blocks)


def spans_of(blocks: Sequence[Block]) -> Spans:
    """Return the calls as spans: those in blocks, without the waits between them, and passes."""
    names: list[int] = []
    start_s: list[float] = []
    end_s: list[float] = []
    for block in blocks:
        runs = np.diff(block.done) > 0
        start_s += block.mark_s[:-1][runs].tolist()
        end_s += block.mark_s[1:][runs].tolist()
        names += [int(block.kind < 0)] * int(np.count_nonzero(runs))
    columns = SpanBlock(
        np.array(start_s),
        np.array(end_s),
        np.array(names, dtype=np.int32),
        np.zeros(len(names), dtype=np.uint32),
    )
    paths, top = np.arange(2, dtype=np.int32), np.full(2, -1, dtype=np.int32)
    return Spans(["block", "pass"], CallPaths(paths, top, top), [columns])
