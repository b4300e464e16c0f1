"""Models with parts on simulated CUDA devices, from the hooks to the finished profile."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from simulated_cuda import SimulatedCuda
from simulated_nvml import SimulatedNvml
from torch import nn

import pywatt
from pywatt import _core
from pywatt.model.batch import Accuracy, Units
from pywatt.model.cuda_timeline import CudaTimeline
from pywatt.model.hooks import ModuleHooks
from pywatt.profiling.assembly import assemble
from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.profiling.segment import Recording, share
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.discovery import OpenSensor


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
            home=lambda module: getattr(module, "home", None),
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


def assert_adds_up(profile: Profile) -> None:
    assert profile.energy_j is not None
    assert profile.outside_j is not None
    known = [e for e in self_j(profile).values() if e is not None]
    assert sum(known) + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-9)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_kernels_are_charged_when_they_run_not_when_they_are_launched(machine: Machine) -> None:
    model = Part(machine, "cuda:0", *(Part(machine, "cuda:0", kernel_s=s) for s in (0.1, 0.2, 0.1)))

    def work() -> None:
        model()
        assert machine.clock.now_s() == 0.0
        machine.clock.advance(0.5)

    profile = machine.profile(
        model,
        machine.power("cuda:0", (0.0, 100.0), (0.1, 300.0), (0.3, 50.0), (0.4, 20.0)),
        work=work,
    )
    assert self_j(profile) == joules(root=0.0, _0=10.0, _1=60.0, _2=5.0)
    assert layers(profile)[""].energy_j == pytest.approx(75.0)
    assert layers(profile)[""].time_s == pytest.approx(0.4)
    assert layers(profile)["1"].time_s == pytest.approx(0.2)
    assert profile.outside_j == pytest.approx(2.0)
    assert profile.energy_j == pytest.approx(77.0)
    assert profile.environment["cuda:0"] == "Simulated GPU 0"
    assert_adds_up(profile)


def two_stages(machine: Machine) -> Part:
    def kernel(home: str, seconds: float) -> Part:
        return Part(machine, home, kernel_s=seconds)

    return Part(
        machine,
        "cuda:0",
        Part(machine, "cuda:0", kernel("cuda:0", 0.1)),
        Handed(machine, "cuda:1", kernel("cuda:1", 0.2), kernel("cuda:1", 0.1)),
    )


def first_power(machine: Machine) -> OpenSensor:
    return machine.power("cuda:0", (0.0, 200.0), (0.1, 50.0))


def second_power(machine: Machine) -> OpenSensor:
    return machine.power("cuda:1", (0.0, 40.0), (0.1, 300.0), (0.3, 150.0), (0.4, 40.0))


def test_each_device_has_its_own_times_and_its_own_sensor(machine: Machine) -> None:
    profile = machine.profile(two_stages(machine), first_power(machine), second_power(machine))
    found = layers(profile)
    assert [layer.device for layer in profile.layers] == ["cuda:0"] * 3 + ["cuda:1"] * 3
    # The hook of the second stage begins on cuda:1 at once, where it waits for 0.1 s at 40 W.
    assert self_j(profile) == joules(root=0.0, _0=0.0, _0_0=20.0, _1=4.0, _1_0=60.0, _1_1=15.0)
    assert profile.energy_by_sensor == pytest.approx(
        {"scripted:cuda:0": 35.0, "scripted:cuda:1": 79.0}
    )
    assert found["1"].energy_j == pytest.approx(79.0)
    # A container over two devices has the energy of both.
    assert found[""].energy_j == pytest.approx(99.0)
    assert profile.outside_j == pytest.approx(15.0)
    assert profile.energy_j == pytest.approx(114.0)
    assert_adds_up(profile)


def test_a_device_without_a_sensor_has_no_energy_and_a_note(machine: Machine) -> None:
    profile = machine.profile(two_stages(machine), first_power(machine))
    found = layers(profile)
    assert found["0"].energy_j == pytest.approx(20.0)
    assert self_j(profile)["1.0"] is None
    assert found["1"].energy_j is None
    assert found["1.0"].time_s == pytest.approx(0.2)
    assert found[""].self_energy_j == pytest.approx(0.0, abs=1e-5)
    assert found[""].energy_j is None
    assert profile.energy_j == pytest.approx(35.0)
    assert "no sensor covers cuda:1: the energy of its modules is unavailable" in profile.notes
    assert_adds_up(profile)


def test_streams_that_overlap_share_each_moment_equally_and_it_is_said(machine: Machine) -> None:
    side = machine.cuda.Stream()
    model = Part(
        machine,
        "cuda:0",
        Part(machine, "cuda:0", kernel_s=0.1, stream=side),
        Part(machine, "cuda:0", kernel_s=0.2),
    )
    profile = machine.profile(model, machine.power("cuda:0", (0.0, 100.0), (0.1, 60.0)))
    assert self_j(profile) == joules(root=0.0, _0=5.0, _1=11.0)
    assert profile.outside_j == pytest.approx(0.0, abs=1e-5)
    assert (
        "work on cuda:0 ran on 2 streams: where they overlap, power is shared equally among them"
        in profile.notes
    )
    assert_adds_up(profile)


def test_a_container_that_only_waits_for_another_stream_takes_no_share(machine: Machine) -> None:
    side = machine.cuda.Stream()

    class Joined(Part):
        def forward(self) -> None:
            super().forward()
            done = machine.cuda.Event(enable_timing=True)
            done.record(side)
            machine.cuda.current_stream(0).wait_event(done)

    model = Joined(machine, "cuda:0", Part(machine, "cuda:0", kernel_s=0.1, stream=side))
    profile = machine.profile(model, machine.power("cuda:0", (0.0, 100.0)))
    assert layers(profile)[""].time_s == pytest.approx(0.1)
    assert self_j(profile) == joules(root=0.0, _0=10.0)


def test_one_sensor_for_two_devices_at_once_is_shared_equally(machine: Machine) -> None:
    model = Part(
        machine,
        "cuda:0",
        Part(machine, "cuda:0", kernel_s=0.2),
        Part(machine, "cuda:1", kernel_s=0.1),
    )
    profile = machine.profile(model, machine.power(None, (0.0, 100.0)))
    assert self_j(profile) == joules(root=0.0, _0=15.0, _1=5.0)
    assert_adds_up(profile)


def test_one_sensor_for_host_and_device_at_once_is_shared_equally(machine: Machine) -> None:
    model = Part(
        machine,
        "cuda:0",
        Part(machine, "cuda:0", kernel_s=0.1),
        Part(machine, "cpu", kernel_s=0.3),
    )
    profile = machine.profile(model, machine.power(None, (0.0, 100.0)))
    # The root lasts as long as the host's part, and has no work of its own in it.
    assert self_j(profile) == joules(root=0.0, _0=5.0, _1=25.0)
    assert_adds_up(profile)


def test_calls_captured_into_a_graph_are_counted_and_have_no_time(machine: Machine) -> None:
    model = Part(machine, "cuda:0", Part(machine, "cuda:0", kernel_s=0.1))

    def work() -> None:
        model()
        with machine.cuda.graph(machine.cuda.Stream()):
            model()

    profile = machine.profile(model, machine.power("cuda:0", (0.0, 100.0)), work=work)
    assert [layer.calls for layer in profile.layers] == [1, 1]
    assert self_j(profile) == joules(root=0.0, _0=10.0)
    assert (
        "2 calls captured into a CUDA graph on cuda:0 have no time and no energy" in profile.notes
    )


def test_windows_on_a_device_are_timed_by_it(machine: Machine) -> None:
    model = Part(machine, "cuda:0", kernel_s=0.1)
    hooks = machine.hooks(model)
    monitor = Monitor([machine.power("cuda:0", (0.0, 100.0))], clock=machine.clock)
    with monitor, hooks:
        model()
        close = hooks.open_window("second")
        model()
        close()
        assert machine.clock.now_s() == 0.0
        hooks.synchronize()
    found = layers(finished(hooks, monitor, 0.0, machine.clock.now_s()))
    assert found["second"].time_s == pytest.approx(0.1)
    assert found["second"].energy_j == pytest.approx(10.0)
    assert found[""].energy_j == pytest.approx(20.0)


class Ended(BaseException):
    """What torch runs no hooks for, like KeyboardInterrupt."""


class Raises(Part):
    error: BaseException = ValueError("the user's")

    def forward(self) -> None:
        super().forward()
        raise self.error


def hooked(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("error", [ValueError("the user's"), Ended()])
def test_calls_that_raise_leave_the_others_exact(machine: Machine, error: BaseException) -> None:
    inner = Raises(machine, "cuda:0", kernel_s=0.1)
    inner.error = error
    model = Part(machine, "cuda:0", inner)

    class Catches(Part):
        def forward(self) -> None:
            machine.cuda.launch(0.1)
            with contextlib.suppress(ValueError, Ended):
                super().forward()
            machine.cuda.launch(0.2)

    outer = Catches(machine, "cuda:0", model)
    profile = machine.profile(outer, machine.power("cuda:0", (0.0, 100.0)))
    found = layers(profile)
    assert found[""].energy_j == pytest.approx(40.0)
    # torch calls the hooks of a module that raises an Exception, and of no other.
    ends_seen = isinstance(error, Exception)
    assert found["0.0"].calls == (1 if ends_seen else 0)
    assert found[""].self_energy_j == pytest.approx(30.0 if ends_seen else 40.0)
    assert_adds_up(profile)


def broken(machine: Machine, model: nn.Module, *, users: bool) -> Profile:
    """The device breaks after 0.1 s; a profile of what was measured until then."""
    hooks = machine.hooks(model)
    monitor = Monitor([machine.power("cuda:0", (0.0, 100.0))], clock=machine.clock)
    cuda_error = RuntimeError("CUDA error: an illegal memory access was encountered")
    expected: Exception = ValueError("the user's") if users else cuda_error

    def work() -> None:
        with hooks:
            model()
            machine.clock.advance(0.1)
            machine.cuda.error = cuda_error
            model()
            hooks.synchronize()
            if users:
                raise expected

    with monitor:
        with pytest.raises(type(expected)) as raised:
            work()
        assert raised.value is expected
        machine.clock.advance(0.1)
    assert hooked(model) == []
    return finished(hooks, monitor, 0.0, 0.15)


@pytest.mark.parametrize("users", [True, False])
def test_a_device_that_fails_hides_no_exception_and_nothing_measured(
    machine: Machine, users: bool
) -> None:
    profile = broken(machine, Part(machine, "cuda:0", kernel_s=0.1), users=users)
    assert profile.energy_j == pytest.approx(15.0)
    assert (
        "calls on cuda:0 were timed only until it failed, and what it drew later is outside of the "
        "modules: CUDA error: an illegal memory access was encountered" in profile.notes
    )
    assert_adds_up(profile)


def test_a_device_that_fails_at_the_start_leaves_no_hooks(machine: Machine) -> None:
    model = two_stages(machine)
    machine.cuda.error = RuntimeError("CUDA error: out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        machine.hooks(model).__enter__()
    assert hooked(model) == []


def test_a_copy_made_inside_is_not_measured(machine: Machine) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].home = model.home = "cuda:0"
    x = torch.ones(1, 2)
    hooks = machine.hooks(model)
    with hooks:
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(x), model(x))
    spans = hooks.spans(hooks.devices)
    assert len(spans) == 2 * 3
    assert hooked(model) == []


@pytest.fixture
def nvml() -> Iterator[SimulatedNvml]:
    simulated = SimulatedNvml()
    simulated.reset(devices=2)
    yield simulated
    simulated.reset()


def test_simulated_nvml_sensors_of_two_devices(machine: Machine, nvml: SimulatedNvml) -> None:
    sensors = []
    nvml.set_time(0.0)
    for index, power_w in enumerate((300.0, 125.0)):
        nvml.configure(index, has_counter=0)
        nvml.set_power(power_w, device=index)
        uuid = f"GPU-00000000-0000-0000-0000-{index:012x}"
        core = _core.NvmlSensor(f"nvml:{index}", uuid, "", str(nvml.path))
        sensors.append(OpenSensor(core, f"cuda:{index}"))
    nvml.set_time(10.0)
    profile = machine.profile(two_stages(machine), *sensors)
    assert self_j(profile) == joules(root=0.0, _0=0.0, _0_0=30.0, _1=12.5, _1_0=25.0, _1_1=12.5)
    assert profile.energy_by_sensor == pytest.approx({"nvml:0": 120.0, "nvml:1": 50.0})
    assert_adds_up(profile)
