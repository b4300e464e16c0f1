"""Sources, which of them are added, and the energy of a window."""

import numpy as np
import pytest
from fakes.traces import of_sensor

from pywatt.metering.energies import SpanEnergy, WindowEnergy
from pywatt.metering.source import Source, energy_by_sensor, sources_of, total_energy, window_energy
from pywatt.sampling.trace import Trace
from pywatt.sensors.info import SensorInfo


def test_span_energies_are_added_up():
    one = SpanEnergy.single("w", 2.0, WindowEnergy(50.0, 1.0))
    both = one.plus(SpanEnergy.single("w", 3.0, WindowEnergy(100.0, 2.0)))
    assert both == SpanEnergy("w", 2, 5.0, 150.0, 3.0)
    assert both.power_w == 30.0
    assert both.plus(SpanEnergy.single("w", 1.0, None)) == SpanEnergy("w", 3, 6.0, None, None)


@pytest.mark.parametrize("kind", ["power", "counter"])
@pytest.mark.parametrize(
    ("start_s", "end_s", "energy_j"),
    [(0.0, 10.0, 1000.0), (2.05, 7.55, 550.0), (3.0, 3.0, 0.0), (-0.25, 10.25, 1050.0)],
)
def test_the_energy_of_a_window(kind, start_s, end_s, energy_j):
    """A few readings may be missing at the edges: there the mean power goes on."""
    energy = window_energy(Source.of(of_sensor("x", kind)), start_s, end_s)
    assert energy.energy_j == pytest.approx(energy_j, abs=1e-9)
    assert energy.energy_j_std == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("start_s", "end_s"), [(-0.6, 5.0), (5.0, 10.6), (20.0, 21.0)])
def test_a_window_that_was_not_read_has_no_energy(start_s, end_s):
    assert window_energy(Source.of(of_sensor("x")), start_s, end_s) is None


def test_a_counter_comes_before_the_power():
    power, counter = of_sensor("x", power_w=90.0), of_sensor("x/energy", "counter")
    source = Source("x", power, counter)
    assert window_energy(source, 0.0, 10.0).energy_j == pytest.approx(1000.0)
    assert source.info.name == "x/energy"
    assert window_energy(Source("x", power), 0.0, 10.0).energy_j == pytest.approx(900.0)


def test_two_readings_of_a_counter_do_not_show_when_the_energy_flowed():
    counter = Trace(time_s=[0.0, 3e-3], energy_j=[0.0, 0.03])
    energy = window_energy(Source.of(counter), 1e-3, 2e-3)
    assert energy.energy_j == pytest.approx(0.01)
    assert energy.energy_j_std == pytest.approx(np.sqrt(2) * 0.03 / 6)


def test_the_resolution_of_a_counter_is_in_its_std():
    trace = of_sensor("x", "counter", resolution=6.0)
    std_j = window_energy(Source.of(trace), 0.0, 10.0).energy_j_std
    assert std_j == pytest.approx(6.0 / np.sqrt(6.0))


def test_a_sum_is_known_where_all_its_parts_are():
    both = [Source.of(of_sensor("x")), Source.of(of_sensor("y", power_w=50.0))]
    assert total_energy(both, 0.0, 10.0).energy_j == pytest.approx(1500.0)
    lost = Source.of(Trace(time_s=[0, 1], power_w=[5, 5]))
    assert total_energy([*both, lost], 0.0, 10.0) is None
    assert total_energy([], 0.0, 10.0) is None


def test_energies_by_sensor_are_each_its_own():
    traces = {"x": of_sensor("x"), "y": Trace(time_s=[0, 1], power_w=[5, 5])}
    infos = [SensorInfo("x"), SensorInfo("y"), SensorInfo("silent")]
    energies = energy_by_sensor(traces, infos, 0.0, 10.0)
    assert energies == {"x": pytest.approx(1000.0), "y": None, "silent": None}


def sources(*traces):
    by_name = {trace.sensor.name: trace for trace in traces}
    found = sources_of(by_name, [trace.sensor for trace in traces])
    return [(source.name, [trace.sensor.name for trace in source.traces]) for source in found]


def test_power_and_counter_of_a_card_are_one_source():
    assert sources(
        of_sensor("nvml:0", domain="gpu", source="nvml:0"),
        of_sensor("nvml:0/energy", "counter", "gpu", source="nvml:0"),
        of_sensor("nvml:1", domain="gpu", source="nvml:1"),
    ) == [("nvml:0", ["nvml:0/energy", "nvml:0"]), ("nvml:1", ["nvml:1"])]


def rapl(zone, domain, contained_in=""):
    name = f"rapl:{zone}"
    return of_sensor(name, "counter", domain, source=name, contained_in=contained_in)


def test_what_lies_inside_another_is_not_added():
    found = sources(
        rapl("package-0", "package"),
        rapl("package-0/core", "core", "rapl:package-0"),
        rapl("package-0/dram", "dram"),
        rapl("package-1", "package"),
        rapl("psys", "psys"),
    )
    assert [name for name, _ in found] == [
        "rapl:package-0",
        "rapl:package-0/dram",
        "rapl:package-1",
    ]


def test_another_domain_alone_is_the_total():
    assert sources(rapl("psys", "psys")) == [("rapl:psys", ["rapl:psys"])]


def test_dram_inside_its_package_is_not_added():
    found = sources(rapl("package-0", "package"), rapl("dram", "dram", "rapl:package-0"))
    assert [name for name, _ in found] == ["rapl:package-0"]
