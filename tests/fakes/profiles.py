"""Profiles with known figures, for tests of what reads them."""

from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.sampling.trace import Quality, Trace
from pywatt.sensors.info import SensorInfo

GPU = SensorInfo("nvml:0", domain="gpu", device="cuda:0")
CPU = SensorInfo("cpu:estimated", device="cpu", estimated=True)


def layer(name, depth, self_energy_j, energy_j=None, *, calls=10, **changes):
    """Return a layer of 10 ms per call; without `energy_j`, one without children."""
    known = self_energy_j is not None
    energy_j = energy_j if energy_j is not None else self_energy_j
    fields = {
        "name": name,
        "type": "Linear",
        "depth": depth,
        "calls": calls,
        "time_s": 0.01 * calls,
        "self_time_s": 0.01 * calls,
        "energy_j": energy_j,
        "energy_j_std": 0.1 * energy_j if known else None,
        "self_energy_j": self_energy_j,
        "self_energy_j_std": 0.1 * self_energy_j if known else None,
        "resolved": True if known else None,
        "parameters": 100,
        "device": "cuda:0",
    }
    return LayerEnergy(**fields | changes)


def trace(sensor):
    """Return one second of 50 W, well sampled."""
    quality = Quality(
        asked_rate_hz=1000.0,
        achieved_rate_hz=999.5,
        missed_deadlines=1,
        longest_gap_s=0.0021,
        failed_readings=2,
        sampler_cpu_s=0.004,
    )
    return Trace(
        time_s=[10.0, 10.1, 11.0], power_w=[50.0, 50.0, 50.0], sensor=sensor, quality=quality
    )


def profile(layers=None, **changes):
    """Return 50 J in 1 s on a metered GPU: 40 J in three layers, 10 J outside."""
    if layers is None:
        layers = (
            layer("", 0, 4.0, 40.0, type="Net", parameters=1_250_000),
            layer("body", 1, 30.0),
            layer("head", 1, 6.0),
        )
    fields = {
        "model": "Net",
        "layers": tuple(layers),
        "energy_j": 50.0,
        "energy_j_std": 0.5,
        "duration_s": 1.0,
        "outside_j": 10.0,
        "outside_j_std": None,
        "samples": 200,
        "batches": 10,
        "accuracy": 0.8,
        "energy_by_sensor": {"nvml:0": 50.0},
        "sensors": (GPU,),
        "traces": {"nvml:0": trace(GPU)},
        "method": "overlap",
        "method_reason": "the sensor is finer than the layers",
        "notes": ("warmed up",),
        "estimated": False,
        "environment": {"torch": "2.13.0", "date": "2026-01-02T03:04:05+00:00"},
    }
    return Profile(**fields | changes)


def run(energy_j, std=0.5, **changes):
    return profile(energy_j=energy_j, energy_j_std=std, **changes)


def with_layers(*layers):
    return profile(layers=layers)


def deep(blocks=60, **changes):
    """Return a tree as deep as a ResNet's; the convolutions of later blocks take more."""
    stages = "resnet.encoder.stages.2"
    layers = [
        layer("", 0, 0.5),
        layer("resnet", 1, 0.25),
        layer("resnet.encoder", 2, 0.25),
        layer("resnet.encoder.stages", 3, 0.0, calls=0, type="ModuleList"),
        layer(stages, 4, 0.125),
    ]
    for block in range(blocks):
        name = f"{stages}.layers.{block}"
        layers += [
            layer(name, 5, 0.0625),
            layer(f"{name}.layer.1.convolution", 6, 1.0 + block / 64),
            layer(f"{name}.layer.1.activation", 6, 0.03125),
        ]
    inside = sum(each.self_energy_j or 0 for each in layers)
    fields = {"model": "ResNet", "energy_j": inside + 2.0, "outside_j": 2.0}
    return profile(layers, **fields | changes)
