"""Which sensors are found, and what is missing."""

import pytest
from fakes.simulated_nvml import SimulatedNvml

import pywatt
from pywatt import ArgumentError, NvmlError, SensorError
from pywatt._core import NvmlSensor
from pywatt.sensors.discovery import discover, estimated_cpu
from pywatt.sensors.nvml import MIG_NOTE
from pywatt.sensors.selection import select

GPU_IS_LOST = 15


def by_name(infos):
    return {info.name: info for info in infos}


def test_the_software_estimate_is_always_there_and_marked(no_gpu, tmp_path):
    (info,) = pywatt.sensors(sys_root=str(tmp_path))
    assert (info.name, info.kind, info.domain, info.device) == (
        "cpu:estimated",
        "counter",
        "package",
        "cpu",
    )
    assert info.estimated
    assert info.origin == "estimated"
    assert info.note.startswith("+/- 45 %, estimated from CPU time: ")
    assert info.reading_cost_s > 0


def test_what_was_looked_for_and_not_found_has_a_reason(no_gpu, tmp_path):
    missing = {entry.name: entry.reason for entry in discover(sys_root=str(tmp_path)).missing}
    assert "no GPU" in missing["nvml"]
    assert f"{tmp_path}/class/powercap/intel-rapl" in missing["rapl"]


def test_no_driver_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PYWATT_NVML_LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    missing = {entry.name: entry.reason for entry in discover(sys_root=str(tmp_path)).missing}
    assert str(tmp_path) in missing["nvml"]
    assert "nvidia-smi must work" in missing["nvml"]


def test_each_gpu_has_power_and_an_energy_counter(gpus: SimulatedNvml, tmp_path):
    gpus.reset(2)
    gpus.configure(1, module_power_w=40.0)
    infos = by_name(pywatt.sensors(sys_root=str(tmp_path)))
    assert list(infos) == [
        "nvml:0",
        "nvml:0/energy",
        "nvml:1",
        "nvml:1/energy",
        "nvml:1/module",
        "cpu:estimated",
    ]
    power, counter = infos["nvml:0"], infos["nvml:0/energy"]
    assert (power.kind, power.unit, power.domain, power.device) == ("power", "W", "gpu", "cuda:0")
    assert (counter.kind, counter.unit, counter.source) == ("counter", "J", "nvml:0")
    assert power.resolution == counter.resolution == 0.001
    assert not power.estimated
    assert power.reading_cost_s > 0
    assert (infos["nvml:1"].device, infos["nvml:1"].contained_in) == ("cuda:1", "nvml:1/module")
    assert infos["nvml:1/module"].domain == "module"


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("1,0", {"nvml:0": "cuda:1", "nvml:1": "cuda:0"}),
        ("1", {"nvml:0": None, "nvml:1": "cuda:0"}),
        ("", {"nvml:0": None, "nvml:1": None}),
        (
            "GPU-00000000-0000-0000-0000-000000000001",
            {"nvml:0": None, "nvml:1": "cuda:0"},
        ),
    ],
)
def test_a_gpu_has_the_torch_device_that_cuda_would_give_it(gpus, monkeypatch, visible, devices):
    gpus.reset(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    infos = by_name(pywatt.sensors())
    assert {name: infos[name].device for name in devices} == devices


def test_a_card_that_is_split_up_carries_the_caveat(gpus):
    gpus.configure(mig=2)
    infos = by_name(pywatt.sensors())
    assert infos["nvml:0"].note == infos["nvml:0/energy"].note == MIG_NOTE


def test_reading_a_slow_driver_costs_what_it_costs(gpus):
    gpus.configure(call_latency_s=0.002)
    assert 0.002 <= by_name(pywatt.sensors())["nvml:0"].reading_cost_s < 0.02


def test_a_path_that_is_no_text_is_an_error_of_ours(gpus):
    with pytest.raises(NvmlError, match="could not be opened"):
        NvmlSensor("nvml:0", "GPU-0", library_path=b"/tmp/\xff/libnvidia-ml.so.1")


def test_a_gpu_without_any_meter_is_missing_with_the_reason(gpus):
    gpus.reset(2)
    gpus.configure(1, has_instant=0, has_average=0, has_power_usage=0, has_counter=0)
    discovery = discover()
    assert "nvml:0" in discovery.names()
    (entry,) = [entry for entry in discovery.missing if entry.name == "nvml:1"]
    assert "neither power nor energy" in entry.reason
    with pytest.raises(SensorError, match=r"'nvml:1' cannot be read: .*neither power nor energy"):
        pywatt.measure(sensors="nvml:1")


def test_rapl_zones_are_found_below_another_root(no_gpu, rapl):
    infos = by_name(pywatt.sensors(sys_root=rapl.root))
    assert set(infos) == {
        "rapl:package-0",
        "rapl:package-0/core",
        "rapl:package-0/dram",
        "rapl:package-1",
        "rapl:psys",
        "cpu:estimated",
    }
    assert infos["rapl:package-0/core"].contained_in == "rapl:package-0"
    assert {info.kind for info in infos.values()} == {"counter"}
    assert not any(info.estimated for name, info in infos.items() if name != "cpu:estimated")


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_card_that_cannot_be_queried_is_reported(gpus, tmp_path, function):
    gpus.reset(2)
    gpus.fail(function, GPU_IS_LOST, device=1)
    (entry,) = [e for e in discover(sys_root=str(tmp_path)).missing if e.name.startswith("nvml")]
    assert (entry.name, "GPU is lost" in entry.reason) == ("nvml:1", True)
    assert select("auto", sys_root=str(tmp_path)).notes[0].startswith("nvml:1 is not covered: ")
    gpus.fail(function, GPU_IS_LOST, device=0)
    notes = select("auto", sys_root=str(tmp_path)).notes
    assert [note[:6] for note in notes[:2]] == ["nvml:0", "nvml:1"]
    with pytest.raises(SensorError, match=r"'nvml:0' cannot be read: .*GPU is lost"):
        select("nvml:0")


def test_full_load_power_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("PYWATT_CPU_TDP_W", "120")
    assert estimated_cpu().model.full_w == 120.0
    assert "120 W with all" in by_name(pywatt.sensors())["cpu:estimated"].note
    assert estimated_cpu(tdp_w=50.0).model.full_w == 50.0  # an argument goes before it


@pytest.mark.parametrize("text", ["many", "-5", "0", "nan", "inf", "65 W"])
def test_a_full_load_power_that_makes_no_sense_is_reported(no_gpu, monkeypatch, tmp_path, text):
    monkeypatch.setenv("PYWATT_CPU_TDP_W", text)
    (entry,) = [e for e in discover().missing if e.name == "cpu:estimated"]
    assert "PYWATT_CPU_TDP_W" in entry.reason
    with pytest.raises(SensorError, match="PYWATT_CPU_TDP_W"):
        pywatt.measure(sensors="cpu:estimated")
    with pytest.raises(ArgumentError, match="PYWATT_CPU_TDP_W"):
        select("auto", sys_root=str(tmp_path))


def test_an_idle_power_above_full_load_is_refused():
    with pytest.raises(ArgumentError):
        estimated_cpu(tdp_w=10.0, idle_w=20.0)
