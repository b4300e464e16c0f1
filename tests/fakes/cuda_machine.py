"""A host with simulated CUDA devices, and models whose parts run on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

import pywatt
from fakes.simulated_cuda import SimulatedCuda
from pywatt.model.accuracy import Accuracy, Units
from pywatt.model.cuda_timeline import CudaTimeline
from pywatt.model.hooks import ModuleHooks
from pywatt.profiling.assembly import assemble
from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.profiling.segment import Recording, share
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.info import OpenSensor


class Machine:
    """A host and its simulated GPUs; `power` makes their counters."""

    def __init__(self, devices: int = 2) -> None:
        self.clock = pywatt.ScriptedClock(0.0)
        self.cuda = SimulatedCuda(self.clock, devices=devices)

    def power(self, device: str | None, *steps: tuple[float, float]) -> OpenSensor:
        """A sensor: from each time in s on, so many W."""
        times_s, powers_w = zip(*steps, strict=True)
        name = f"scripted:{device}"
        core = pywatt.ScriptedSensor(
            powers_w, times_s, name=name, kind="counter", domain="gpu", clock=self.clock
        )
        return OpenSensor(core, device)

    def hooks(self, model: nn.Module) -> ModuleHooks:
        return ModuleHooks(
            model,
            self.clock,
            timeline=lambda device, clock: CudaTimeline(device, clock, self.cuda),
            find_device=lambda module: getattr(module, "home", None),
        )

    def profile(
        self, model: nn.Module, *sensors: OpenSensor, work: Callable[[], None] | None = None
    ) -> Profile:
        hooks = self.hooks(model)
        monitor = Monitor(sensors, clock=self.clock)
        with monitor, hooks:
            start_s = self.clock.now_s()
            (work or model)()
            hooks.synchronize()
            end_s = self.clock.now_s()
        return finished(hooks, monitor, start_s, end_s)


def finished(hooks: ModuleHooks, monitor: Monitor, start_s: float, end_s: float) -> Profile:
    traces, notes = monitor.read()
    recording = Recording(
        hooks=hooks,
        infos=tuple(info for sensor in monitor.sensors for info in sensor.infos),
        traces=traces,
        start_s=start_s,
        end_s=end_s,
        batches=1,
        training=False,
        samples=None,
        accuracy=Accuracy(None),
        units=Units(),
        notes=notes,
        method="overlap",
    )
    return assemble(recording, share(recording))


class Part(nn.Module):
    """Runs its children in order, or a kernel of its own where it has none."""

    def __init__(
        self,
        machine: Machine,
        home: str,
        *parts: Part,
        kernel_s: float = 0.0,
        stream: object = None,
    ) -> None:
        super().__init__()
        self.home, self.kernel_s, self.stream, self.machine = home, kernel_s, stream, machine
        for index, part in enumerate(parts):
            self.add_module(str(index), part)
        self.eval()

    def forward(self) -> None:
        for part in self.children():
            if part.stream is None:
                part()
            else:
                with self.machine.cuda.stream(part.stream):
                    part()
        if self.kernel_s > 0.0:
            if self.home == "cpu":
                self.machine.clock.advance(self.kernel_s)
            else:
                self.machine.cuda.launch(self.kernel_s, int(self.home[-1]))


class Handed(Part):
    """Like Part, but what comes next on cuda:1 waits for what cuda:0 was given before."""

    def forward(self) -> None:
        cuda = self.machine.cuda
        done = cuda.Event(enable_timing=True)
        done.record(cuda.current_stream(0))
        cuda.current_stream(1).wait_event(done)
        super().forward()


def two_stages(machine: Machine) -> Part:
    def kernel(home: str, seconds: float) -> Part:
        return Part(machine, home, kernel_s=seconds)

    return Part(
        machine,
        "cuda:0",
        Part(machine, "cuda:0", kernel("cuda:0", 0.1)),
        Handed(machine, "cuda:1", kernel("cuda:1", 0.2), kernel("cuda:1", 0.1)),
    )


def layers(profile: Profile) -> dict[str, LayerEnergy]:
    return {layer.name: layer for layer in profile.layers}


def self_j(profile: Profile) -> dict[str, float | None]:
    return {layer.name: layer.self_energy_j for layer in profile.layers}


def joules(**expected: float) -> object:
    """Energies of layers by name; the clock's floats are good to some nanoseconds."""
    names = {
        "root": "",
        **{key: key.strip("_").replace("_", ".") for key in expected if key != "root"},
    }
    return pytest.approx({names[key]: joule for key, joule in expected.items()}, abs=1e-5)
