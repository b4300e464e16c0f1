"""The result of `measure_call`: frozen figures that renderers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pywatt.sensors.info import SensorInfo
from pywatt.support.display import explained, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWindow:
    """The part of a call inside the windows of one name.

    Attributes:
        name: the name given to `pywatt.window`.
        count: how many such windows one call opens, on average.
        duration_s: time in them in one call.
        energy_j: energy of one call in them, idle power included; None where not known.
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
    """Energy of one call. Figures are None where they are not known; `notes` say why.

    Standard deviations include the spread of repeats and the sensors' timing, but no error in the
    scale of a meter or an estimate.

    Attributes:
        function: name of the function.
        energy_j: energy of one call.
        energy_j_std: one standard deviation of it.
        net_energy_j: energy of one call above idle.
        net_energy_j_std: one standard deviation of it.
        duration_s: time of one call, the median; on CUDA the median of blocks of calls.
        duration_s_std: half the width of the middle 68 % of these times.
        power_w: mean power during calls.
        idle_power_w: power between the blocks of calls.
        idle_power_w_std: one standard deviation of it.
        calls: number of calls measured, without the warm-up.
        blocks: number of blocks of calls, with idle between.
        elapsed_s: time of the whole measurement.
        target_reached: whether `energy_j_std` is within the target.
        method: how the energy was measured, and what ended the measurement.
        estimated: whether any of it was computed from a model instead of read from a meter.
        energy_by_sensor: energy of one call by each sensor that adds to `energy_j`.
        sensors: the sensors that were read.
        windows: parts of the call marked by `pywatt.window`, in the order of their first use.
        notes: caveats on the figures.
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

    def explain(self) -> str:
        """Return what the printed lines omit: sensors, method and all notes."""
        return explained(self)

    def __str__(self) -> str:
        return shown(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"format": "pywatt call", "version": 1, **asdict(self)}
