"""Which of the sensors are read."""

from types import SimpleNamespace

import pytest

import pywatt
from pywatt import ArgumentError, ScriptedClock, SensorError
from pywatt.sensors import nvml
from pywatt.sensors.selection import select


def test_a_value_s_name_opens_its_sensor(gpus):
    (sensor,) = select("nvml:0/energy").sensors
    assert sensor.core.name == "nvml:0"


def test_unknown_names_are_refused_with_a_list_of_the_known(gpus, tmp_path):
    with pytest.raises(ArgumentError, match="'nvml:7' here; those that can be read: nvml:0, cpu"):
        select("nvml:7", sys_root=str(tmp_path))
    with pytest.raises(SensorError, match="'rapl:package-0' cannot be read: no "):
        select("rapl:package-0", sys_root=str(tmp_path))


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


def test_a_zone_that_may_not_be_read_has_a_note(no_gpu, rapl):
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


def test_auto_notes_a_card_that_fails_beside_those_that_work(gpus, rapl):
    gpus.reset(2)
    gpus.configure(1, has_instant=0, has_average=0, has_power_usage=0, has_counter=0)
    chosen = select("auto", sys_root=rapl.root)
    assert "nvml:0" in [sensor.core.name for sensor in chosen.sensors]
    (note,) = chosen.notes
    assert note.startswith("nvml:1 is not covered: ")


def test_auto_notes_a_card_that_fails_if_the_cpu_has_no_meter_either(gpus, tmp_path):
    gpus.reset(2)
    gpus.configure(1, has_instant=0, has_average=0, has_power_usage=0, has_counter=0)
    card, cpu = select("auto", sys_root=str(tmp_path)).notes
    assert card.startswith("nvml:1 is not covered: ")
    assert cpu.startswith("no power meter covers the CPU, whose energy is left out")


def test_a_named_cpu_without_a_meter_is_estimated_beside_a_gpu(gpus, tmp_path, monkeypatch):
    gpus.reset(2)
    second = SimpleNamespace(name="simulated", uuid="00000000-0000-0000-0000-000000000001")
    monkeypatch.setattr(nvml, "_torch_properties", lambda index: second)
    chosen = select("auto", devices=["cpu", "cuda:0"], sys_root=str(tmp_path))
    assert {(s.core.name, s.device) for s in chosen.sensors} == {
        ("nvml:1", "cuda:0"),
        ("cpu:estimated", "cpu"),
    }
    (note,) = chosen.notes
    assert "its energy is estimated" in note


def test_a_device_that_nothing_covers_has_a_note(no_gpu, tmp_path):
    chosen = select("auto", devices=["mps"], sys_root=str(tmp_path))
    assert chosen.sensors == ()
    assert chosen.notes == ("no sensor is known for device mps: its energy is unavailable",)


def test_the_estimate_is_marked_in_what_measure_says(no_gpu, tmp_path):
    with pywatt.measure(sensors="cpu:estimated") as m:
        sum(range(100_000))
    assert m.estimated
    assert str(m).endswith("(estimated: cpu:estimated)")
    assert m.energy_j > 0
    assert any("estimated from CPU time" in note for note in m.notes)
