from types import SimpleNamespace

import pytest
from simulated_nvml import SimulatedNvml

import pywatt
from pywatt import ArgumentError, NvmlError, ScriptedClock, SensorError
from pywatt._core import NvmlSensor
from pywatt.sensors.discovery import discover, estimated_cpu, select
from pywatt.sensors.nvml import MIG_NOTE

COUNTER_RANGE_UJ = 1 << 40
GPU_IS_LOST = 15


@pytest.fixture
def no_gpu(gpus):
    """The simulated driver runs and sees no card."""
    gpus.reset(0)
    return gpus


@pytest.fixture
def rapl(tmp_path):
    """A /sys with two sockets and psys; `set(zone, microjoules)` moves a counter."""
    return FakeRapl(tmp_path)


class FakeRapl:
    """Zones of powercap in a folder."""

    def __init__(self, root):
        self.root = str(root)
        self._powercap = root / "class" / "powercap"
        for zone, name in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
        ):
            self.add(zone, name)

    def add(self, zone, name):
        folder = self._powercap / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{COUNTER_RANGE_UJ}\n")
        self.set(zone, 0)

    def set(self, zone, energy_uj):
        (self._powercap / zone / "energy_uj").write_text(f"{energy_uj}\n")

    def remove(self, zone):
        (self._powercap / zone / "energy_uj").unlink()


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
    assert info.note.startswith("estimated from CPU time, not measured")
    assert info.reading_cost_s > 0


def test_what_was_looked_for_and_not_found_is_told_with_the_reason(no_gpu, tmp_path):
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


def test_a_value_s_name_opens_its_sensor(gpus):
    (sensor,) = select("nvml:0/energy").sensors
    assert sensor.core.name == "nvml:0"


def test_names_that_are_not_here_are_told_with_those_that_are(gpus, tmp_path):
    with pytest.raises(ArgumentError, match="'nvml:7' here; those that can be read: nvml:0, cpu"):
        select("nvml:7", sys_root=str(tmp_path))
    with pytest.raises(SensorError, match="'rapl:package-0' cannot be read: no "):
        select("rapl:package-0", sys_root=str(tmp_path))


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


def test_rapl_s_total_is_packages_and_memory(no_gpu, rapl):
    """Core lies inside its package, and psys around all of them."""
    clock = ScriptedClock()
    chosen = select("auto", sys_root=rapl.root)
    assert chosen.notes == ()
    with pywatt.measure(sensors=[sensor.core for sensor in chosen.sensors], clock=clock) as m:
        clock.advance(1.0)
        for i, zone in enumerate(("0", "0:0", "0:1", "1", "2")):
            rapl.set(f"intel-rapl:{zone}", 10**i * 1_000_000)
        clock.advance(1.0)
    assert m.energy_by_sensor == pytest.approx(
        {
            "rapl:package-0": 1.0,
            "rapl:package-0/core": 10.0,
            "rapl:package-0/dram": 100.0,
            "rapl:package-1": 1000.0,
            "rapl:psys": 10000.0,
        }
    )
    assert m.energy_j == pytest.approx(1101.0)
    assert not m.estimated


def test_a_zone_that_may_not_be_read_is_told(no_gpu, rapl):
    rapl.remove("intel-rapl:0:1")
    chosen = select("auto", sys_root=rapl.root)
    assert "rapl:package-0/dram" not in [sensor.core.name for sensor in chosen.sensors]
    (note,) = chosen.notes
    assert note.startswith("rapl:package-0/dram is not covered: ")
    with pytest.raises(SensorError, match="'rapl:package-0/dram' cannot be read"):
        select("rapl:package-0/dram", sys_root=rapl.root)


def test_auto_without_any_meter_estimates_the_cpu_and_says_so(no_gpu, tmp_path):
    chosen = select("auto", sys_root=str(tmp_path))
    assert [sensor.core.name for sensor in chosen.sensors] == ["cpu:estimated"]
    (note,) = chosen.notes
    assert note.startswith("no power meter covers the CPU, so its energy is estimated: ")


def test_auto_with_gpus_only_adds_no_estimate_and_says_what_is_left_out(gpus, tmp_path):
    gpus.reset(2)
    chosen = select("auto", sys_root=str(tmp_path))
    assert [sensor.core.name for sensor in chosen.sensors] == ["nvml:0", "nvml:1"]
    (note,) = chosen.notes
    assert note.startswith(
        "no power meter covers the CPU, whose energy is left out ('pywatt sensors'"
    )
    assert note.endswith("sensors=['nvml:0', 'nvml:1', 'cpu:estimated']")


def test_auto_tells_of_a_card_that_fails_beside_those_that_work(gpus, rapl):
    gpus.reset(2)
    gpus.configure(1, has_instant=0, has_average=0, has_power_usage=0, has_counter=0)
    chosen = select("auto", sys_root=rapl.root)
    assert "nvml:0" in [sensor.core.name for sensor in chosen.sensors]
    (note,) = chosen.notes
    assert note.startswith("nvml:1 is not covered: ")


def test_auto_tells_of_a_card_that_fails_where_the_cpu_has_no_meter_either(gpus, tmp_path):
    gpus.reset(2)
    gpus.configure(1, has_instant=0, has_average=0, has_power_usage=0, has_counter=0)
    card, cpu = select("auto", sys_root=str(tmp_path)).notes
    assert card.startswith("nvml:1 is not covered: ")
    assert cpu.startswith("no power meter covers the CPU, whose energy is left out")


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_card_that_cannot_even_be_asked_is_told(gpus, tmp_path, function):
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


def test_a_named_cpu_without_a_meter_is_estimated_beside_a_gpu(gpus, tmp_path, monkeypatch):
    gpus.reset(2)
    second = SimpleNamespace(name="simulated", uuid="00000000-0000-0000-0000-000000000001")
    monkeypatch.setattr("pywatt.sensors.nvml._torch_properties", lambda index: second)
    chosen = select("auto", devices=["cpu", "cuda:0"], sys_root=str(tmp_path))
    assert {(s.core.name, s.device) for s in chosen.sensors} == {
        ("nvml:1", "cuda:0"),
        ("cpu:estimated", "cpu"),
    }
    (note,) = chosen.notes
    assert "its energy is estimated" in note


def test_a_device_that_nothing_covers_is_told(no_gpu, tmp_path):
    chosen = select("auto", devices=["mps"], sys_root=str(tmp_path))
    assert chosen.sensors == ()
    assert chosen.notes == ("no sensor is known for device mps: its energy is unavailable",)


def test_full_load_power_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("PYWATT_CPU_TDP_W", "120")
    assert estimated_cpu().model.full_w == 120.0
    assert "120 W with all" in by_name(pywatt.sensors())["cpu:estimated"].note
    assert estimated_cpu(tdp_w=50.0).model.full_w == 50.0  # an argument goes before it


@pytest.mark.parametrize("text", ["many", "-5", "0", "nan", "inf", "65 W"])
def test_a_full_load_power_that_makes_no_sense_is_told(no_gpu, monkeypatch, tmp_path, text):
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


def test_the_estimate_is_marked_in_what_measure_says(no_gpu, tmp_path):
    with pywatt.measure(sensors="cpu:estimated") as m:
        sum(range(100_000))
    assert m.estimated
    assert str(m).endswith("(estimated: cpu:estimated)")
    assert m.energy_j > 0
    assert any("not measured" in note for note in m.notes)
