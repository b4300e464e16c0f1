"""Find what can be read on this machine, and which sensor covers which torch device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pywatt import _core
from pywatt.errors import PywattError, SensorError
from pywatt.sensors.info import ESTIMATED_CPU, OpenSensor, SensorInfo


@dataclass(frozen=True, slots=True)
class MissingSensor:
    """A sensor that was looked for and cannot be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What can be read on this machine, and what was looked for and cannot."""

    found: tuple[OpenSensor, ...]
    missing: tuple[MissingSensor, ...]

    def names(self) -> list[str]:
        """Return the names by which sensors can be selected."""
        return [sensor.core.name for sensor in self.found]


def estimated_cpu(
    *, tdp_w: float | None = None, idle_w: float | None = None, children: bool = False
) -> _core.EstimatedCpuSensor:
    """Make the software fallback sensor, which estimates power from the CPU time used.

    Args:
        tdp_w: power of all CPUs at full load in W; default: ``PYWATT_CPU_TDP_W``, else a documented
            figure by number of CPUs (docs/estimated-cpu.md).
        idle_w: power of the idle machine in W; default: a documented share of `tdp_w`.
        children: charge this process's children and their descendants instead of the process.

    Raises:
        ArgumentError: a power that is negative or not finite, or idle above full load.
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
    """Look for every kind of sensor and open what can be read; never raise for what is absent.

    Args:
        sys_root: folder to use in place of ``/sys``.
        children: let the software estimate cover child processes instead of this one.
    """
    found: list[OpenSensor] = []
    missing: list[MissingSensor] = []
    find_rapl(sys_root, found, missing)
    find_nvml(found, missing)
    try:
        found.append(OpenSensor(estimated_cpu(children=children), "cpu"))
    except PywattError as error:
        missing.append(MissingSensor(ESTIMATED_CPU, str(error)))
    return Discovery(tuple(found), tuple(missing))


def find_rapl(sys_root: str, found: list[OpenSensor], missing: list[MissingSensor]) -> None:
    """Append the CPU's RAPL zones to `found`, or to `missing` with the reason."""
    zones = _core.find_rapl_zones(sys_root)
    if not zones:
        reason = (
            f"no {sys_root}/class/powercap/intel-rapl:*: this CPU or virtual machine has no "
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


def find_nvml(found: list[OpenSensor], missing: list[MissingSensor]) -> None:
    """Append the NVIDIA GPUs to `found`, or to `missing` with the reason."""
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
        missing.append(MissingSensor("nvml", "the NVIDIA driver works, but it lists no GPU"))
    for index, refusal in refusals.items():
        reason = f"the driver lists this GPU but queries fail: {refusal}; see dmesg and nvidia-smi"
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
        the cost of one reading of each. Select one by its `source`:
        ``pywatt.measure(sensors=["nvml:0"])``.
    """
    return with_reading_cost(discover(sys_root=sys_root))


def with_reading_cost(discovery: Discovery) -> tuple[SensorInfo, ...]:
    """Measure what one reading of each sensor costs; return one entry for each value."""
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
