"""What can be read on this machine, and which sensor covers which torch device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pywatt import _core
from pywatt.errors import ArgumentError, PywattError, SensorError

ESTIMATED_CPU = "cpu:estimated"
SensorChoice = Literal["auto"] | str | _core.Sensor | Sequence["str | _core.Sensor"]


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """What one value of a sensor's reading means and covers.

    Attributes:
        name: unique name, such as ``nvml:0``, ``nvml:0/energy`` or ``cpu:estimated``.
        kind: ``power`` (a reading is watts) or ``counter`` (joules since some beginning).
        domain: what it covers: gpu, memory, module, package, core, uncore, dram or psys.
        device: the torch device whose work it covers (``cpu``, ``cuda:0``); None where not known.
        estimated: computed from a model of the machine, not read from a meter.
        resolution: smallest step of a reading in W or J; 0 where it is not known.
        update_period_s: time between fresh values; 0 where every read is fresh, None if not known.
        power_limit_w: most power that the device keeps itself to in W; None where not known.
        contained_in: name of the channel whose energy includes this one's; else empty.
        note: a caveat that belongs to every figure of this sensor; else empty.
        source: name of the sensor that is opened and read to get this value.
        reading_cost_s: time that one reading of the source takes; None if not measured.
    """

    name: str
    kind: str = "power"
    domain: str = "package"
    device: str | None = None
    estimated: bool = False
    resolution: float = 0.0
    update_period_s: float | None = None
    power_limit_w: float | None = None
    contained_in: str = ""
    note: str = ""
    source: str = ""
    reading_cost_s: float | None = None

    @property
    def origin(self) -> str:
        """``measured`` or ``estimated``."""
        return "estimated" if self.estimated else "measured"

    @property
    def unit(self) -> str:
        """Unit of a reading: ``W`` or ``J``."""
        return "W" if self.kind == "power" else "J"

    @classmethod
    def of_channel(
        cls, channel: _core.Channel, *, source: str, device: str | None = None
    ) -> SensorInfo:
        """Describe a native channel read through the sensor `source`, covering `device`."""
        period_s, limit_w = channel.update_period_s, channel.power_limit_w
        return cls(
            name=channel.name,
            kind=channel.kind,
            domain=channel.domain,
            device=device,
            estimated=channel.estimated,
            resolution=channel.resolution,
            update_period_s=None if math.isnan(period_s) else period_s,
            power_limit_w=None if math.isnan(limit_w) else limit_w,
            contained_in=channel.contained_in,
            note=channel.note,
            source=source,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SensorInfo:
        """Undo `to_dict`."""
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class OpenSensor:
    """A sensor that is open for reading, and the torch device whose work it covers (None: any)."""

    core: _core.Sensor
    device: str | None

    @property
    def infos(self) -> tuple[SensorInfo, ...]:
        """What its values mean, one for each channel."""
        return tuple(
            SensorInfo.of_channel(channel, source=self.core.name, device=self.device)
            for channel in self.core.channels
        )


@dataclass(frozen=True, slots=True)
class MissingSensor:
    """Something that was looked for and cannot be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What can be read on this machine, and what was looked for and cannot."""

    found: tuple[OpenSensor, ...]
    missing: tuple[MissingSensor, ...]

    def names(self) -> list[str]:
        """Names by which a sensor can be asked for."""
        return [sensor.core.name for sensor in self.found]


def estimated_cpu(
    *, tdp_w: float | None = None, idle_w: float | None = None, children: bool = False
) -> _core.EstimatedCpuSensor:
    """Make the software fallback sensor: watts estimated from the CPU time really used.

    Args:
        tdp_w: power of all CPUs at full load in W; default: ``PYWATT_CPU_TDP_W``, else a documented
            figure by number of CPUs (docs/estimated-cpu.md).
        idle_w: power of the idle machine in W; default: a documented share of `tdp_w`.
        children: charge this process's children and their descendants instead of the process.

    Raises:
        ArgumentError: figures that are negative, not finite, or idle above full load.
    """
    model = (
        _core.CpuPowerModel.default_for_this_machine()
        if tdp_w is None
        else _core.CpuPowerModel.from_tdp(tdp_w)
    )
    if idle_w is not None:
        model = _core.CpuPowerModel(idle_w, model.full_w, model.cpus, model.relative_std)
    scope = _core.CpuScope.children if children else _core.CpuScope.process
    return _core.EstimatedCpuSensor(model, scope, _core.steady_clock())


def discover(*, sys_root: str = "/sys", children: bool = False) -> Discovery:
    """Look for every kind of sensor and open what can be read. Never raises for what is absent.

    Args:
        sys_root: folder to use in place of ``/sys``.
        children: let the software estimate cover child processes instead of this one.
    """
    found: list[OpenSensor] = []
    missing: list[MissingSensor] = []
    _find_rapl(sys_root, found, missing)
    _find_nvml(found, missing)
    try:
        found.append(OpenSensor(estimated_cpu(children=children), "cpu"))
    except PywattError as error:
        missing.append(MissingSensor(ESTIMATED_CPU, str(error)))
    return Discovery(tuple(found), tuple(missing))


def _find_rapl(sys_root: str, found: list[OpenSensor], missing: list[MissingSensor]) -> None:
    zones = _core.find_rapl_zones(sys_root)
    if not zones:
        reason = (
            f"no {sys_root}/class/powercap/intel-rapl:*: this CPU or virtual machine shows no "
            "RAPL; on bare metal try 'sudo modprobe intel_rapl_msr'"
        )
        missing.append(MissingSensor("rapl", reason))
    for zone in zones:
        try:
            if zone.problem:
                raise SensorError(zone.problem)
            found.append(OpenSensor(_core.RaplSensor(zone), "cpu"))
        except PywattError as error:
            missing.append(MissingSensor(zone.name, str(error)))


def _find_nvml(found: list[OpenSensor], missing: list[MissingSensor]) -> None:
    from pywatt.sensors import nvml

    try:
        devices, refusals = nvml.devices_and_refusals()
        torch_device = {
            visible.device.index: f"cuda:{ordinal}"
            for ordinal, visible in enumerate(nvml.visible_devices(devices=devices))
            if visible.certain
        }
    except PywattError as error:
        missing.append(MissingSensor("nvml", str(error)))
        return
    if not devices and not refusals:
        missing.append(MissingSensor("nvml", "the NVIDIA driver answers, but it sees no GPU"))
    for index, refusal in refusals.items():
        reason = f"the driver lists this GPU but cannot ask it: {refusal}; see dmesg and nvidia-smi"
        missing.append(MissingSensor(f"nvml:{index}", reason))
    for device in devices:
        name = f"nvml:{device.index}"
        try:
            sensor = _core.NvmlSensor(name, device.uuid, nvml.MIG_NOTE if device.mig else "")
        except PywattError as error:
            missing.append(MissingSensor(name, str(error)))
        else:
            found.append(OpenSensor(sensor, torch_device.get(device.index)))


def sensors(*, sys_root: str = "/sys") -> tuple[SensorInfo, ...]:
    """Return what can be read on this machine, one entry for each value.

    Args:
        sys_root: folder to use in place of ``/sys``.

    Returns:
        Name, kind (power or counter), domain, torch device, measured or estimated, resolution and
        the cost of one reading of each. Ask for one by its `source`:
        ``pywatt.measure(sensors=["nvml:0"])``.
    """
    return with_reading_cost(discover(sys_root=sys_root))


def with_reading_cost(discovery: Discovery) -> tuple[SensorInfo, ...]:
    """Measure what one reading of each sensor costs; one entry for each of their values."""
    return tuple(
        replace(info, reading_cost_s=cost_s)
        for sensor in discovery.found
        for cost_s in [_reading_cost_s(sensor)]
        for info in sensor.infos
    )


def _reading_cost_s(sensor: OpenSensor) -> float | None:
    try:
        return _core.reading_cost_s(sensor.core)
    except PywattError:
        return None


@dataclass(frozen=True, slots=True)
class Selection:
    """The sensors that a measurement reads, and what the user must know about the choice."""

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
        The sensors; with ``auto``, meters where there are any for a device. Where the CPU has none
        it is estimated if it was named in `devices` or if there is no meter at all, else left out;
        a note says which.

    Raises:
        ArgumentError: a name that is not known here; the message lists those that are.
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
    """Refuse what would write two traces under one name."""
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
        _find_rapl(sys_root, chosen, missing)
    cpu_metered = bool(chosen)
    if wanted is None:
        _find_nvml(chosen, missing)
    else:
        for device in sorted(wanted - {"cpu"}):
            _find_torch_device(device, chosen, notes)
    for entry in missing:
        # A kind that is absent as a whole ("nvml") is no news; a card or a zone beside others is.
        if ":" in entry.name and (cpu_metered or not entry.name.startswith("rapl:")):
            notes.append(f"{entry.name} is not covered: {entry.reason}")
    if cpu_metered or (wanted is not None and "cpu" not in wanted):
        return Selection(tuple(chosen), tuple(notes))
    if wanted is None and chosen:
        # An estimate that nobody asked for would make the sum of exact meters a guess.
        known = ", ".join(repr(sensor.core.name) for sensor in chosen)
        notes.append(
            "no power meter covers the CPU, whose energy is left out ('pywatt sensors' tells why); "
            f"to add an estimate of it: sensors=[{known}, {ESTIMATED_CPU!r}]"
        )
        return Selection(tuple(chosen), tuple(notes))
    notes.append(
        "no power meter covers the CPU, so its energy is estimated: 'pywatt sensors' tells what "
        "was looked for and why it cannot be read"
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


def stand_in(selection: Selection, devices: tuple[str, ...]) -> Selection:
    """Let the one sensor that was given stand for all devices, also those it was not made for."""
    if len(selection.sensors) != 1:
        return selection
    (sensor,) = selection.sensors
    others = [device for device in devices if sensor.device not in (None, device)]
    if not others:
        return selection
    note = f"{sensor.core.name} was the one sensor given: it stands for {', '.join(others)} too"
    return Selection((replace(sensor, device=None),), (*selection.notes, note))
