"""Models with parts on simulated CUDA devices, from the hooks to the finished profile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.cuda_machine import (
    Machine,
    Part,
    finished,
    joules,
    layers,
    self_j,
    two_stages,
)
from fakes.models import assert_adds_up
from fakes.simulated_nvml import SimulatedNvml

from pywatt import _core
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.info import OpenSensor


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
