"""The NVIDIA GPUs of this machine, and which of them a CUDA or torch index means.

NVML's numbering is not CUDA's, so GPUs are matched by UUID or PCI bus id. Readings are taken by the
native sensor, not here.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pywatt.errors import NvmlError

__all__ = [
    "MIG_NOTE",
    "NvmlDevice",
    "NvmlUnavailable",
    "VisibleDevice",
    "device_of_torch",
    "devices",
    "devices_and_refusals",
    "query",
    "session",
    "visible_devices",
]

MIG_NOTE = "power of the whole card, not of the MIG instance"

_ORDER_NOTE = (
    "CUDA numbers unlike GPUs fastest first, which NVML does not know: set "
    "CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPUs by UUID in CUDA_VISIBLE_DEVICES"
)
_REMEDY = (
    "Install or load the NVIDIA driver (nvidia-smi must work), start a container with its GPUs "
    "(docker run --gpus all), or set PYWATT_NVML_LIBRARY to the path of libnvidia-ml.so.1."
)
_LIBRARY_VARIABLE = "PYWATT_NVML_LIBRARY"
_WSL_LIBRARY = "/usr/lib/wsl/lib/libnvidia-ml.so.1"


class NvmlUnavailable(NvmlError):  # noqa: N818  (a state of the machine)
    """There is no NVIDIA driver that can be queried."""


@dataclass(frozen=True, slots=True)
class NvmlDevice:
    """One NVIDIA card, as described by its driver."""

    index: int  #: NVML's own, the number in "nvml:<index>"
    uuid: str  #: "GPU-..."
    pci_bus_id: str  #: "00000000:01:00.0"
    name: str
    architecture: str | None  #: "Hopper"
    power_limit_w: float | None  #: the limit in force
    driver: str | None
    mig: tuple[str, ...]  #: UUIDs of its MIG instances


@dataclass(frozen=True, slots=True)
class VisibleDevice:
    """What CUDA would enumerate at one index."""

    device: NvmlDevice
    mig: str | None = None  #: the MIG instance, where it is one
    certain: bool = True  #: False: the index may be another of the cards; `note` says why
    note: str = ""


def devices() -> tuple[NvmlDevice, ...]:
    """Return all cards of this machine, in NVML's order.

    A card that cannot be queried (lost, or not permitted) is left out.

    Raises:
        NvmlUnavailable: no library or no driver.
        NvmlError: there are cards, and none of them can be queried.
    """
    found, refusals = devices_and_refusals()
    if refusals and not found:
        reasons = "; ".join(f"GPU {index}: {reason}" for index, reason in refusals.items())
        raise NvmlError(f"No NVIDIA GPU can be queried ({reasons}). {_REMEDY}")
    return found


def devices_and_refusals() -> tuple[tuple[NvmlDevice, ...], dict[int, str]]:
    """Return the cards that can be queried, in NVML's order, and by index why others cannot.

    Raises:
        NvmlUnavailable: no library or no driver.
        NvmlError: the driver does not report the number of cards.
    """
    with session() as nvml:
        driver = query(nvml, nvml.nvmlSystemGetDriverVersion)
        found: list[NvmlDevice] = []
        refusals: dict[int, str] = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                found.append(_describe(nvml, index, driver))
            except nvml.NVMLError as error:
                refusals[index] = str(error)
    return tuple(found), refusals


_find_devices = devices  # for functions with an argument of that name


def visible_devices(
    environ: Mapping[str, str] = os.environ, devices: Sequence[NvmlDevice] | None = None
) -> tuple[VisibleDevice, ...]:
    """Return what CUDA would enumerate, in its order, without calling CUDA.

    Follows CUDA_VISIBLE_DEVICES (indices, UUIDs or unambiguous beginnings of them, MIG instances;
    the first invalid entry ends the list, an entry given twice empties it) and
    CUDA_DEVICE_ORDER. Where a MIG instance is visible, CUDA enumerates only the first one.

    Args:
        environ: the environment of the process.
        devices: what NVML lists; queried if None.

    Raises:
        NvmlUnavailable: `devices` is None and there is no driver.
    """
    found = _find_devices() if devices is None else devices
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        chosen = _in_cuda_order(found, environ)
    elif wanted.startswith(("GPU-", "MIG-")):
        chosen = _choose(wanted, lambda entry: _by_uuid(entry, wanted[:4], found))
    else:
        ordered = _in_cuda_order(found, environ)
        chosen = _choose(wanted, lambda entry: _by_index(entry, ordered))
    first_mig = next((visible for visible in chosen if visible.mig is not None), None)
    return tuple(chosen) if first_mig is None else (first_mig,)


def device_of_torch(
    index: int,
    *,
    properties: Any | None = None,
    devices: Sequence[NvmlDevice] | None = None,
) -> tuple[str, str]:
    """Return what to open for torch's "cuda:<index>" (a UUID or PCI bus id), and a caveat or "".

    Args:
        index: torch's device index.
        properties: torch.cuda.get_device_properties(index); queried if None.
        devices: what NVML lists; queried if None.

    Raises:
        NvmlUnavailable: there is no driver.
        NvmlError: torch has no such device, or NVML does not list it.
    """
    found = _find_devices() if devices is None else devices
    if properties is None:
        properties = _torch_properties(index)

    uuid = str(getattr(properties, "uuid", "")).lower()
    for device in found:
        if device.uuid.lower() == f"gpu-{uuid}":
            return device.uuid, MIG_NOTE if device.mig else ""
        for instance in device.mig:
            if instance.lower() == f"mig-{uuid}":
                return instance, MIG_NOTE

    place = tuple(
        getattr(properties, key, None) for key in ("pci_domain_id", "pci_bus_id", "pci_device_id")
    )
    for device in found:
        if _pci_place(device) == place:
            return device.pci_bus_id, MIG_NOTE if device.mig else ""
    raise NvmlError(
        f"NVML does not list torch's cuda:{index} ({getattr(properties, 'name', 'unnamed')}), "
        "neither by UUID nor by PCI bus id. Name the sensor yourself; 'pywatt sensors' lists them."
    )


@contextmanager
def session() -> Iterator[ModuleType]:
    """Yield the module pynvml, initialized."""
    import pynvml

    try:
        _preload()
        pynvml.nvmlInit()
    except (OSError, UnicodeError, pynvml.NVMLError) as error:  # a path that is not UTF-8
        given = os.environ.get(_LIBRARY_VARIABLE)
        library = f" ({_LIBRARY_VARIABLE} is {given!r})" if given else ""
        raise NvmlUnavailable(f"NVML{library} cannot be used: {error}. {_REMEDY}") from error
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise NvmlError(f"NVML failed: {error}. {_REMEDY}") from error
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _preload() -> None:
    """Load the library that the native sensor would use.

    nvidia-ml-py opens "libnvidia-ml.so.1" by that name only; glibc then finds the library already
    loaded under that name.
    """
    path = os.environ.get(_LIBRARY_VARIABLE)
    if path:
        ctypes.CDLL(path)
        return
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        with suppress(OSError):
            ctypes.CDLL(_WSL_LIBRARY)


def query(nvml: ModuleType, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`; return None if the driver or the card has no answer."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _describe(nvml: ModuleType, index: int, driver: str | None) -> NvmlDevice:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    limit_mw = query(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return NvmlDevice(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        pci_bus_id=nvml.nvmlDeviceGetPciInfo(handle).busId,
        name=nvml.nvmlDeviceGetName(handle),
        architecture=_architecture(nvml, query(nvml, nvml.nvmlDeviceGetArchitecture, handle)),
        power_limit_w=None if limit_mw is None else limit_mw / 1000,
        driver=driver,
        mig=tuple(_mig_uuids(nvml, handle)),
    )


def _architecture(nvml: ModuleType, code: int | None) -> str | None:
    """Return nvidia-ml-py's name for the code, so that new ones need no release of pywatt."""
    prefix = "NVML_DEVICE_ARCH_"
    for key, value in vars(nvml).items():
        if key.startswith(prefix) and value == code and key != f"{prefix}UNKNOWN":
            return key.removeprefix(prefix).capitalize()
    return None


