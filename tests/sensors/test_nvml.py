import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.simulated_nvml import library_path

from pywatt.errors import NvmlError, SensorError
from pywatt.sensors import nvml
from pywatt.sensors.nvml import MIG_NOTE, NvmlDevice, device_of_torch, visible_devices


def card(index, *, bus=None, name="H100", mig=(), uuid=None):
    return NvmlDevice(
        index=index,
        uuid=uuid or f"GPU-{index}aaaaaaa-0000-0000-0000-000000000000",
        pci_bus_id=f"00000000:{bus if bus is not None else index + 1:02X}:00.0",
        name=name,
        architecture="Hopper",
        power_limit_w=700.0,
        driver="580.00.00",
        mig=tuple(mig),
    )


THREE = (card(0), card(1), card(2))
UNLIKE = (card(0, name="T400"), card(1, name="H100"))
MIG_A = "MIG-a0000000-0000-0000-0000-000000000000"
MIG_B = "MIG-b0000000-0000-0000-0000-000000000000"
SPLIT = (card(0), card(1, mig=(MIG_A, MIG_B)))


def indices(wanted, devices=THREE, **environ):
    if wanted is not None:
        environ["CUDA_VISIBLE_DEVICES"] = wanted
    return [visible.device.index for visible in visible_devices(environ, devices)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("1gpu2,2ampere", [1, 2]),
        ("+1", [1]),
        ("0,-1,1", [0]),
        ("-1", []),
        ("0,3,1", [0]),
        ("0,,1", [0]),
        ("NoDevFiles", []),
        ("0,0", []),
        ("0,-1,0", [0]),
        ("GPU-1aaaaaaa-0000-0000-0000-000000000000", [1]),
        ("GPU-2a,GPU-0", [2, 0]),
        ("GPU-1,GPU-9,GPU-0", [1]),
        ("GPU-", []),
        ("GPU-1,GPU-1a", []),
        ("GPU-1,0", [1]),
        ("0,GPU-1", [0]),
        ("MIG-a", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(wanted, expected):
    assert indices(wanted) == expected


def test_an_ambiguous_beginning_of_a_uuid_ends_the_list():
    twins = (card(0), card(1, uuid="GPU-ab111111-"), card(2, uuid="GPU-ab222222-"))
    assert indices("GPU-0,GPU-ab,GPU-ab2", twins) == [0]
    assert indices("GPU-ab2", twins) == [2]


def test_integers_count_in_the_order_of_bus_ids_whatever_nvml_s_order_is():
    crossed = (card(0, bus=0xC1), card(1, bus=0x0B), card(2, bus=0x41))
    assert indices(None, crossed) == [1, 2, 0]
    assert indices("0,2", crossed, CUDA_DEVICE_ORDER="PCI_BUS_ID") == [1, 0]


@pytest.mark.parametrize(
    ("environ", "devices", "certain"),
    [
        ({}, THREE, True),
        ({}, UNLIKE[:1], True),
        ({}, UNLIKE, False),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, UNLIKE, False),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, UNLIKE, True),
        ({"CUDA_VISIBLE_DEVICES": "1"}, UNLIKE, False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1"}, UNLIKE, True),
    ],
)
def test_an_index_among_unlike_gpus_is_certain_only_in_bus_order(environ, devices, certain):
    for visible in visible_devices(environ, devices):
        assert visible.certain is certain
        assert ("CUDA_DEVICE_ORDER=PCI_BUS_ID" in visible.note) is not certain


@pytest.mark.parametrize(
    ("wanted", "instance"),
    [
        (MIG_B, MIG_B),
        ("MIG-b", MIG_B),
        (f"{MIG_B},{MIG_A}", MIG_B),
        ("1", MIG_A),
        ("GPU-1", MIG_A),
        ("0,1", MIG_A),
        (None, MIG_A),
        (f"MIG-{SPLIT[1].uuid}/2/0", f"MIG-{SPLIT[1].uuid}/2/0"),
    ],
)
def test_cuda_sees_one_mig_instance_and_no_other_device(wanted, instance):
    environ = {} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted}
    (visible,) = visible_devices(environ, SPLIT)
    assert visible.device.index == 1
    assert visible.mig == instance
    assert visible.note == MIG_NOTE


def test_a_whole_card_beside_a_split_one_is_whole():
    (visible,) = visible_devices({"CUDA_VISIBLE_DEVICES": "0"}, SPLIT)
    assert (visible.device.index, visible.mig, visible.note) == (0, None, "")
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "MIG-c"}, SPLIT) == ()
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "MIG-GPU-9/1/0"}, SPLIT) == ()


def properties(**given):
    return SimpleNamespace(name="H100", **given)


def test_torch_s_device_is_found_by_uuid_before_its_place():
    given = properties(
        uuid="1aaaaaaa-0000-0000-0000-000000000000", pci_domain_id=0, pci_bus_id=1, pci_device_id=0
    )
    assert device_of_torch(0, properties=given, devices=THREE) == (THREE[1].uuid, "")
    upper = properties(uuid="1AAAAAAA-0000-0000-0000-000000000000")
    assert device_of_torch(0, properties=upper, devices=THREE) == (THREE[1].uuid, "")


