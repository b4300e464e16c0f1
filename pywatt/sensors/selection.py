"""Choose which of this machine's sensors a measurement reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pywatt import _core
from pywatt.errors import ArgumentError, PywattError, SensorError
from pywatt.sensors.discovery import (
    Discovery,
    MissingSensor,
    discover,
    estimated_cpu,
    find_nvml,
    find_rapl,
)
from pywatt.sensors.info import ESTIMATED_CPU, OpenSensor
from pywatt.support.notes import NoteOnSensors

SensorChoice = Literal["auto"] | str | _core.Sensor | Sequence["str | _core.Sensor"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The sensors that a measurement reads, and notes on the choice."""

    sensors: tuple[OpenSensor, ...]
    notes: tuple[str, ...] = ()


def select(
    choice: SensorChoice = "auto",
    *,
    devices: Iterable[str] | None = None,
    sys_root: str = "/sys",
    children: bool = False,
) -> Selection:
    """Open the sensors for a measurement.

    Args:
        choice: ``auto``, a name, a sensor object, or several of these.
        devices: torch devices (``cpu``, ``cuda:0``) whose work is measured; None: the machine.
        sys_root: folder to use in place of ``/sys``.
        children: let the software estimate cover child processes instead of this one.

    Returns:
        The sensors; with ``auto``, the meters of each device, if any. A CPU without a meter
        is estimated if it is named in `devices` or if there is no meter at all, else left out; a
        note says which.

    Raises:
        ArgumentError: an unknown name; the message lists the known ones.
    """
    if isinstance(choice, str) and choice == "auto":
        return _select_auto(devices, sys_root, children)
    if isinstance(choice, str | _core.Sensor):
        choice = [choice]
    elif not isinstance(choice, Iterable):
        raise ArgumentError(
            f"sensors must be 'auto', names or sensor objects, not {type(choice).__name__}"
        )
    entries = list(choice)
    if not entries:
        raise ArgumentError("no sensor was given: leave `sensors` out for an automatic choice")
    discovery = None
    selected: dict[str, OpenSensor] = {}
    for entry in entries:
        if isinstance(entry, str):
            discovery = discovery or discover(sys_root=sys_root, children=children)
            sensor = _by_name(entry, discovery)
        elif isinstance(entry, _core.Sensor):
            sensor = OpenSensor(entry, None)
        else:
            raise ArgumentError(
                f"a sensor must be a name or a sensor object, not {type(entry).__name__}"
            )
        if sensor.core.name in selected and selected[sensor.core.name].core is not sensor.core:
            raise ArgumentError(
                f"two sensors are called {sensor.core.name!r}: give them other names"
            )
        selected[sensor.core.name] = sensor
    chosen = tuple(selected.values())
    _check_names(chosen)
    return Selection(chosen)


def _check_names(chosen: Iterable[OpenSensor]) -> None:
    """Refuse sensors that would write two traces under one name."""
    seen: set[str] = set()
    for name in (info.name for sensor in chosen for info in sensor.infos):
        if name in seen:
            raise ArgumentError(f"two sensors give readings called {name!r}: rename one")
        seen.add(name)


def _by_name(name: str, discovery: Discovery) -> OpenSensor:
    for sensor in discovery.found:
        if name == sensor.core.name or any(name == info.name for info in sensor.infos):
            return sensor
    for missing in discovery.missing:
        if name == missing.name or name.split(":")[0] == missing.name:
            raise SensorError(f"sensor {name!r} cannot be read: {missing.reason}")
    known = ", ".join(discovery.names()) or "none"
    raise ArgumentError(f"there is no sensor {name!r} here; those that can be read: {known}")


def _select_auto(devices: Iterable[str] | None, sys_root: str, children: bool) -> Selection:
    wanted = None if devices is None else set(devices)
    chosen: list[OpenSensor] = []
    notes: list[str] = []
    missing: list[MissingSensor] = []
    if wanted is None or "cpu" in wanted:
        find_rapl(sys_root, chosen, missing)
    cpu_metered = bool(chosen)
    if wanted is None:
        find_nvml(chosen, missing)
    else:
        for device in sorted(wanted - {"cpu"}):
            _find_torch_device(device, chosen, notes)
    for entry in missing:
        # A whole kind that is absent ("nvml") needs no note; a card or zone among others does.
        if ":" in entry.name and (cpu_metered or not entry.name.startswith("rapl:")):
            notes.append(f"{entry.name} is not covered: {entry.reason}")
    if cpu_metered or (wanted is not None and "cpu" not in wanted):
        return Selection(tuple(chosen), tuple(notes))
    if wanted is None and chosen:
        # An estimate that nobody asked for would spoil a sum of exact meters.
        known = ", ".join(repr(sensor.core.name) for sensor in chosen)
        notes.append(
            NoteOnSensors(
                "no power meter covers the CPU, whose energy is left out ('pywatt sensors' says "
                f"why); to add an estimate of it: sensors=[{known}, {ESTIMATED_CPU!r}]"
            )
        )
        return Selection(tuple(chosen), tuple(notes))
    notes.append(
        NoteOnSensors(
            "no power meter covers the CPU, so its energy is estimated: 'pywatt sensors' shows "
            "what was looked for and why it cannot be read"
        )
    )
    chosen.append(OpenSensor(estimated_cpu(children=children), "cpu"))
    return Selection(tuple(chosen), tuple(notes))


def _find_torch_device(device: str, chosen: list[OpenSensor], notes: list[str]) -> None:
    from pywatt.sensors import nvml

    kind, _, ordinal = device.partition(":")
    if kind != "cuda":
        notes.append(f"no sensor is known for device {device}: its energy is unavailable")
        return
    try:
        cards = nvml.devices()
        identity, note = nvml.device_of_torch(int(ordinal or 0), devices=cards)
        index = next(
            card.index for card in cards if identity in (card.uuid, card.pci_bus_id, *card.mig)
        )
        chosen.append(OpenSensor(_core.NvmlSensor(f"nvml:{index}", identity, note), device))
    except PywattError as error:
        notes.append(f"the energy of {device} is unavailable: {error}")


def cover_devices(selection: Selection, devices: tuple[str, ...]) -> Selection:
    """Use the only sensor given for all devices, also those it was not made for."""
    if len(selection.sensors) != 1:
        return selection
    (sensor,) = selection.sensors
    others = [device for device in devices if sensor.device not in (None, device)]
    if not others:
        return selection
    note = f"{sensor.core.name} is the only sensor given: it is used for {', '.join(others)} too"
    return Selection((replace(sensor, device=None),), (*selection.notes, note))
