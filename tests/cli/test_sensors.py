"""The command `pywatt sensors`."""

import json

import pytest
from fakes.command_line import pywatt


def fake_rapl(root):
    zone = root / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("5000000\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (root / "class/powercap/intel-rapl:1").mkdir()
    (root / "class/powercap/intel-rapl:1/name").write_text("package-1\n")
    return str(root)


def test_sensors_lists_what_was_found_and_what_was_not(tmp_path):
    root = fake_rapl(tmp_path / "sys")
    listed = pywatt("sensors", "--sys-root", root)
    assert listed.returncode == 0
    table, _, missing = listed.stdout.partition("Looked for and not found")
    rapl = next(line for line in table.splitlines() if line.startswith("rapl:package-0 "))
    assert rapl.split()[1:7] == ["counter", "package", "cpu", "measured", "1", "µJ"]
    estimated = next(line for line in table.splitlines() if line.startswith("cpu:estimated "))
    assert estimated.split()[1:5] == ["counter", "package", "cpu", "estimated"]
    assert "rapl:package-1" in missing
    assert "nvml" in missing


def test_sensors_as_json(tmp_path):
    listed = json.loads(
        pywatt("sensors", "--json", "--sys-root", fake_rapl(tmp_path / "sys")).stdout
    )
    by_name = {sensor["name"]: sensor for sensor in listed["sensors"]}
    assert by_name.keys() == {"rapl:package-0", "cpu:estimated"}
    assert by_name["rapl:package-0"]["origin"] == "measured"
    assert by_name["cpu:estimated"]["estimated"] is True
    assert 0 < by_name["cpu:estimated"]["reading_cost_s"] < 0.1
    assert {entry["name"] for entry in listed["missing"]} == {"rapl:package-1", "nvml"}
    assert all(entry["reason"] for entry in listed["missing"])


@pytest.mark.parametrize("width", [80, 120])
def test_sensors_fits_the_terminal(width):
    shown = pywatt("sensors", COLUMNS=str(width)).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "cpu:estimated" in shown
