"""The result of one run of a study, as the results file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One model, trained and tested once on one device. None where not known.

    Attributes:
        key: key of the planned run; with `machine` it is unique in a results file.
        machine: name of the computer.
        setup: setup of the planned run: runs of one model that differ in it are not repeats.
        task: hash of data and metric: only runs of one task can be compared.
        study: name of the study.
        position: position in the study.
        model: name of the model.
        device: torch device ("cpu", "cuda:0").
        device_name: the maker's name of the device.
        seed: seed of all random generators.
        repeat: index of the repeat, from 0.
        error: why it failed; None: it did not.
        accuracy: result of the metric on the test, 0 to 1.
        accuracy_std: one standard deviation of it, the test being a random sample.
        samples: samples in the test.
        test_energy_j: energy of one pass over the test.
        test_energy_j_std: one standard deviation of it.
        test_duration_s: time of one pass over the test.
        train_energy_j: energy of the training.
        train_energy_j_std: one standard deviation of it.
        train_duration_s: time of the training.
        epochs: measured epochs; None also where the model has its own training function.
        extrapolated_to: number of epochs that training energy and duration are extrapolated to;
            None: those measured.
        parameters: number of parameters.
        flops: FLOPs of one sample, as torch's FlopCounterMode counts them.
        peak_memory_bytes: on a GPU the peak that torch allocated; on a CPU the peak resident memory
            of the whole process, Python and torch included.
        estimated: whether any of the energy was computed from a model of the machine.
        sensors: names of the sensors that were read.
        versions: versions of Python, torch and pywatt.
        date: when it finished, UTC.
        notes: caveats on the figures.
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
        """Whether training energy and duration are of more epochs than were measured."""
        return self.extrapolated_to is not None and self.extrapolated_to != self.epochs