def _mig_uuids(nvml: ModuleType, handle: Any) -> Iterator[str]:
    """Yield UUIDs of MIG instances, which come and go, so that their indices may have gaps."""
    for index in range(query(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = query(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        uuid = None if instance is None else query(nvml, nvml.nvmlDeviceGetUUID, instance)
        if uuid is not None:
            yield uuid


def _pci_place(device: NvmlDevice) -> tuple[int, ...]:
    """Return (domain, bus, device) of "00000000:01:00.0"; the function is 0 on every GPU."""
    return tuple(int(part, 16) for part in device.pci_bus_id.partition(".")[0].split(":"))


def _in_cuda_order(found: Sequence[NvmlDevice], environ: Mapping[str, str]) -> list[VisibleDevice]:
    """Sort as CUDA does; FASTEST_FIRST, its default, is by bus id among GPUs of one kind."""
    by_bus = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    certain = by_bus or len({device.name for device in found}) <= 1
    return [_visible(device, certain) for device in sorted(found, key=_pci_place)]


def _visible(device: NvmlDevice, certain: bool = True) -> VisibleDevice:
    """Return a card as CUDA shows it: a split one as its first MIG instance."""
    caveats = ([MIG_NOTE] if device.mig else []) + ([] if certain else [_ORDER_NOTE])
    return VisibleDevice(
        device, mig=device.mig[0] if device.mig else None, certain=certain, note="; ".join(caveats)
    )


def _choose(wanted: str, find: Callable[[str], VisibleDevice | None]) -> list[VisibleDevice]:
    chosen: list[VisibleDevice] = []
    for entry in wanted.split(","):
        visible = find(entry)
        if visible is None:
            break
        if visible in chosen:
            return []
        chosen.append(visible)
    return chosen


def _by_index(entry: str, ordered: Sequence[VisibleDevice]) -> VisibleDevice | None:
    """Find a device by index, which CUDA parses as strtoul does: "1gpu" is 1."""
    number = re.match(r"\s*([+-]?\d+)", entry)
    index = -1 if number is None else int(number[1])
    return ordered[index] if 0 <= index < len(ordered) else None


def _by_uuid(entry: str, prefix: str, found: Sequence[NvmlDevice]) -> VisibleDevice | None:
    """Find a device by UUID; all entries need the first one's `prefix`, as in CUDA."""
    if not entry.startswith(prefix):
        return None
    if entry.startswith("MIG-GPU-"):
        # The form before driver 470, "MIG-GPU-<uuid>/<gi>/<ci>"; newer drivers list another UUID.
        card = _by_uuid(entry.removeprefix("MIG-").partition("/")[0], "GPU-", found)
        return None if card is None else VisibleDevice(card.device, mig=entry, note=MIG_NOTE)
    if prefix == "MIG-":
        matches = [
            VisibleDevice(device, mig=instance, note=MIG_NOTE)
            for device in found
            for instance in device.mig
            if instance.startswith(entry)
        ]
    else:
        matches = [_visible(device) for device in found if device.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _torch_properties(index: int) -> Any:
    import torch

    try:
        return torch.cuda.get_device_properties(index)
    except (RuntimeError, AssertionError) as error:
        raise NvmlError(
            f"torch has no device cuda:{index}: {error}. Check torch.cuda.is_available() and "
            "CUDA_VISIBLE_DEVICES."
        ) from error
