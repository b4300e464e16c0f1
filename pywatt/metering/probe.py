"""Determine how a device's sensors sample power, with a load at known, irregular times."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.errors import PywattError
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.loads import Load, load_of
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source, window_energy
from pywatt.sampling.monitor import DEFAULT_RATE_HZ, Monitor
from pywatt.sampling.trace import Trace
from pywatt.sensors.info import OpenSensor, SensorInfo
from pywatt.spans.columns import Span, Spans

FloatArray = npt.NDArray[np.float64]

DURATION_S = 10.0

# On and off for any time in between: such a load is in step with no period from 10 to 200 ms, and
# covers every phase of each.
SHORTEST_S, LONGEST_S = 0.03, 0.17

# A device's power rises and settles first.
WARM_UP_S = 1.0

# A sensor is polled this many times per period, if reading takes at most this share of the time.
POLLS_A_PERIOD = 10.0
READING_SHARE = 0.25
LEAST_RATE_HZ = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Results of probing one value of a sensor.

    Attributes:
        sensor: the value, with the cost of one reading.
        model: how it samples power.
        trace: what was read.
        counter_ratio: a counter's energy over the integrated power of the same sensor and time;
            None if there is no such pair, or either is not known.
        counter_ratio_std: one standard deviation of it; None likewise.
        notes: what could not be determined, and why.
    """

    sensor: SensorInfo
    model: SensorModel
    trace: Trace
    counter_ratio: float | None = None
    counter_ratio_std: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the readings."""
        model = self.model
        return {
            "name": self.sensor.name,
            "unit": self.sensor.unit,
            "origin": self.sensor.origin,
            "period_s": model.period_s,
            "period_s_std": model.period_s_std,
            "jitter_s": model.jitter_s,
            "window_s": model.window_s,
            "window_s_std": model.window_s_std,
            "delay_s": model.delay_s,
            "delay_s_std": model.delay_s_std,
            "resolution": model.resolution,
            "reading_cost_s": self.sensor.reading_cost_s,
            "counter_ratio": self.counter_ratio,
            "counter_ratio_std": self.counter_ratio_std,
            "notes": list(self.notes),
        }


def phases_s(duration_s: float = DURATION_S, seed: int = 0) -> FloatArray:
    """Return random lengths of the load's phases, on and off in turn; shape (even n,)."""
    pairs = max(1, round(duration_s / (SHORTEST_S + LONGEST_S)))
    return np.random.default_rng(seed).uniform(SHORTEST_S, LONGEST_S, 2 * pairs)


def probe(
    sensors: Sequence[OpenSensor],
    *,
    duration_s: float = DURATION_S,
    seed: int = 0,
    load: Load | None = None,
    wait: Load = time.sleep,
    clock: _core.Clock | None = None,
    step: Callable[[], None] = lambda: None,
) -> tuple[Probe, ...]:
    """Characterize the sensors of one device together, under one load.

    If the device cannot be kept busy from here, its sensors are read for the same time, and notes
    say what that could not determine.

    Args:
        sensors: what to read; all of one device.
        duration_s: how long, without warm-up.
        seed: of the times at which the load goes on and off.
        load: what keeps the device busy; default: one for the sensors' device.
        wait: waits without a load.
        clock: a `ScriptedClock` for tests, with a `load` and a `wait` that advance it.
        step: called after every two phases.

    Returns:
        One entry for each value of the sensors that could be read.
    """
    clock = clock or _core.steady_clock()
    unloaded = ""
    if load is None:
        try:
            load = load_of(sensors[0].device)
        except PywattError as error:
            unloaded = str(error)
    infos = {info.name: info for sensor in sensors for info in _with_cost(sensor)}
    with Monitor(sensors, rate_hz=_rate_hz(infos.values()), clock=clock) as monitor:
        edge_s = _run_load(phases_s(duration_s, seed), load or wait, wait, clock, step)
        # A reading that averages a second includes the load for as long.
        wait(max(1.0, monitor.settle_s))
    traces, failures = monitor.read()
    spans = None if unloaded else _spans(edge_s)
    probes = []
    for name, trace in traces.items():
        trace = replace(trace, sensor=infos[name])
        model = _model(trace, spans)
        notes = [*model.notes, *(note for note in failures if note.startswith(name))]
        if unloaded and model.window_s is None:
            notes.append(f"{name}: no load could be run on its device: {unloaded}")
        ratio = _against_power(trace, traces, edge_s[0], edge_s[-1])
        probes.append(Probe(infos[name], model, trace, *ratio, notes=tuple(notes)))
    return tuple(probes)


