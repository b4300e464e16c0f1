"""What one value of a sensor's reading means, and an opened sensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pywatt import _core

ESTIMATED_CPU = "cpu:estimated"


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """What one value of a sensor's reading means and covers.

    Attributes:
        name: unique name, such as ``nvml:0``, ``nvml:0/energy`` or ``cpu:estimated``.
        kind: ``power`` (a reading is watts) or ``counter`` (joules since some start).
        domain: what it covers: gpu, memory, module, package, core, uncore, dram or psys.
        device: the torch device whose work it covers (``cpu``, ``cuda:0``); None where not known.
        estimated: computed from a model of the machine, not read from a meter.
        resolution: smallest step of a reading in W or J; 0 where it is not known.
        update_period_s: time between fresh values; 0 where every read is fresh, None if not known.
        power_limit_w: power limit of the device in W; None where not known.
        contained_in: name of the channel whose energy includes this one's; else empty.
        note: a caveat on every figure of this sensor; else empty.
        source: name of the sensor that is opened and read to get this value.
        scale_std: relative standard deviation of the scale of its readings, which no other standard
            deviation includes; None where not known.
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
    scale_std: float | None = None
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
        """Describe a native channel of the sensor `source`, covering `device`."""
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
            scale_std=None if math.isnan(channel.scale_std) else channel.scale_std,
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
