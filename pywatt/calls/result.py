"""What is known of one call: frozen figures that renderers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pywatt.sensors.discovery import SensorInfo
from pywatt.support.display import encodable
from pywatt.support.quantities import quantity, with_std


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWindow:
    """The part of a call inside the windows of one name.

    Attributes:
        name: the name given to `pywatt.window`.
        count: how many such windows one call opens, on average.
        duration_s: time in them in one call.
        energy_j: energy of one call in them, idle power included; None where it cannot be told.
        energy_j_std: one standard deviation of it; None likewise.
    """

    name: str
    count: float
    duration_s: float
    energy_j: float | None
    energy_j_std: float | None

    @property
    def power_w(self) -> float | None:
        """Mean power in W; None where it is not known."""
        if self.energy_j is None or self.duration_s <= 0:
            return None
        return self.energy_j / self.duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnergy:
    """What one call takes. Figures are None where they are not known; `notes` say why.

    Standard deviations hold what repeating shows and what the sensors' timing leaves open, not a
    meter's own scale, nor that of an estimate.

    Attributes:
        function: name of what was called.
        energy_j: energy of one call.
        energy_j_std: one standard deviation of it.
        net_energy_j: energy of one call above idle.
        net_energy_j_std: one standard deviation of it.
        duration_s: time of one call, the median; on CUDA the median of blocks of calls.
        duration_s_std: half the width of the middle 68 % of these times.
        power_w: mean power during calls.
        idle_power_w: power between the blocks of calls.
        idle_power_w_std: one standard deviation of it.
        calls: how many calls the figures rest on, without the warm-up.
        blocks: in how many blocks back to back, with idle between.
        elapsed_s: how long all of it took.
        target_reached: whether `energy_j_std` is what was asked for.
        method: how this was found, and what ended it.
        estimated: whether any of it was computed by a model instead of read from a meter.
        energy_by_sensor: energy of one call by each sensor that adds to `energy_j`.
        sensors: what was read.
        windows: parts of the call marked by `pywatt.window`, in the order of their first use.
        notes: what a reader of the figures has to know.
    """

    function: str
    energy_j: float | None
    energy_j_std: float | None
    net_energy_j: float | None
    net_energy_j_std: float | None
    duration_s: float
    duration_s_std: float
    power_w: float | None
    idle_power_w: float | None
    idle_power_w_std: float | None
    calls: int
    blocks: int
    elapsed_s: float
    target_reached: bool
    method: str
    estimated: bool
    energy_by_sensor: Mapping[str, float | None]
    sensors: tuple[SensorInfo, ...]
    windows: tuple[CallWindow, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """One line: energy of a call with its uncertainty, time, power, sensors and their kind."""
        calls = f"{quantity(self.duration_s, 's')} a call, {self.calls:,} calls"
        if self.energy_j is None:
            return encodable(f"energy unavailable, {calls}: {'; '.join(self.notes)}")
        power = "" if self.power_w is None else f", {quantity(self.power_w, 'W')}"
        origin = "estimated" if self.estimated else "measured"
        return encodable(
            f"{with_std(self.energy_j, self.energy_j_std, 'J')} a call, {calls}{power} "
            f"({origin}: {', '.join(self.energy_by_sensor)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"format": "pywatt call", "version": 1, **asdict(self)}