def by_device(sensors: Sequence[OpenSensor]) -> tuple[tuple[OpenSensor, ...], ...]:
    """Group sensors that one load can probe together; those of an unknown device are alone."""
    groups: dict[str, list[OpenSensor]] = {}
    for sensor in sensors:
        groups.setdefault(sensor.device or sensor.core.name, []).append(sensor)
    return tuple(map(tuple, groups.values()))


def _with_cost(sensor: OpenSensor) -> tuple[SensorInfo, ...]:
    try:
        cost_s = _core.reading_cost_s(sensor.core)
    except PywattError:  # a note will say that it gave no reading
        return sensor.infos
    return tuple(replace(info, reading_cost_s=cost_s) for info in sensor.infos)


def _rate_hz(infos: Collection[SensorInfo]) -> float:
    """Return a rate of several polls per period of the fastest known sensor, if that is cheap."""
    periods_s = [info.update_period_s for info in infos if info.update_period_s]
    wanted_hz = max([DEFAULT_RATE_HZ, *(POLLS_A_PERIOD / period_s for period_s in periods_s)])
    cost_of = {info.source: info.reading_cost_s or 0.0 for info in infos}
    cheap_hz = READING_SHARE / max(sum(cost_of.values()), 1e-9)
    return float(np.clip(min(wanted_hz, cheap_hz), LEAST_RATE_HZ, _core.Sampler.max_rate_hz))


def _run_load(
    phase_s: FloatArray, load: Load, wait: Load, clock: _core.Clock, step: Callable[[], None]
) -> list[float]:
    """Warm up, then run the phases; return when each began, and when the last ended."""
    load(WARM_UP_S)
    wait(WARM_UP_S)
    edge_s = [clock.now_s()]
    for number, length_s in enumerate(phase_s):
        (wait if number % 2 else load)(float(length_s))
        edge_s.append(clock.now_s())
        if number % 2:
            step()
    return edge_s


def _spans(edge_s: Sequence[float]) -> Spans:
    names = ("on", "off") * (len(edge_s) // 2)
    return Spans.of([Span(*of) for of in zip(names, edge_s[:-1], edge_s[1:], strict=True)])


def _model(trace: Trace, spans: Spans | None) -> SensorModel:
    if trace.sensor.update_period_s != 0.0:
        return characterize(trace, spans)
    note = f"{trace.sensor.name}: every reading is fresh, so there is no period and no delay"
    window_s = 0.0 if trace.power_w is None else None
    return SensorModel(None, trace.sensor.resolution, window_s, window_s, notes=(note,))


def _against_power(
    trace: Trace, traces: Mapping[str, Trace], start_s: float, end_s: float
) -> tuple[float | None, float | None]:
    """Return a counter's energy over that of the same sensor's power, with its deviation."""
    power = next(
        (
            other
            for other in traces.values()
            if other.power_w is not None
            and (other.sensor.source, other.sensor.domain)
            == (trace.sensor.source, trace.sensor.domain)
        ),
        None,
    )
    if trace.power_w is not None or power is None:
        return None, None
    counted = window_energy(Source.of(trace), start_s, end_s)
    integrated = window_energy(Source.of(power), start_s, end_s)
    if counted is None or integrated is None or integrated.energy_j <= 0:
        return None, None
    ratio = counted.energy_j / integrated.energy_j
    return ratio, ratio * float(np.hypot(_relative(counted), _relative(integrated)))


def _relative(energy: WindowEnergy) -> float:
    return energy.energy_j_std / energy.energy_j if energy.energy_j > 0 else 0.0
