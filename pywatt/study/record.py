"""What one run of a study has found: what the results file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One model, trained and tested once on one device. None where not known.

    Attributes:
        key: of the planned run; with `machine` it is unique in a results file.
        machine: name of the computer.
        setup: of the planned run: runs of one model that differ in it are not repeats.
        task: hash of data and metric: only runs of one task can be held against one another.
        study: name of the study.
        position: place in the study.
        model: name of the model.
        device: torch device ("cpu", "cuda:0").
        device_name: what it is called by its maker.
        seed: of all random generators.
        repeat: which of the repeats, from 0.
        error: why it failed; None: it did not.
        accuracy: what the metric says of the test, 0 to 1.
        accuracy_std: one standard deviation of it, the test being a draw of all that there could
            be.
        samples: items in the test.
        test_energy_j: energy of one pass over the test.
        test_energy_j_std: one standard deviation of it.
        test_duration_s: time of one pass over the test.
        train_energy_j: energy of the training.
        train_energy_j_std: one standard deviation of it.
        train_duration_s: time of the training.
        epochs: times through the training loader; None too where the model trains its own way.
        extrapolated_to: for how many epochs training energy and duration are told, from those that
            were measured; None: for these.
        parameters: numbers in the model's parameters.
        flops: of one sample, as torch's FlopCounterMode counts them.
        peak_memory_bytes: on a GPU what torch had allocated at most; on a CPU the most that the
            whole process had in memory, Python and torch included.
        estimated: true if any of the energy comes from a model of the machine.
        sensors: what was read.
        versions: of Python, torch and pywatt.
        date: when it was finished, UTC.
        notes: what a reader of the figures has to know.
    """

    key: str
    machine: str
    setup: str
    task: str
    study: str
    position: int
    model: str
    device: str
    device_name: str | None = None
    seed: int
    repeat: int
    error: str | None = None
    accuracy: float | None = None
    accuracy_std: float | None = None
    samples: int | None = None
    test_energy_j: float | None = None
    test_energy_j_std: float | None = None
    test_duration_s: float | None = None
    train_energy_j: float | None = None
    train_energy_j_std: float | None = None
    train_duration_s: float | None = None
    epochs: int | None = None
    extrapolated_to: int | None = None
    parameters: int | None = None
    flops: float | None = None
    peak_memory_bytes: int | None = None
    estimated: bool = False
    sensors: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    notes: tuple[str, ...] = ()

    @property
    def extrapolated(self) -> bool:
        """Whether training energy and duration are told for more epochs than were measured."""
        return self.extrapolated_to is not None and self.extrapolated_to != self.epochs
