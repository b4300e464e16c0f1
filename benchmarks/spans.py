"""Many calls: attribution of a million spans, and the memory of ten million."""

from __future__ import annotations

import subprocess
import sys

import integration
import numpy as np
from comparison import Row, Target, check, interleaved, median_ratio, show_s, timed

from pywatt import Trace
from pywatt.attribution import attribute
from pywatt.metering.source import Source
from pywatt.spans.columns import BLOCK_SPANS, CallPaths, SpanBlock, Spans

LAYERS = 99

# In a process of its own, where no memory freed earlier can be reused.
CALLS = """
import sys, time
from pathlib import Path
from pywatt import _core

def resident_bytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024

calls = int(sys.argv[1])
recorder = _core.SpanRecorder(_core.steady_clock())
before, after = recorder.hooks(0)
resident_before = resident_bytes()
start_s = time.perf_counter()
for _ in range(calls):
    before()
    after()
each_s = (time.perf_counter() - start_s) / calls
print(len(recorder), resident_bytes() - resident_before, each_s)
"""


def passes_of_a_model(passes: int) -> Spans:
    """Make spans of a root with layers of 1 ms in sequence, ordered by their ends as recorded."""
    layer = np.arange(LAYERS, dtype=np.int32)
    root_s = 0.1 * np.arange(passes)[:, None]
    start_s = np.hstack((root_s + 1e-3 * layer, root_s)).ravel()
    end_s = np.hstack((root_s + 1e-3 * (layer + 1), root_s + 1e-3 * LAYERS)).ravel()
    path = np.tile(np.append(layer + 1, np.int32(0)), passes)
    parent = np.append(np.int32(-1), np.zeros(LAYERS, dtype=np.int32))
    paths = CallPaths(np.arange(LAYERS + 1, dtype=np.int32), parent, parent)
    thread = np.zeros(BLOCK_SPANS, dtype=np.uint32)
    blocks = [
        SpanBlock(start_s[cut], end_s[cut], path[cut], thread[: len(path[cut])])
        for first in range(0, len(path), BLOCK_SPANS)
        for cut in [slice(first, first + BLOCK_SPANS)]
    ]
    return Spans(["root", *(f"layer {i}" for i in layer)], paths, blocks)


def with_numpy(trace: Trace, spans: Spans) -> np.ndarray:
    """Compute the self energy by path, for this one shape of tree."""
    energy_j = np.zeros(LAYERS + 1)
    for block in spans.blocks():
        span_j = integration.with_numpy(trace, block.start_s, block.end_s)
        energy_j += np.bincount(block.path, span_j, minlength=LAYERS + 1)
    energy_j[0] -= energy_j[1:].sum()
    return energy_j


def attribution(*, quick: bool) -> list[Row]:
    passes, rounds = (100, 1) if quick else (10_000, 5)
    spans = passes_of_a_model(passes)
    end_s = 0.1 * passes
    time_s = np.linspace(0.0, end_s, int(end_s * 1000) + 1)
    trace = Trace(time_s, power_w=np.random.default_rng(0).uniform(60.0, 700.0, len(time_s)))
    source = Source("given", trace)
    found = attribute(source, spans, 0.0, end_s, method="overlap")
    assert found is not None
    self_j = found.energies.self_energy_j
    check(
        np.allclose(self_j[1:], with_numpy(trace, spans)[1:], rtol=1e-9, atol=0),
        "overlap and numpy differ by more than 1e-9",
    )
    check(
        np.isclose(self_j.sum() + found.energies.outside_j, trace.energy_j[-1], rtol=1e-9, atol=0),
        "self energies and the rest do not add up to the measured energy",
    )
    ours_s, numpy_s = interleaved(
        rounds,
        lambda: timed(lambda: attribute(source, spans, 0.0, end_s, method="overlap")),
        lambda: timed(lambda: with_numpy(trace, spans)),
    )
    row = Row(
        f"attribute {len(spans):,} spans by overlap; other: numpy, without uncertainty",
        show_s(float(np.median(ours_s))),
        show_s(float(np.median(numpy_s))),
        median_ratio(ours_s, numpy_s),
    )
    return [row]


def memory(*, quick: bool) -> list[Row]:
    calls = 1_000_000 if quick else 10_000_000
    printed = subprocess.run(
        [sys.executable, "-c", CALLS, str(calls)], capture_output=True, text=True, check=True
    ).stdout.split()
    recorded, grown_mb, each_s = int(printed[0]), int(printed[1]) / 1e6, float(printed[2])
    check(recorded == calls, f"{calls} calls were made, but {recorded} recorded")
    limit_mb = calls / 1e7 * 200
    check(grown_mb <= limit_mb, f"{calls} calls take {grown_mb:.0f} MB, not {limit_mb:.0f} at most")
    row = Row(
        f"memory of {calls:,} calls ({show_s(each_s)} for each pair of hooks)",
        f"{grown_mb:.0f} MB",
        target=Target(grown_mb, "<=", limit_mb, f"<= {limit_mb:.0f} MB"),
    )
    return [row]
