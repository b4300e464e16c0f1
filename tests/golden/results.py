"""Results of pywatt on simulated meters and scripted clocks: the same figures each time.

Each function makes one result. What `plain` keeps of it is beside this file, one JSON file a
result; test_golden.py compares. After a change that is meant to change figures, write the files
again, with an installed pywatt: `cd tests && python -m golden.results`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fakes.boxcar_meter import Load, Meter
from fakes.simulated_model import FollowedClock, Kernel, Passes, kernels, powered
from fakes.simulated_nvml import SimulatedNvml, library_path
from fakes.simulated_training import DrawingLoader, DrawingSgd, trained_kernels
from fakes.timed_models import clock as study_clock
from fakes.timed_models import sensor as study_sensor
from torch import nn

import pywatt

FOLDER = Path(__file__).parent

# Texts, dates, versions and memory may change, figures may not.
_LEFT_OUT = {
    *("notes", "environment", "method_reason", "note", "device_states", "traces", "quality"),
    *("date", "reason", "device_name", "machine", "versions", "peak_memory_bytes"),
}


def plain(found: Any) -> Any:
    """Figures of a result: numbers, names and None, in dicts and lists."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        names = [field.name for field in dataclasses.fields(found)]
        return {name: plain(getattr(found, name)) for name in names if name not in _LEFT_OUT}
    if isinstance(found, Mapping):
        return {str(key): plain(value) for key, value in found.items()}
    if isinstance(found, np.ndarray | np.generic):
        return plain(found.tolist())
    if isinstance(found, tuple | list):
        return [plain(item) for item in found]
    if found is None or isinstance(found, bool | int | float | str):
        return found
    return type(found).__name__


def _clock(gpus: SimulatedNvml, seed: int, **meter: float) -> FollowedClock:
    gpus.reset()
    phases_s = {"phase_s": 0.0317 * seed, "counter_phase_s": 0.0711 * seed}
    gpus.configure(**(phases_s | meter))
    return FollowedClock(gpus)


def profile_by_replay(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 1)
    model = kernels(gpus, 8, clock=clock, seed=1)
    return pywatt.profile(
        model, Passes(model, 3.0), sensors="nvml:0", clock=clock, method="replay", budget_s=10
    )


def profile_by_regression(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 2)
    works = ((0.031, 200), (0.047, 600), (0.023, 350))
    model = nn.Sequential(*(Kernel(gpus, s, w, clock) for s, w in works))
    return pywatt.profile(
        model, Passes(model, 20.0), sensors="nvml:0", clock=clock, method="regression"
    )


def profile_by_overlap(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 3)
    model = nn.Sequential(*(Kernel(gpus, s, w, clock) for s, w in ((1.1, 200), (1.7, 600))))
    return pywatt.profile(
        model, Passes(model, 12.0), sensors="nvml:0", clock=clock, method="overlap"
    )


def profile_by_time(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 4)
    model = kernels(gpus, 12, clock=clock, seed=4)
    return pywatt.profile(model, Passes(model, 2.0), sensors="nvml:0", clock=clock, method="time")


class _Listed(nn.Module):
    """Its blocks are in a ModuleList, which is never called itself."""

    __module__ = "golden.results"  # `powered` draws power from the full name

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def profile_of_a_module_list(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 5)
    model = _Listed([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())])
    powered(model, gpus, clock)
    batches = [(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))] * 40
    return pywatt.profile(
        model.eval(), batches, sensors="nvml:0", clock=clock, budget_s=5, accuracy=None
    )


def training(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 6)
    model = trained_kernels(gpus, 3, clock, seed=6)
    return pywatt.profile_training(
        model,
        DrawingLoader(120, Kernel(gpus, 0.003, 90.0, clock), clock, 6),
        loss_fn=nn.MSELoss(),
        optimizer=DrawingSgd(model.parameters(), Kernel(gpus, 0.004, 320.0, clock)),
        epochs=2,
        sensors="nvml:0",
        clock=clock,
        budget_s=8.0,
    )


