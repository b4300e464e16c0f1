"""Calls of kernels on a simulated GPU, measured with sensors of several kinds."""

import numpy as np

import pywatt
from fakes.simulated_model import FollowedClock, Kernel

SENSORS = {
    "100/25 and counter": {"update_period_s": 0.1, "window_s": 0.025},
    "100/100": {"update_period_s": 0.1, "window_s": 0.1, "has_counter": 0},
    "20/10": {"update_period_s": 0.02, "window_s": 0.01, "has_counter": 0},
    "100/1000": {"update_period_s": 0.1, "has_instant": 0, "has_counter": 0},
}


def simulated(gpus, sensor, seed=0):
    """A clock and a GPU whose sensor has noise, and a phase of its own for each seed."""
    random = np.random.default_rng(seed)
    gpus.reset()
    gpus.configure(noise_w=1.0, update_jitter_s=0.001, **SENSORS[sensor])
    gpus.configure(phase_s=random.uniform(0, 0.1), counter_phase_s=random.uniform(0, 0.1))
    return FollowedClock(gpus, 1000.0 + random.uniform(0, 100))


def measured(gpus, sensor, duration_s, power_w, *, seed=0, **options):
    clock = simulated(gpus, sensor, seed)
    kernel = Kernel(gpus, duration_s, power_w, clock)
    return pywatt.measure_call(kernel, None, sensors="nvml:0", clock=clock, **options)
