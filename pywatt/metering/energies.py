"""Energy of one window, and of all spans of one name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Energy of one window in J with one standard deviation."""

    energy_j: float
    energy_j_std: float


@dataclass(frozen=True, slots=True)
class SpanEnergy:
    """Energy of all spans of one name.

    Attributes:
        name: the name.
        calls: number of spans.
        time_s: their total duration in s.
        energy_j: their total energy in J, including what ran inside them; None if not known.
        energy_j_std: one standard deviation of it in J; None if not known.
        self_energy_j: the part of it drawn while nothing ran inside them; None if not determined.
        self_energy_j_std: one standard deviation of it in J; None likewise.
    """

    name: str
    calls: int
    time_s: float
    energy_j: float | None
    energy_j_std: float | None
    self_energy_j: float | None = None
    self_energy_j_std: float | None = None

    @property
    def power_w(self) -> float | None:
        """Mean power in W; None if not known."""
        return None if self.energy_j is None or self.time_s <= 0 else self.energy_j / self.time_s

    @classmethod
    def single(cls, name: str, time_s: float, energy: WindowEnergy | None) -> SpanEnergy:
        """Make the entry of one span."""
        if energy is None:
            return cls(name, 1, time_s, None, None)
        return cls(name, 1, time_s, energy.energy_j, energy.energy_j_std)

    def plus(self, other: SpanEnergy) -> SpanEnergy:
        """Add the energies of more spans; their errors are assumed to be fully correlated."""

        def total(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a + b

        return SpanEnergy(
            self.name,
            self.calls + other.calls,
            self.time_s + other.time_s,
            total(self.energy_j, other.energy_j),
            total(self.energy_j_std, other.energy_j_std),
            total(self.self_energy_j, other.self_energy_j),
            total(self.self_energy_j_std, other.self_energy_j_std),
        )
