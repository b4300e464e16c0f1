"""How the sensors see blocks of calls: what each reading is the mean of, and how long blocks need.

A load that goes on and off tells a sensor's averaging window, and blocks of calls are such a load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pywatt.attribution.lattice import update_period_s
from pywatt.attribution.sensor_model import SensorModel, characterize
from pywatt.attribution.source import Source
from pywatt.replay.blocks import Block
from pywatt.replay.window import sharpen
from pywatt.spans import CallPaths, SpanBlock, Spans
from pywatt.trace import Trace

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


def models_of(sources: Iterable[Source], blocks: Sequence[Block]) -> dict[str, SensorModel]:
    """How each sensor that tells energies averages, by its name, as the blocks tell it."""
    spans = spans_of(blocks) if blocks else None
    traces = [trace for source in sources for trace in telling(source)]
    return {trace.sensor.name: characterize(trace, spans) for trace in traces}


def sharpened(trace: Trace, known: SensorModel | None, blocks: Sequence[Block]) -> SensorModel:
    """How a sensor averages, as it is known from some blocks, with all updates until now."""
    model = characterize(trace)
    if known is None or trace.power_w is None:
        return model
    return sharpen(replace(known, lattice=model.lattice), blocks)


def block_length_s(models: Iterable[SensorModel]) -> float:
    """Give the length of blocks that the quickest of some sensors sees."""
    lengths_s = [
        (model.window_s or 0.0) + BLOCK_PERIODS * (model.period_s or 0.0) for model in models
    ]
    return float(np.clip(min(lengths_s, default=FIRST_BLOCK_S), *BLOCK_S))


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
