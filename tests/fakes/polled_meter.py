"""A meter that publishes every 100 ms, read by a sampler at 1 kHz around a window."""

import numpy as np

from fakes.boxcar_meter import IDLE_W, Load
from pywatt.metering.source import Source
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.info import SensorInfo

POLL_S = 0.001


def pattern(steps, first_s, last_s, *, idle_after):
    """A load of steps (duration_s, power_w) over and over, with idle before and perhaps after."""
    time_s, power_w, at_s = [-100.0], [IDLE_W], first_s
    while at_s < last_s:
        for duration_s, watts in steps:
            if at_s < last_s:
                time_s.append(at_s)
                power_w.append(watts)
                at_s += duration_s
    if idle_after:
        time_s.append(last_s)
        power_w.append(IDLE_W)
    return Load(np.array(time_s), np.array(power_w))


def polled(time_s, value, kind):
    begins = np.flatnonzero(np.concatenate(([True], np.diff(value) != 0)))
    ends = np.concatenate((begins[1:] - 1, [len(value) - 1]))
    is_power = kind == "power"
    name = "nvml:0" if is_power else "nvml:0/energy"
    return Trace(
        time_s=time_s,
        power_w=value if is_power else None,
        energy_j=None if is_power else value - value[0],
        sensor=SensorInfo(name, kind=kind, domain="gpu", source="nvml:0"),
        quality=Quality(1000.0, 1000.0, 0, POLL_S, 0, 0.0),
        run_first_s=time_s[begins],
        run_last_s=time_s[ends],
        run_value=value[begins],
    )


def meter(load, start_s, end_s, random, *, period_s=0.1, window_s=0.025, counter_s=0.1):
    """What a sampler at 1 kHz would have read around the window, the meter's phases at random."""
    time_s = np.arange(start_s - 0.0002, end_s + 0.25, POLL_S)
    time_s = time_s + 1e-4 * random.random(len(time_s))
    phase_s, counter_phase_s = random.random() * period_s, random.random() * counter_s
    published_s = np.floor((time_s - phase_s) / period_s) * period_s + phase_s
    mean_w = (load.energy_j(published_s) - load.energy_j(published_s - window_s)) / window_s
    moved_s = np.floor((time_s - counter_phase_s) / counter_s) * counter_s + counter_phase_s
    total_j = np.floor(load.energy_j(moved_s) * 1e3) / 1e3
    power = polled(time_s, np.round(mean_w, 3), "power")
    return Source("nvml:0", power, polled(time_s, total_j, "counter"))
