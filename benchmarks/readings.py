"""Time that one reading of each sensor takes."""

from __future__ import annotations

import time

import numpy as np
import pynvml
from comparison import Row, check, show_s, timed
from sampling import FIELDS, UUID, simulated_nvml

import pywatt


def measure(*, quick: bool) -> list[Row]:
    with simulated_nvml():
        infos = pywatt.sensors()
        device = pynvml.nvmlDeviceGetHandleByUUID(UUID)
        in_python = {
            "nvml:0": lambda: pynvml.nvmlDeviceGetFieldValues(device, FIELDS),
            "cpu:estimated": time.process_time,
        }
        others_s = {
            name: float(np.median([timed(read) for _ in range(20 if quick else 1000)]))
            for name, read in in_python.items()
        }
    cost_s = {info.source: info.reading_cost_s for info in infos}
    check({"nvml:0", "cpu:estimated"} <= cost_s.keys(), f"only {', '.join(cost_s)} can be read")
    labels = {
        "nvml:0": " (simulated); other: nvidia-ml-py",
        "cpu:estimated": "; other: time.process_time alone",
    }
    rows = []
    for name, ours_s in cost_s.items():
        what = f"one reading of {name}{labels.get(name, '')}"
        other_s = others_s.get(name)
        if ours_s is None:
            rows.append(Row(what, "cannot be read"))
        elif other_s is None:
            rows.append(Row(what, show_s(ours_s)))
        else:
            rows.append(Row(what, show_s(ours_s), show_s(other_s), ours_s / other_s))
    return rows
