"""A simulated meter: publishes the mean power of its window now and then, and is polled late.

Pure numpy, truth known: loads are steps of power, readings are exact means of them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pywatt.sampling.trace import Trace
from pywatt.spans.columns import CallPaths, SpanBlock, Spans

IDLE_W = 60.0


@dataclass(frozen=True)
class Load:
    """Piecewise constant power: power_w[i] from time_s[i] on, idle before and after."""

    time_s: np.ndarray
    power_w: np.ndarray

    @classmethod
    def of(cls, time_s, power_w):
        """Steps within idle; the last of time_s ends the load."""
        steps_s = np.concatenate(([time_s[0] - 100.0], time_s))
        return cls(steps_s, np.concatenate(([IDLE_W], power_w, [IDLE_W])))

    def energy_j(self, at_s):
        known_j = np.concatenate(([0.0], np.cumsum(np.diff(self.time_s) * self.power_w[:-1])))
        k = np.searchsorted(self.time_s, at_s, side="right") - 1
        return known_j[k] + (at_s - self.time_s[k]) * self.power_w[k]


@dataclass(frozen=True)
class Meter:
    """How readings come about: published each period, mean of a window, some time late."""

    period_s: float = 0.1
    window_s: float = 0.025
    delay_s: float = 0.0
    jitter_s: float = 0.0
    noise_w: float = 0.5
    late_s: float = 0.003
    stall_s: float = 0.0
    poll_s: float = 0.001

    def watch(self, load, end_s, rng):
        """Poll from 0 to end_s; returns the trace, and when readings were really published."""
        count = int(end_s / self.period_s) + 1
        steps_s = self.period_s + self.jitter_s * rng.standard_normal(count)
        published_s = rng.random() * self.period_s + np.cumsum(steps_s)
        seen_s = published_s - self.delay_s
        power_w = load.energy_j(seen_s) - load.energy_j(seen_s - self.window_s)
        power_w = power_w / self.window_s + self.noise_w * rng.standard_normal(count)
        polled_s = self.polls(end_s, rng)
        polled_s = polled_s[polled_s >= published_s[0]]
        shown = np.searchsorted(published_s, polled_s, side="right") - 1
        return Trace(time_s=polled_s, power_w=np.round(power_w, 2)[shown]), published_s

    def polls(self, end_s, rng):
        """Times of readings: a little late always, sometimes much, sometimes not at all."""
        polled_s = np.arange(0.0, end_s, self.poll_s)
        late = rng.random(len(polled_s)) < 0.03
        polled_s += rng.exponential(0.1 * self.poll_s, len(polled_s))
        polled_s += late * rng.uniform(0.0, self.late_s, len(polled_s))
        keep = np.ones(len(polled_s), dtype=bool)
        for first in np.flatnonzero(rng.random(len(polled_s)) < 0.001):
            keep[first : first + int(rng.uniform(0.0, self.stall_s) / self.poll_s)] = False
        return np.unique(polled_s[keep])


def spans_in_columns(name, start_s, end_s, names):
    """Spans without parents: name[i] is an index into names."""
    paths = np.arange(len(names), dtype=np.int32)
    top = np.full(len(names), -1, dtype=np.int32)
    thread = np.zeros(len(start_s), dtype=np.uint32)
    block = SpanBlock(start_s, end_s, np.asarray(name, dtype=np.int32), thread)
    return Spans(names, CallPaths(paths, top, top), [block])


def phases(edge_s):
    """Spans named on and off in turn, between the edges."""
    name = np.arange(len(edge_s) - 1) % 2
    return spans_in_columns(name, edge_s[:-1], edge_s[1:], ["on", "off"])


# What the card shows of the meter's watts while the load of a100_rise is on.
A100_GAIN = 0.948


def meter_energy_j(recorded, start_s, end_s):
    """What the meter on the cables of a real card counted."""
    time_s, power_w = recorded["meter_time_s"], recorded["meter_power_w"].astype(np.float64)
    return float(Trace(time_s=time_s, power_w=power_w).integrate(start_s, end_s))


def real_trace(name):
    """A trace of a real card with what was recorded beside it; skips where none is at hand.

    They are in the folder that PYWATT_SHARED_DATA names, else in ../shared/data of the repository.
    A folder that is there and lacks the trace is an error.
    """
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if "PYWATT_SHARED_DATA" in os.environ:
        folder = Path(os.environ["PYWATT_SHARED_DATA"])
    elif not folder.is_dir():
        pytest.skip(f"real traces are not in {folder} (PYWATT_SHARED_DATA says where they are)")
    path = folder / "gpu-power-meter" / f"{name}.npz"
    recorded = dict(np.load(path))
    trace = Trace(time_s=recorded["sensor_time_s"], power_w=recorded["sensor_power_w"])
    return trace, recorded
