"""Checks pywatt on an NVIDIA GPU: python benchmarks/gpu_check.py [--append docs/accuracy.md].

Without a GPU it says so and checks nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import gpu_layers
import torch
from gpu_layers import Comparison, Setting
from torch import nn

import pywatt
from pywatt.errors import PywattError
from pywatt.metering.probe import Probe, probe
from pywatt.renderers.probe import render
from pywatt.sensors import nvml
from pywatt.sensors.info import OpenSensor
from pywatt.sensors.selection import select

DEVICE = "cuda:0"
SHOWN_LAYERS = 5
WIDTH = 100


@dataclass(frozen=True)
class Checked:
    """All results of one GPU."""

    title: str
    probes: tuple[Probe, ...]
    comparison: Comparison
    profiles: tuple[pywatt.Profile, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--append", metavar="FILE", help="append the figures there, as Markdown")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check: torch sees no NVIDIA GPU here, so nothing was checked")
        return 0
    selection = select("auto", devices=[DEVICE])
    if not selection.sensors:
        print(f"gpu-check: nothing was checked: {'; '.join(selection.notes)}")
        return 0
    (sensor,) = selection.sensors
    block = markdown(check(sensor, Setting(DEVICE, sensor.core.name), models()))
    print(block)
    if options.append:
        with Path(options.append).open("a") as file:
            file.write(f"\n{block}")
    return 0


def check(
    sensor: OpenSensor, setting: Setting, models: dict[str, Callable[[], gpu_layers.ModelBatch]]
) -> Checked:
    say("probing the sensor")
    probes = probe([sensor], duration_s=setting.probe_s)
    say("measuring layers alone, then mixed")
    comparison = gpu_layers.compare(setting)
    profiles = []
    for name, make in models.items():
        say(f"profiling {name}")
        profiles.append(gpu_layers.profile(make(), setting))
    return Checked(title_of(sensor), probes, comparison, tuple(profiles))


def models() -> dict[str, Callable[[], gpu_layers.ModelBatch]]:
    """Whole models with random weights: their kernels are those of trained ones."""
    from transformers import GPT2Config, GPT2LMHeadModel, ResNetConfig, ResNetForImageClassification

    def resnet() -> gpu_layers.ModelBatch:
        model: nn.Module = ResNetForImageClassification(ResNetConfig())
        return model.eval(), torch.randn(32, 3, 224, 224)

    def gpt2() -> gpu_layers.ModelBatch:
        config = GPT2Config()
        model: nn.Module = GPT2LMHeadModel(config)
        return model.eval(), torch.randint(config.vocab_size, (8, 512))

    return {"ResNet-50": resnet, "GPT-2": gpt2}


def title_of(sensor: OpenSensor) -> str:
    """Return the GPU and its driver, as NVML names them, and the date."""
    try:
        cards = {f"nvml:{card.index}": card for card in nvml.devices()}
    except PywattError:
        cards = {}
    card = cards.get(sensor.core.name)
    name = sensor.core.name if card is None else f"{card.name}, driver {card.driver}"
    return f"{name}, {date.today().isoformat()}"


def markdown(checked: Checked) -> str:
    """Return a section for docs/accuracy.md."""
    versions = f"pywatt {pywatt.__version__}, torch {torch.__version__}"
    lines = [f"### {checked.title}", "", f"By `make gpu-check`, {versions}.", ""]
    lines += ["```", render(checked.probes, WIDTH), "```", ""]
    lines += [*comparison_lines(checked.comparison), ""]
    for profile in checked.profiles:
        lines += [*profile_lines(profile), ""]
    return "\n".join(lines)


def comparison_lines(comparison: Comparison) -> list[str]:
    return [
        "Each layer alone, back to back, and then mixed with the others in one model:",
        "",
        "| layer | a call, ms | alone, W | alone, mJ a call | mixed, mJ a call | off by |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.time_s * 1e3:.3f} | {row.alone_w:.1f} | {row.alone_j * 1e3:.3f} "
            f"| {row.mixed_j * 1e3:.3f} ± {row.mixed_j_std * 1e3:.3f} | {row.off:+.1%} |"
            for row in comparison.rows
        ),
        "",
        f"Misattributed: {comparison.misattributed:.2%} of the energy. "
        f"Method: {comparison.profile.method}: {comparison.profile.method_reason}.",
        *notes(comparison.profile),
    ]


def profile_lines(profile: pywatt.Profile) -> list[str]:
    if profile.energy_j is None:
        return [f"{profile.model}: no energy.", *notes(profile)]
    known = [layer for layer in profile.layers if layer.self_energy_j is not None]
    known.sort(key=lambda layer: layer.self_energy_j or 0.0, reverse=True)
    return [
        f"{profile.model}: {profile.energy_j:.2f} ± {profile.energy_j_std or 0.0:.2f} J in "
        f"{profile.duration_s:.2f} s, {profile.energy_per_sample_j or 0.0:.4f} J a sample, "
        f"method: {profile.method}. The layers with the largest self energy:",
        "",
        "| layer | type | J | share |",
        "|---|---|---|---|",
        *(
            f"| {layer.name or '(the model)'} | {layer.type} "
            f"| {layer.self_energy_j:.3f} ± {layer.self_energy_j_std or 0.0:.3f} "
            f"| {(layer.self_energy_j or 0.0) / profile.energy_j:.1%} |"
            for layer in known[:SHOWN_LAYERS]
        ),
        *notes(profile),
    ]


def notes(profile: pywatt.Profile) -> list[str]:
    return ["", *(f"- {note}" for note in profile.notes)] if profile.notes else []


def say(what: str) -> None:
    print(f"gpu-check: {what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
