from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pynvml
import pytest

from fakes.simulated_nvml import SimulatedNvml, environment


@pytest.fixture
def nvml() -> Iterator[SimulatedNvml]:
    simulated = SimulatedNvml()
    simulated.reset()
    yield simulated
    simulated.reset()


def run_python(program: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


NVIDIA_ML_PY = """
import pynvml
pynvml.nvmlInit()
handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
for handle in handles:
    print(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle),
          pynvml.nvmlDeviceGetPciInfo(handle).busId, pynvml.nvmlDeviceGetPowerUsage(handle))
fields = pynvml.nvmlDeviceGetFieldValues(handles[1], [186, (186, 1), 83])
print([field.nvmlReturn for field in fields], fields[0].value.uiVal,
      fields[2].value.ullVal <= pynvml.nvmlDeviceGetTotalEnergyConsumption(handles[1]))
try:
    pynvml.nvmlDeviceGetTemperature(handles[0], pynvml.NVML_TEMPERATURE_GPU)
except pynvml.NVMLError_GpuIsLost as error:
    print(error)
pynvml.nvmlShutdown()
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized as error:
    print(error)
"""
SETTINGS = {"devices": 2, "power_w": 300, "1.gain": 1.05, "0.fail.nvmlDeviceGetTemperature": 15}
SEEN = """\
GPU-00000000-0000-0000-0000-000000000000 Simulated GPU 00000000:01:00.0 300000
GPU-00000000-0000-0000-0000-000000000001 Simulated GPU 00000000:02:00.0 315000
[0, 3, 0] 315000 True
GPU is lost
Uninitialized
"""


def test_nvidia_ml_py_finds_it_through_the_loader() -> None:
    assert run_python(NVIDIA_ML_PY, environment(**SETTINGS)) == SEEN


def test_nvidia_ml_py_finds_it_where_it_was_loaded_before() -> None:
    env = environment(**SETTINGS)
    del env["LD_LIBRARY_PATH"]
    load = "import ctypes, os; library = ctypes.CDLL(os.environ['PYWATT_NVML_LIBRARY'])\n"
    assert run_python(load + NVIDIA_ML_PY, env) == SEEN


def test_settings_that_make_no_sense_end_the_process() -> None:
    program = "import pynvml; pynvml.nvmlInit()"
    for settings in (
        {"devices": "x"},
        {"gian": 1},
        {"1.gain": 1},
        {"power_w": -1},
        {"fail.nvmlX": 9},
    ):
        with pytest.raises(AssertionError, match=r"SIMULATED_NVML: .* makes no sense"):
            run_python(program, environment(**settings))


def test_a_driver_that_is_not_there() -> None:
    program = """
import pynvml
try:
    pynvml.nvmlInit()
except pynvml.NVMLError_DriverNotLoaded as error:
    print(error)
"""
    env = environment(
        **{"devices": 0, "fail.nvmlInitWithFlags": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
    )
    assert run_python(program, env) == "Driver Not Loaded\n"


def test_truth_is_played_and_read_back(nvml: SimulatedNvml) -> None:
    nvml.play([(0.25, 400.0), (0.75, 100.0)], start_s=10.0, repeat=True)
    assert nvml.true_energy_j(9.0, 20.0) == pytest.approx(60 + 10 * 175, rel=1e-12)
    assert (nvml.true_power_w(12.1), nvml.true_power_w(12.9)) == (400.0, 100.0)
    nvml.set_time(12.5)
    nvml.set_power(50.0)
    assert nvml.true_energy_j(12.0, 14.0) == pytest.approx(125 + 75, rel=1e-12)


def test_faults_and_calls(nvml: SimulatedNvml) -> None:
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        nvml.set_time(100.0)
        nvml.configure(gain=1.5, module_power_w=10.0)
        nvml.fail("nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_TIMEOUT, times=1)
        nvml.fail("field:185", pynvml.NVML_ERROR_NO_DATA)
        with pytest.raises(pynvml.NVMLError_Timeout):
            pynvml.nvmlDeviceGetPowerUsage(handle)
        assert pynvml.nvmlDeviceGetPowerUsage(handle) == 90_000
        assert nvml.calls("nvmlDeviceGetPowerUsage") == 2
        fields = pynvml.nvmlDeviceGetFieldValues(handle, [185, 186, (186, 1)])
        assert [field.nvmlReturn for field in fields] == [pynvml.NVML_ERROR_NO_DATA, 0, 0]
        assert [field.value.uiVal for field in fields[1:]] == [90_000, 100_000]
    finally:
        pynvml.nvmlShutdown()


def test_what_makes_no_sense_is_refused(nvml: SimulatedNvml) -> None:
    with pytest.raises(ValueError, match=r"configure\(0, b'gian', 2.0\)"):
        nvml.configure(gian=2.0)
    with pytest.raises(ValueError, match="play"):
        nvml.play([(0.0, 1.0)], start_s=0.0)
    with pytest.raises(ValueError, match="fail"):
        nvml.fail("nvmlDeviceGetPower", 1)
    with pytest.raises(ValueError, match="nvmlDeviceGetPower"):
        nvml.calls("nvmlDeviceGetPower")
