"""Trace: the readings of one sensor channel, and the energy under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pywatt import _core
from pywatt.errors import ArgumentError
from pywatt.sensors.info import SensorInfo

FloatArray = npt.NDArray[np.float64]

GIVEN = SensorInfo("given")
_NOT_GIVEN: Any = None


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a trace was sampled.

    Attributes:
        asked_rate_hz: readings a second that were asked for.
        achieved_rate_hz: good readings over the time between the first and the last.
        missed_deadlines: deadlines skipped because a reading came a period or more late.
        longest_gap_s: longest time between two good readings.
        failed_readings: readings that gave no value.
        sampler_cpu_s: CPU time of the sampling thread, shared by all traces of a monitor.
    """

    asked_rate_hz: float
    achieved_rate_hz: float
    missed_deadlines: int
    longest_gap_s: float
    failed_readings: int
    sampler_cpu_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Readings of one sensor channel in order, as an energy curve that can be integrated.

    Give `time_s` with `power_w` (energy by the trapezoid rule) or with `energy_j` (a counter). The
    arrays are read-only, and not copied if they are float64 already: do not change yours later.

    Attributes:
        time_s: times of the points in seconds of the monotonic clock, increasing, shape (n,).
        power_w: power at the points in W, linear between them, shape (n,); None for a counter,
            whose power is constant between points.
        energy_j: energy from the first point to each point in J, shape (n,). A given counter may
            start at any value.
        sensor: what was read.
        quality: how well; None for a trace that was not taken by the sampler.
        ended: why readings ended before the sampler was stopped; None if they did not.
        run_first_s: when each distinct value in a row was first read, shape (m,).
        run_last_s: when it was last read, shape (m,). The next value appeared between this and the
            next `run_first_s`.
        run_value: the values, in W or (counters) J as the meter showed them, shape (m,).

    Raises:
        ArgumentError: times that do not increase, a counter that falls, arrays of unequal length,
            or values that are not finite numbers.
    """

    time_s: FloatArray
    power_w: FloatArray | None = None
    energy_j: FloatArray = _NOT_GIVEN
    sensor: SensorInfo = GIVEN
    quality: Quality | None = None
    ended: str | None = None
    run_first_s: FloatArray = field(default=_NOT_GIVEN, repr=False)
    run_last_s: FloatArray = field(default=_NOT_GIVEN, repr=False)
    run_value: FloatArray = field(default=_NOT_GIVEN, repr=False)

    def __post_init__(self) -> None:
        time_s = self._set_column("time_s", self.time_s)
        if np.any(np.diff(time_s) <= 0):
            raise ArgumentError("time_s must increase: sort the readings, drop repeated times")
        if self.power_w is None and self.energy_j is None:
            raise ArgumentError("a trace needs power_w (watts) or energy_j (a counter's joules)")
        kind = "counter" if self.power_w is None else "power"
        if self.sensor.kind != kind:
            object.__setattr__(self, "sensor", replace(self.sensor, kind=kind))
        if self.power_w is None:
            value = self._set_column("energy_j", self.energy_j, len(time_s))
            if np.any(np.diff(value) < 0):
                raise ArgumentError("energy_j must not fall: add what a counter lost at each wrap")
            self._set_column("energy_j", value - value[0], len(time_s))
        else:
            value = self._set_column("power_w", self.power_w, len(time_s))
            energy_j = self.energy_j
            if energy_j is None:
                steps_j = np.diff(time_s) * (value[1:] + value[:-1]) / 2
                energy_j = np.concatenate(([0.0], np.cumsum(steps_j)))
            self._set_column("energy_j", energy_j, len(time_s))
        self._set_runs(value)

    def _set_runs(self, value: FloatArray) -> None:
        """Take the given runs, else find them in the values at the points."""
        given = (self.run_first_s, self.run_last_s, self.run_value)
        if all(column is None for column in given):
            begins = np.flatnonzero(np.concatenate(([True], np.diff(value) != 0)))
            ends = np.concatenate((begins[1:] - 1, [len(value) - 1]))
            given = self.time_s[begins], self.time_s[ends], value[begins]
        elif any(column is None for column in given):
            raise ArgumentError("run_first_s, run_last_s and run_value must be given together")
        runs = len(self._set_column("run_first_s", given[0]))
        self._set_column("run_last_s", given[1], runs)
        self._set_column("run_value", given[2], runs)

    def _set_column(
        self, name: str, values: npt.ArrayLike, length: int | None = None
    ) -> FloatArray:
        try:
            column: FloatArray = np.asarray(values, dtype=np.float64, order="C").view()
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{name} must be a list of numbers: {error}") from None
        if column.ndim != 1 or len(column) == 0:
            raise ArgumentError(
                f"{name} must be a list of at least one number, not of shape {column.shape}"
            )
        if length is not None and len(column) != length:
            raise ArgumentError(f"{name} has {len(column)} values, but must have {length}")
        if not np.all(np.isfinite(column)):
            raise ArgumentError(f"{name} holds a value that is not finite: leave such readings out")
        column.flags.writeable = False
        object.__setattr__(self, name, column)
        return column

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def start_s(self) -> float:
        """Time of the first reading."""
        return float(self.time_s[0])

    @property
    def end_s(self) -> float:
        """Time of the last reading."""
        return float(self.time_s[-1])

    @property
    def duration_s(self) -> float:
        """Time from the first reading to the last."""
        return self.end_s - self.start_s

    @property
    def changed_s(self) -> FloatArray:
        """When each new value was first read, shape (m - 1,)."""
        return self.run_first_s[1:]

    def covers(self, start_s: float, end_s: float) -> bool:
        """Return whether the window lies between the first and the last reading."""
        return self.start_s <= start_s and end_s <= self.end_s

    def integrate(self, start_s: npt.ArrayLike, end_s: npt.ArrayLike) -> FloatArray:
        """Return the energy of each window [start_s[i], end_s[i]] in J, both edges interpolated.

        Args:
            start_s: starts, of any shape; seconds of the clock of `time_s`.
            end_s: ends, of the same shape.

        Returns:
            Energies in the shape of `start_s`.

        Raises:
            CoverageError: a window extends beyond the first or the last reading.
            ArgumentError: an end before its start, NaN, or unequal shapes.
        """
        return _core.integrate(
            self.time_s,
            self.power_w,
            self.energy_j,
            np.asarray(start_s, dtype=np.float64),
            np.asarray(end_s, dtype=np.float64),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, not rounded."""
        return {
            "sensor": self.sensor.to_dict(),
            "time_s": self.time_s.tolist(),
            "power_w": None if self.power_w is None else self.power_w.tolist(),
            "energy_j": self.energy_j.tolist(),
            "run_first_s": self.run_first_s.tolist(),
            "run_last_s": self.run_last_s.tolist(),
            "run_value": self.run_value.tolist(),
            "quality": None if self.quality is None else asdict(self.quality),
            "ended": self.ended,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Trace:
        """Undo `to_dict`."""
        quality = fields["quality"]
        return cls(
            time_s=fields["time_s"],
            power_w=fields["power_w"],
            energy_j=fields["energy_j"],
            sensor=SensorInfo.from_dict(fields["sensor"]),
            quality=None if quality is None else Quality(**quality),
            ended=fields["ended"],
            run_first_s=fields["run_first_s"],
            run_last_s=fields["run_last_s"],
            run_value=fields["run_value"],
        )
