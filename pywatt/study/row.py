"""One model's result, from which rankings and pictures are made."""

from collections.abc import Iterable
from dataclasses import dataclass

from pywatt.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """Results of one model on the study's task. None where not known.

    Attributes:
        name: name of the model; unique in a study.
        accuracy: result of the task's metric, 0 to 1.
        accuracy_std: one standard deviation of it.
        test_energy_j: energy of the whole test.
        test_energy_j_std: one standard deviation of it.
        samples: samples in the test.
        train_energy_j: energy of the training.
        train_energy_j_std: one standard deviation of it.
        train_extrapolated: whether it is of more epochs than were measured.
        parameters: number of parameters.
        macs: multiply-accumulates for one sample.
        estimated: whether any of the energy was computed from a model of the machine.
    """

    name: str
    accuracy: float | None
    accuracy_std: float | None = None
    test_energy_j: float | None
    test_energy_j_std: float | None = None
    samples: int | None
    train_energy_j: float | None = None
    train_energy_j_std: float | None = None
    train_extrapolated: bool = False
    parameters: int | None = None
    macs: int | None = None
    estimated: bool

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0.0 <= self.accuracy <= 1.0:
            raise ArgumentError(f"{self.name}: accuracy must be from 0 to 1, not {self.accuracy}")

    @property
    def sample_energy_j(self) -> float | None:
        """Energy of the test per sample."""
        return None if not self.samples else _over(self.test_energy_j, self.samples)

    @property
    def sample_energy_j_std(self) -> float | None:
        """One standard deviation of `sample_energy_j`."""
        return None if not self.samples else _over(self.test_energy_j_std, self.samples)

    @property
    def correct_energy_j(self) -> float | None:
        """Energy per correct answer; None also where no answer is correct."""
        return None if not self.accuracy else _over(self.sample_energy_j, self.accuracy)


def extrapolation(rows: Iterable[StudyRow]) -> str:
    """Return whether training energies are extrapolated, as text; "" where none is."""
    kinds = {row.train_extrapolated for row in rows if row.train_energy_j is not None}
    if len(kinds) > 1:
        return "training partly extrapolated"
    return "training extrapolated" if True in kinds else ""


def _over(number: float | None, divisor: float) -> float | None:
    return None if number is None else number / divisor