def measurement(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 7)
    with pywatt.measure(sensors="nvml:0", clock=clock) as m:
        for name, duration_s, power_w in (("first", 0.4, 300.0), ("second", 0.7, 500.0)):
            with pywatt.window(name):
                gpus.play([(duration_s, power_w), (1.0, 60.0)], start_s=clock.now_s())
                clock.advance(duration_s)
    clock.advance(0.3)
    return {
        "energy_j": m.energy_j,
        "energy_j_std": m.energy_j_std,
        "duration_s": m.duration_s,
        "energy_by_sensor": dict(m.energy_by_sensor),
        "windows": list(m.windows),
    }


def call(gpus: SimulatedNvml) -> Any:
    clock = _clock(gpus, 8, noise_w=1.0)
    kernel = Kernel(gpus, 200e-6, 300.0, clock)
    found = plain(pywatt.measure_call(kernel, None, sensors="nvml:0", clock=clock))
    del found["method"]  # a sentence
    return found


def comparison(gpus: SimulatedNvml) -> Any:
    def run(scale: float, seed: int) -> Any:
        clock = _clock(gpus, seed)
        works = ((0.9, 200 * scale), (1.3, 500))
        model = nn.Sequential(*(Kernel(gpus, s, w, clock) for s, w in works))
        return pywatt.profile(
            model, Passes(model, 9.0), sensors="nvml:0", clock=clock, method="overlap"
        )

    return pywatt.compare(
        [run(1.0, seed) for seed in (9, 10, 11)], [run(1.4, seed) for seed in (12, 13, 14)]
    )


def attributed(gpus: SimulatedNvml) -> Any:
    rng = np.random.default_rng(0)
    edge_s = np.cumsum(np.concatenate(([2.0], rng.uniform(0.02, 0.2, 240))))
    powers_w = np.where(np.arange(len(edge_s) - 1) % 2, 150.0, 420.0)
    trace, _ = Meter().watch(Load.of(edge_s, powers_w), float(edge_s[-1]) + 2.0, rng)
    spans = [
        pywatt.Span(name=("high", "low")[k % 2], start_s=float(a), end_s=float(b))
        for k, (a, b) in enumerate(pairwise(edge_s))
    ]
    found = pywatt.attribute(trace, spans)
    model = pywatt.characterize(trace)
    return {"attribution": found, "sensor": model}


_STUDY = """
name = "golden"
data = "fakes.timed_models:loaders"
rate_hz = 100
seeds = [0, 1]
[training]
epochs = 2
optimizer = { call = "torch.optim:SGD", lr = 0.0 }
[[models]]
name = "right"
factory = { call = "fakes.timed_models:model", share = 0.75 }
[[models]]
name = "cheap"
factory = { call = "fakes.timed_models:model", share = 0.5, sample_s = 0.125 }
[[models]]
name = "dominated"
factory = { call = "fakes.timed_models:model", share = 0.25, sample_s = 4.0 }
[[models]]
name = "extrapolated"
factory = { call = "fakes.timed_models:model", share = 1.0, sample_s = 0.5 }
training.extrapolate_to = 6
[[models]]
name = "fitted"
factory = { call = "fakes.timed_models:model", share = 0.75, sample_s = 0.0625 }
fit = "fakes.timed_models:fit"
"""


def study(gpus: SimulatedNvml) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(_STUDY)
        one = pywatt.Study(path, sensors=study_sensor(), clock=study_clock)
        table = one.run(progress=False)
    return {"models": table.models, "ranking": table.ranking}


RESULTS: dict[str, Callable[[SimulatedNvml], Any]] = {
    made.__name__: made
    for made in (
        profile_by_replay,
        profile_by_regression,
        profile_by_overlap,
        profile_by_time,
        profile_of_a_module_list,
        training,
        measurement,
        call,
        comparison,
        attributed,
        study,
    )
}


def main() -> None:
    """Write all files anew."""
    os.environ["PYWATT_NVML_LIBRARY"] = str(library_path())
    gpus = SimulatedNvml()
    gpus.reset()
    for name, make in RESULTS.items():
        found = json.dumps(plain(make(gpus)), indent=1)
        (FOLDER / f"{name}.json").write_text(found + "\n")


if __name__ == "__main__":
    main()
