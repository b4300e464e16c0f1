"""Traces of constant power."""

import numpy as np

from pywatt.sampling.trace import Trace
from pywatt.sensors.info import SensorInfo


def of_sensor(name, kind="power", domain="package", *, power_w=100.0, **fields):
    """A sensor and its trace of constant power, read ten times a second for 10 s."""
    info = SensorInfo(name, kind=kind, domain=domain, **fields)
    time_s = np.linspace(0.0, 10.0, 101)
    column = (
        {"power_w": np.full(101, power_w)} if kind == "power" else {"energy_j": power_w * time_s}
    )
    return Trace(time_s=time_s, sensor=info, **column)
