"""The state of devices before and after a run: why figures of two runs may differ."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from pywatt.errors import PywattError

Moment = Literal["start", "end"]

# A device was warming up or slowing down if it moved by more between start and end.
MOVED_K = 5.0
MOVED_CLOCK = 0.05

# A driver that hangs must not block the run.
TIMEOUT_S = 1.0

# NVML's name for a clock that is low because there was nothing to do.
IDLE = "GpuIdle"

# The same, in nvidia-ml-py of all ages; two names for a bit are one reason.
_REASON = re.compile(r"nvmlClocks(?:Throttle|Event)Reason(\w+)")
_NO_REASONS = ("None", "All", "UserDefinedClocks")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """State of a device at one moment, just outside of the measured time.

    What the device does not report is None, or empty.

    Attributes:
        sensor: the sensor that reads its power, such as ``nvml:0``.
        moment: ``start`` or ``end`` of the run.
        temperature_c: temperature in degrees Celsius.
        sm_clock_hz: clock of its processors.
        throttle_reasons: what limits the clock, by NVML's names, such as ``SwPowerCap``.
    """

    sensor: str
    moment: str
    temperature_c: float | None
    sm_clock_hz: float | None
    throttle_reasons: tuple[str, ...]


def device_states(
    sensors: Iterable[str], moment: Moment
) -> tuple[tuple[DeviceState, ...], tuple[str, ...]]:
    """Query the state of the devices behind sensors; return the states, and notes on failures.

    Takes a second at most, whatever a driver does, and raises nothing.

    Args:
        sensors: names of sensors; those that are not NVML's are skipped.
        moment: recorded in the states.
    """
    names = [name for name in sensors if re.fullmatch(r"nvml:\d+", name)]
    if not names:
        return (), ()
    states: list[DeviceState] = []
    failures: list[str] = []

    def query_all() -> None:
        from pywatt.sensors import nvml

        try:
            with nvml.session() as library:
                states.extend(_query(library, name, moment) for name in names)
        except PywattError as error:
            failures.append(str(error))

    thread = threading.Thread(target=query_all, name="pywatt-device-state", daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if thread.is_alive():
        failures = [f"the driver did not answer within {TIMEOUT_S:.0f} s"]
    notes = [f"the GPUs' state at the {moment} of the run is not known: {f}" for f in failures]
    # A thread that hangs may still append to the list later.
    return tuple(states), tuple(notes)


def state_changes(states: Sequence[DeviceState]) -> Iterator[str]:
    """Describe which devices changed between start and end, or were throttled."""
    at_start = {state.sensor: state for state in states if state.moment == "start"}
    at_end = {state.sensor: state for state in states if state.moment == "end"}
    for sensor, start in at_start.items():
        end = at_end.get(sensor)
        if end is None:
            continue
        changes = list(_changes(start, end))
        if changes:
            yield (
                f"{sensor} was not steady during the run: its {' and its '.join(changes)}, which "
                "changes its power; warm up for longer"
            )
        reasons = {*start.throttle_reasons, *end.throttle_reasons} - {IDLE}
        if reasons:
            yield f"the clock of {sensor} was throttled by {', '.join(sorted(reasons))}"


def _changes(start: DeviceState, end: DeviceState) -> Iterator[str]:
    cold_c, warm_c = start.temperature_c, end.temperature_c
    if cold_c is not None and warm_c is not None and abs(warm_c - cold_c) > MOVED_K:
        yield f"temperature went from {cold_c:.0f} to {warm_c:.0f} °C"
    first_hz, last_hz = start.sm_clock_hz or 0.0, end.sm_clock_hz or 0.0
    if first_hz and last_hz and abs(last_hz / first_hz - 1.0) > MOVED_CLOCK:
        yield f"SM clock went from {first_hz / 1e6:.0f} to {last_hz / 1e6:.0f} MHz"


def _query(library: ModuleType, sensor: str, moment: Moment) -> DeviceState:
    from pywatt.sensors.nvml import query

    handle = library.nvmlDeviceGetHandleByIndex(int(sensor.partition(":")[2]))
    temperature_c = query(
        library, library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU
    )
    clock_mhz = query(library, library.nvmlDeviceGetClockInfo, handle, library.NVML_CLOCK_SM)
    bits = query(library, library.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return DeviceState(
        sensor=sensor,
        moment=moment,
        temperature_c=None if temperature_c is None else float(temperature_c),
        sm_clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
        throttle_reasons=_reasons(library, bits or 0),
    )


def _reasons(library: ModuleType, bits: int) -> tuple[str, ...]:
    found: dict[str, int] = {}
    for key, bit in vars(library).items():
        match = _REASON.fullmatch(key)
        if match and match[1] not in _NO_REASONS and bit & bits:
            found[match[1]] = bit
    unnamed = bits & ~sum(set(found.values()))
    return (*sorted(found), *([f"0x{unnamed:x}"] if unnamed else ()))
