"""Windows of known power, and the errors of their measured energies; independent of any tool."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

IDLE_W = 60.0
# Kernels of 1 ms, so that all windows draw the same; and phases, so that they differ.
ALIKE = ((0.001, 650.0), (0.001, 200.0))
PHASES = ((0.37, 650.0), (0.43, 200.0))
DUTY = ((0.117, 300.0), (0.013, 100.0))

# A tool's window is longer than the work in it, by the time of its own begin and end calls: 0.1 ms
# of idle unless the tool reports it.
EDGES_S = 1e-4
IDLE_S = (0.35, 0.55)
# Windows in a row would keep their phase against the sensor: one of every ROW begins later.
ROW, SHIFT_S = 5, 0.1


@dataclass(frozen=True)
class Case:
    name: str
    work: tuple[tuple[float, float], ...]  # (duration_s, power_w), repeated
    duration_s: float  # of a window
    windows: int
    continuous: bool  # windows follow each other and the work never stops; else idle between them
    limit: float | None  # pywatt's largest median absolute error; None: not judged
    quiet: bool = False  # tools that can may wait for idle around each window

    def steps(self, duration_s: float) -> list[tuple[float, float]]:
        """Return the work, cut off after `duration_s`."""
        steps = []
        for step_s, power_w in itertools.cycle(self.work):
            steps.append((min(step_s, duration_s), power_w))
            duration_s -= step_s
            if duration_s <= 1e-9:
                break
        return steps

    def gaps_s(self) -> list[float]:
        """Return the time before each window; the same for all tools."""
        uniform = random.Random(self.name).uniform
        if self.continuous:
            return [0.0 if i % ROW else uniform(0.0, SHIFT_S) for i in range(self.windows)]
        return [uniform(*IDLE_S) for _ in range(self.windows)]


CASES = (
    Case("50 ms in a row, all of 425 W", ALIKE, 0.05, 100, True, 0.01),
    Case("200 ms in a row, all of 425 W", ALIKE, 0.2, 25, True, 0.005),
    # A change of power between two counter updates: how much each window took is not known.
    Case("50 ms in a row, of 650 or 200 W", PHASES, 0.05, 100, True, None),
    Case("5 ms of 500 W between idle", ((1.0, 500.0),), 0.005, 16, False, 0.02, quiet=True),
    Case("0.38 s of 300 W between idle", ((1.0, 300.0),), 0.38, 6, False, 0.02),
    Case("3 s of 300 W between idle", ((1.0, 300.0),), 3.0, 2, False, 0.005),
    Case("3 s of 300 W or, 10 %, 100 W between idle", DUTY, 3.0, 2, False, 0.01),
)


@dataclass(frozen=True)
class Reading:
    """A tool's energy of one window, with the true energy; None: the tool gives no energy."""

    truth_j: float
    energy_j: float | None
    energy_j_std: float | None = None
    edges_s: float = EDGES_S  # how much longer the tool's window is than the work

    @property
    def error(self) -> float | None:
        return None if self.energy_j is None else self.energy_j / self.truth_j - 1.0


@dataclass(frozen=True)
class Errors:
    """Relative errors of the windows of one case."""

    median_size: float
    least: float
    most: float
    windows: int
    zeros: int  # windows read as 0 J
    unknown: int  # windows for which the tool gives no energy
    beyond: int  # windows with an error above three of their own standard deviations

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Errors:
        errors = [reading.error for reading in readings if reading.error is not None]
        beyond = [
            reading
            for reading in readings
            if reading.energy_j is not None
            and reading.energy_j_std is not None
            and abs(reading.energy_j - reading.truth_j)
            > 3.0 * reading.energy_j_std + IDLE_W * reading.edges_s
        ]
        return cls(
            statistics.median(map(abs, errors)) if errors else math.nan,
            min(errors, default=math.nan),
            max(errors, default=math.nan),
            len(readings),
            sum(reading.energy_j == 0.0 for reading in readings),
            len(readings) - len(errors),
            len(beyond),
        )

    def meet(self, limit: float | None) -> bool:
        """Return whether all windows have an energy within its uncertainty, half within `limit`."""
        if limit is None or not self.windows:
            return True
        return self.median_size <= limit and self.beyond == self.zeros == self.unknown == 0

    def parts(self) -> list[str]:
        """In percent: size of the median, least and most; then windows without an energy."""
        if not self.windows:
            return ["–"]
        shown = [
            percent(self.median_size),
            f"({percent(self.least, '+')} … {percent(self.most, '+')})",
        ]
        shown += [f"{self.zeros} × 0 J"] * (self.zeros > 0)
        shown += [f"{self.unknown} × unknown"] * (self.unknown > 0)
        return shown

    def __str__(self) -> str:
        return " ".join(self.parts())


def percent(error: float, sign: str = "") -> str:
    digits = 0 if abs(error) >= 0.0995 else 1 if abs(error) >= 0.00995 else 2
    return f"{100 * error:{sign}.{digits}f}"