def test_torch_s_mig_instance_is_opened_by_its_own_uuid():
    given = properties(uuid=MIG_B.removeprefix("MIG-"))
    assert device_of_torch(0, properties=given, devices=SPLIT) == (MIG_B, MIG_NOTE)
    whole = properties(uuid=SPLIT[1].uuid.removeprefix("GPU-"))
    assert device_of_torch(0, properties=whole, devices=SPLIT) == (SPLIT[1].uuid, MIG_NOTE)


def test_without_a_uuid_torch_s_device_is_found_by_its_place():
    given = properties(pci_domain_id=0, pci_bus_id=0xC1, pci_device_id=0)
    crossed = (card(0, bus=0x0B), card(1, bus=0xC1, mig=(MIG_A,)))
    assert device_of_torch(5, properties=given, devices=crossed) == (
        "00000000:C1:00.0",
        MIG_NOTE,
    )


@pytest.mark.parametrize(
    "given",
    [
        properties(uuid="9aaaaaaa-0000-0000-0000-000000000000"),
        properties(),
        properties(pci_domain_id=1, pci_bus_id=1, pci_device_id=0),
    ],
)
def test_a_device_that_nvml_does_not_list_is_an_error(given):
    with pytest.raises(NvmlError, match=r"cuda:0 \(H100\)"):
        device_of_torch(0, properties=given, devices=THREE)


def test_a_device_that_torch_does_not_have_is_an_error():
    with pytest.raises(NvmlError, match="torch has no device cuda:99"):
        device_of_torch(99, devices=THREE)


LIST_DEVICES = """
import dataclasses, json
from pywatt.sensors import nvml
from pywatt.errors import PywattError
try:
    print(json.dumps([dataclasses.asdict(device) for device in nvml.devices()]))
except PywattError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def listed(simulated, library=None):
    """What devices() gives in a process with that simulation: NVML is one per process."""
    library = library or str(library_path())
    environ = dict(os.environ, PYWATT_NVML_LIBRARY=library, SIMULATED_NVML=simulated)
    environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(nvml.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    )
    done = subprocess.run(
        [sys.executable, "-c", LIST_DEVICES],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_devices_are_described_through_nvidia_ml_py():
    first, second = listed("devices=2;1.mig=2")
    assert first == {
        "index": 0,
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "pci_bus_id": "00000000:01:00.0",
        "name": "Simulated GPU",
        "architecture": "Hopper",
        "power_limit_w": 700.0,
        "driver": "580.00.00",
        "mig": [],
    }
    assert second["pci_bus_id"] == "00000000:02:00.0"
    assert second["mig"] == [
        "MIG-00000000-0000-0000-0001-000000000000",
        "MIG-00000000-0000-0000-0001-000000000001",
    ]


def test_a_machine_without_gpus_has_none():
    assert listed("devices=0") == []


def test_what_a_card_does_not_say_is_none():
    (device,) = listed(
        "devices=1;fail.nvmlDeviceGetEnforcedPowerLimit=3;fail.nvmlDeviceGetArchitecture=3;"
        "fail.nvmlSystemGetDriverVersion=999"
    )
    assert (device["power_limit_w"], device["architecture"], device["driver"]) == (None,) * 3


def test_a_lost_card_is_left_out_unless_it_is_the_only_one():
    lost = "0.fail.nvmlDeviceGetHandleByIndex_v2=15"
    assert [device["index"] for device in listed(f"devices=2;{lost}")] == [1]
    kind, message = listed(f"devices=1;{lost}")
    assert kind == "NvmlError"
    assert "GPU 0: GPU is lost" in message


@pytest.mark.parametrize("code", [4, 9, 12, 18, 999])
def test_a_driver_that_does_not_start_is_unavailable(code):
    kind, message = listed(f"fail.nvmlInitWithFlags={code}")
    assert kind == "NvmlUnavailable"
    assert "nvidia-smi must work" in message


def test_a_failure_while_listing_is_an_nvml_error():
    kind, _ = listed("fail.nvmlDeviceGetCount_v2=999")
    assert kind == "NvmlError"


def test_a_library_that_is_not_there_is_unavailable():
    kind, message = listed("", library="/nowhere/libnvidia-ml.so.1")
    assert kind == "NvmlUnavailable"
    assert "/nowhere/libnvidia-ml.so.1" in message
    assert "PYWATT_NVML_LIBRARY" in message


@pytest.mark.parametrize("library", [b"/tmp/\xff/libnvidia-ml.so.1", b"libm.so.6"])
def test_what_is_given_and_is_no_nvml_is_named(library):
    kind, message = listed("", library=os.fsdecode(library))
    assert kind == "NvmlUnavailable"
    assert f"PYWATT_NVML_LIBRARY is {os.fsdecode(library)!r}" in message


def test_unavailable_is_a_sensor_error():
    assert issubclass(nvml.NvmlUnavailable, NvmlError)
    assert issubclass(NvmlError, SensorError)


def test_importing_the_module_imports_neither_torch_nor_pynvml():
    code = "import sys, pywatt.sensors.nvml; print(*sys.modules)"
    environ = dict(os.environ, PYTHONPATH=str(Path(nvml.__file__).parents[2]))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert not {"torch", "pynvml"} & set(done.stdout.split())
