"""The finished comparison: frozen energies of two or more sides, and their changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pywatt.comparison.significance import as_z, of_many
from pywatt.errors import ArgumentError, PywattError
from pywatt.support.display import explained, shown

Per = Literal["sample", "run"]

# A change of this many standard deviations is significant; 2.3 % of chance increases are as large.
REAL_Z = 2.0


@dataclass(frozen=True, slots=True)
class Energy:
    """Mean energy over the runs of one side, in J per sample or per run. None where not known.

    Attributes:
        energy_j: the mean.
        energy_j_std: one standard deviation of the mean: that of the measurements, or from the
            spread of the runs where that is larger.
        freedom: degrees of freedom of the standard deviation; infinite for the measurements' own.
        borrowed: whether the standard deviation of this single run is another side's spread.
    """

    energy_j: float | None
    energy_j_std: float | None
    freedom: float = math.inf
    borrowed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Two energies of the same thing. What depends on an unknown one is None."""

    old: Energy
    new: Energy

    @property
    def difference_j(self) -> float | None:
        """The new energy less the old one."""
        if self.old.energy_j is None or self.new.energy_j is None:
            return None
        return self.new.energy_j - self.old.energy_j

    @property
    def difference_j_std(self) -> float | None:
        """One standard deviation of the difference."""
        if self.old.energy_j_std is None or self.new.energy_j_std is None:
            return None
        return math.hypot(self.old.energy_j_std, self.new.energy_j_std)

    @property
    def relative(self) -> float | None:
        """The difference over the old energy; None where that is 0."""
        if self.difference_j is None or not self.old.energy_j:
            return None
        return self.difference_j / self.old.energy_j

    @property
    def z(self) -> float | None:
        """The difference over its standard deviation."""
        return self.z_over(0.0)

    def z_over(self, share: float) -> float | None:
        """Return how many standard deviations the increase is above `share` of the old energy.

        A standard deviation from the spread of a few runs is itself uncertain: it is Welch's t,
        converted to the z that chance exceeds as rarely.
        """
        old, new = self.old, self.new
        if old.energy_j is None or new.energy_j is None:
            return None
        if old.energy_j_std is None or new.energy_j_std is None:
            return None
        beyond_j = new.energy_j - (1.0 + share) * old.energy_j
        variances = ((1.0 + share) * old.energy_j_std) ** 2, new.energy_j_std**2
        variance = sum(variances)
        if not variance:
            return math.copysign(math.inf, beyond_j) if beyond_j else 0.0
        t = beyond_j / math.sqrt(variance)
        # Welch's formula is for independent deviations; a borrowed one is not independent.
        power = 1 if old.borrowed or new.borrowed else 2
        inverse = sum(
            (part / variance) ** power / side.freedom
            for part, side in zip(variances, (old, new), strict=True)
        )
        return as_z(t, 1.0 / inverse) if inverse else t


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, the part outside of the layers, or the total, over all sides.

    Attributes:
        name: path of the layer; "" is the model itself.
        type: class of the layer; "old -> new" where it changed.
        energies: one per side; None where the side has no such layer.
    """

    name: str
    type: str
    energies: tuple[Energy | None, ...]

    def change(self, side: int = 1) -> Change | None:
        """Return the change from the first side to another; None where one lacks the layer."""
        old, new = self.energies[0], self.energies[side]
        return None if old is None or new is None else Change(old, new)


@dataclass(frozen=True, slots=True)
class Side:
    """One or more runs of the same.

    Attributes:
        name: files, or class of the model.
        runs: number of runs.
        samples: samples in all runs; None where not known.
        estimated: whether any of the energy was computed from a model of the machine.
    """

    name: str
    runs: int
    samples: int | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class Regression:
    """An increase that is significantly larger than allowed.

    Attributes:
        row: what increased: `Comparison.total` or a layer.
        side: index of the side on which it increased.
        allowed: the allowed increase as a share of the old energy.
        z: standard deviations by which the increase exceeds the allowed one.
    """

    row: Row
    side: int
    allowed: float
    z: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; an infinite z is None."""
        return {
            "name": self.row.name,
            "type": self.row.type,
            "side": self.side,
            "allowed": self.allowed,
            "z": _finite(self.z),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more profiles side by side; the others are compared with the first.

    Attributes:
        sides: what was compared.
        per: energies are J per "sample" or per "run".
        total: the whole runs.
        outside: the part of the total that is outside of all layers.
        layers: self energies, matched by name; with `outside` they add up to the total.
        notes: caveats on the figures.
    """

    sides: tuple[Side, ...]
    per: Per
    total: Row
    outside: Row
    layers: tuple[Row, ...]
    notes: tuple[str, ...]

    def only_in(self, side: int) -> tuple[str, ...]:
        """Return the names of the layers that no other side has."""
        return tuple(
            row.name
            for row in self.layers
            if [index for index, one in enumerate(row.energies) if one is not None] == [side]
        )

    def regressions(
        self, over: float, *, layers_over: float | None = None, real_z: float = REAL_Z
    ) -> tuple[Regression, ...]:
        """Return the increases beyond a share of the old energy by `real_z` deviations or more.

        Args:
            over: allowed increase of the total: 0.05 is 5 %.
            layers_over: allowed increase of each layer; None: layers are not judged. With many
                layers a chance increase is more likely, so each needs a higher z: together they are
                as unlikely to fail by chance as the total (Sidak's correction). A layer whose
                energy is not known on a side, or that only one side has, is not judged.
            real_z: standard deviations above the allowed increase from which it is significant.

        Raises:
            PywattError: the total cannot be judged, since its energy or standard deviation is not
                known.
        """
        for share in (over, 0.0 if layers_over is None else layers_over):
            if not (math.isfinite(share) and share >= 0.0):
                raise ArgumentError(f"an allowed increase must be 0 or more, not {share}")
        found = []
        for side in range(1, len(self.sides)):
            total = self.total.change(side)
            z = None if total is None else total.z_over(over)
            if z is None:
                raise PywattError(
                    f"{self.sides[0].name} and {self.sides[side].name} cannot be judged: the total "
                    "energy or its standard deviation is not known; see the notes of the profile"
                )
            if z >= real_z:
                found.append(Regression(self.total, side, over, z))
            if layers_over is not None:
                found += self._of_layers(side, layers_over, real_z)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; an infinite z, from deviations of 0, is None."""
        return {
            "format": "pywatt comparison",
            "per": self.per,
            "sides": [asdict(side) for side in self.sides],
            "total": _row_dict(self.total),
            "outside": _row_dict(self.outside),
            "layers": [_row_dict(row) for row in self.layers],
            "notes": list(self.notes),
        }

    def explain(self) -> str:
        """Return what the printed tables omit."""
        return explained(self)

    def __str__(self) -> str:
        return shown(self)

    def _of_layers(self, side: int, over: float, real_z: float) -> Iterator[Regression]:
        changes = [(row, row.change(side)) for row in self.layers]
        judged = [
            (row, z)
            for row, change in changes
            if change is not None and (z := change.z_over(over)) is not None
        ]
        needed = of_many(real_z, len(judged))
        return (Regression(row, side, over, z) for row, z in judged if z >= needed)


def _row_dict(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "type": row.type,
        "energies": [
            None if one is None else {"energy_j": one.energy_j, "energy_j_std": one.energy_j_std}
            for one in row.energies
        ],
        "changes": [_change_dict(row.change(side)) for side in range(1, len(row.energies))],
    }


def _change_dict(change: Change | None) -> dict[str, float | None] | None:
    if change is None:
        return None
    return {
        "difference_j": change.difference_j,
        "difference_j_std": change.difference_j_std,
        "relative": change.relative,
        "z": _finite(change.z),
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
