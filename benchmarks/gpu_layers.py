"""Layers of clearly different power: each alone for a few seconds, then mixed in one model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import pywatt

ModelBatch = tuple[nn.Module, Any]


@dataclass(frozen=True)
class Setting:
    """Where, and for how long; with these sizes a call takes under 1 ms on a large GPU."""

    device: str
    sensor: str
    matmul: int = 4096
    elements: int = 1 << 25
    launches: int = 20
    probe_s: float = 10.0
    alone_s: float = 10.0
    mixed_s: float = 20.0
    budget_s: float = 60.0

    def synchronize(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Row:
    """One layer: the energy of a call, measured alone and attributed in the mixture."""

    name: str
    time_s: float
    alone_w: float
    alone_j: float
    mixed_j: float
    mixed_j_std: float

    @property
    def off(self) -> float:
        return self.mixed_j / self.alone_j - 1.0


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    profile: pywatt.Profile

    @property
    def misattributed(self) -> float:
        """Sum of the layers' absolute errors, over the sum of their energies alone."""
        off_j = math.fsum(abs(row.mixed_j - row.alone_j) for row in self.rows)
        return off_j / math.fsum(row.alone_j for row in self.rows)


class Matmul(nn.Module):
    """Bound by arithmetic: a product of large bf16 matrices."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.weight = nn.Buffer(torch.randn(setting.matmul, setting.matmul, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.mm(self.weight, self.weight)
        return x


class Copy(nn.Module):
    """Bound by memory."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.source = nn.Buffer(torch.randn(setting.elements))
        self.target = nn.Buffer(torch.empty(setting.elements))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.target.copy_(self.source)
        return x


class Tiny(nn.Module):
    """Bound by launches: the device is nearly idle."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.launches = setting.launches
        self.one = nn.Buffer(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.launches):
            self.one.mul_(1.0)
        return x


def layers_of(setting: Setting) -> dict[str, nn.Module]:
    return {"matmul": Matmul(setting), "copy": Copy(setting), "tiny": Tiny(setting)}


def compare(setting: Setting) -> Comparison:
    model = nn.Sequential()
    for name, layer in layers_of(setting).items():
        model.add_module(name, layer)
    model = model.to(setting.device).eval()
    x = torch.zeros(1, device=setting.device)
    alone = {name: _alone(layer, x, setting) for name, layer in model.named_children()}
    mixed = _profile(model, x, setting)
    rows = []
    for layer in mixed.layers:
        if layer.name in alone and layer.self_energy_j is not None:
            alone_w, alone_j = alone[layer.name]
            mixed_j, std_j = layer.self_energy_j, layer.self_energy_j_std or 0.0
            calls = layer.calls
            time_s = layer.time_s / calls
            rows.append(Row(layer.name, time_s, alone_w, alone_j, mixed_j / calls, std_j / calls))
    return Comparison(tuple(rows), mixed)


def profile(model_batch: ModelBatch, setting: Setting) -> pywatt.Profile:
    """Profile a whole model with default settings."""
    model, batch = model_batch
    return _profile(model.to(setting.device), batch.to(setting.device), setting)


def _alone(layer: nn.Module, x: torch.Tensor, setting: Setting) -> tuple[float, float]:
    """Measure the mean power of a layer run back to back, and the energy of one call."""
    at_once = _calls_in(0.05, lambda: layer(x), setting)

    def run(duration_s: float) -> int:
        calls, end_s = 0, time.monotonic() + duration_s
        while time.monotonic() < end_s:
            for _ in range(at_once):
                layer(x)
            calls += at_once
            setting.synchronize()
        return calls

    with torch.no_grad():
        run(setting.alone_s / 5)
        with pywatt.measure(sensors=setting.sensor) as measured:
            calls = run(setting.alone_s)
    if measured.energy_j is None:
        raise SystemExit(f"{setting.sensor} gave no energy: {'; '.join(measured.notes)}")
    return measured.energy_j / measured.duration_s, measured.energy_j / calls


def _profile(model: nn.Module, batch: torch.Tensor, setting: Setting) -> pywatt.Profile:
    with torch.no_grad():
        batches = _calls_in(setting.mixed_s, lambda: model(batch), setting)
    return pywatt.profile(
        *(model, [batch] * batches),
        sensors=setting.sensor,
        accuracy=None,
        budget_s=setting.budget_s,
    )


def _calls_in(duration_s: float, call: Callable[[], object], setting: Setting) -> int:
    """Return how many calls take about `duration_s`."""
    calls, took_s = 1, 0.0
    call()
    while took_s < min(0.2, duration_s) / 2:
        calls *= 2
        setting.synchronize()
        start_s = time.monotonic()
        for _ in range(calls):
            call()
        setting.synchronize()
        took_s = time.monotonic() - start_s
    return max(1, round(calls * duration_s / took_s))
