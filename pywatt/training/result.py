"""The finished result of a training: frozen numbers that renderers only read. SI units throughout.

Unknown energy is None, never 0.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from pywatt.errors import ArgumentError
from pywatt.sensors.info import SensorInfo
from pywatt.support import files
from pywatt.support.display import as_html, explained, shown

FORMAT = "pywatt training"


# Phases of a training in the order of a step; "other" is the rest.
PHASES = ("data", "forward", "backward", "optimizer", "other")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnergy:
    """Energy and time of one phase of a training. An energy is None if unknown.

    Attributes:
        name: "data" (waiting for the loader, moving batches), "forward" (the model and the loss),
            "backward", "optimizer", or "other" (the rest).
        energy_j: its energy. Those of all phases add up to the energy of the training.
        energy_j_std: one standard deviation of it.
        time_s: its time.
        resolved: whether its own power was resolved; if not, its energy is mostly its share of run
            time. None without an energy.
        outside_j: the part of `energy_j` that is in no module, such as the loss function's; None
            for a phase without modules, or if unknown.
    """

    name: str
    energy_j: float | None
    energy_j_std: float | None
    time_s: float
    resolved: bool | None
    outside_j: float | None = None

    @property
    def power_w(self) -> float | None:
        """Mean power; None without an energy or a time."""
        return self.energy_j / self.time_s if self.energy_j is not None and self.time_s else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayerTraining:
    """Energy and time of all forward and backward calls of one module.

    Modules are traced in some steps; calls, times and energies are scaled up to all steps. An
    energy is None if unknown or if the pass never happened, such as backward in a frozen layer
    whose input needs no gradient. A module that was never called, such as a ModuleList, has 0 J of
    its own and the energies of what ran inside it.

    Attributes:
        name: path in the model ("encoder.layers.0"); "" is the model itself.
        type: class name.
        depth: levels below the model, which is at 0.
        parameters: number of its parameters, its children's included.
        trained_parameters: number of those that require a gradient.
        device: the torch device that it ran on.
        forward_calls: number of forward calls, without those that checkpointing repeated.
        backward_calls: number of backward calls.
        forward_time_s: time in its forward calls, its children included.
        backward_time_s: time in its backward calls and in what checkpointing repeated.
        forward_energy_j: energy of its forward calls, its children included.
        forward_energy_j_std: one standard deviation of it.
        backward_energy_j: energy of its backward calls, what checkpointing repeated included.
        backward_energy_j_std: one standard deviation of it.
        forward_self_energy_j: `forward_energy_j` without that of its children. The sum over all
            layers and the phase's `outside_j` is the energy of the phase.
        forward_self_energy_j_std: one standard deviation of it.
        backward_self_energy_j: likewise.
        backward_self_energy_j_std: one standard deviation of it.
        resolved: whether its own power was resolved in each phase that it runs in; if not, its
            energies are mostly its share of run time. None without any.
    """

    name: str
    type: str
    depth: int
    parameters: int
    trained_parameters: int
    device: str | None
    forward_calls: float
    backward_calls: float
    forward_time_s: float
    backward_time_s: float
    forward_energy_j: float | None
    forward_energy_j_std: float | None
    backward_energy_j: float | None
    backward_energy_j_std: float | None
    forward_self_energy_j: float | None
    forward_self_energy_j_std: float | None
    backward_self_energy_j: float | None
    backward_self_energy_j_std: float | None
    resolved: bool | None

    @property
    def energy_j(self) -> float | None:
        """Energy of forward and backward together; None if neither is known."""
        return _sum(self.forward_energy_j, self.backward_energy_j)

    @property
    def self_energy_j(self) -> float | None:
        """Energy of forward and backward together without that of its children."""
        return _sum(self.forward_self_energy_j, self.backward_self_energy_j)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnergy:
    """One epoch.

    Attributes:
        index: its number over all sessions, from 0 on.
        energy_j: its energy; None if unknown.
        energy_j_std: one standard deviation of it.
        duration_s: how long it took.
        batches: number of batches.
        samples: number of samples; None if unknown.
        loss: mean loss of its batches; None if no losses were given.
        complete: whether it ran to its end. An epoch that was interrupted and restarted by the next
            session appears twice with one index: the energy of both was spent.
        session: number of the session that it ran in, from 0 on.
    """

    index: int
    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    batches: int
    samples: int | None
    loss: float | None
    complete: bool = True
    session: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSession:
    """One process that a training ran in; a restart from a checkpoint begins another session.

    Attributes:
        date: when it began, ISO 8601 in UTC.
        energy_j: its energy; None if unknown.
        energy_j_std: one standard deviation of it.
        duration_s: how long it took.
        complete_epochs: number of epochs it completed.
        ended: None if it ran to its end, else the name of the exception that ended it, or "going
            on" in a record whose session has not ended or was killed.
    """

    date: str
    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    complete_epochs: int
    ended: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """Energy of a whole training, extrapolated from its first epochs: never a measurement.

    Attributes:
        epochs: epochs of the whole training.
        measured_epochs: number of measured epochs.
        energy_j: extrapolated energy of all.
        energy_j_std: one standard deviation of it: from the spread between epochs, of those to come
            and of the mean itself, and from the measurement. None if only one epoch was measured.
        low_j: lower end of the 95 % prediction interval (Student's t); None likewise.
        high_j: upper end of it.
        duration_s: extrapolated time.
        estimated: whether any of the extrapolated energy comes from a model of the machine.
        notes: what a reader of the figures has to know.
    """

    epochs: int
    measured_epochs: int
    energy_j: float
    energy_j_std: float | None
    low_j: float | None
    high_j: float | None
    duration_s: float
    estimated: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shown(self)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingProfile:
    """Energy of a training. `print` it for a table.

    Attributes:
        model: class name of the model.
        phases: "data", "forward", "backward", "optimizer" and "other": they add up to `energy_j`.
        layers: every module, parents before their children.
        epochs: every epoch that was begun, in order.
        sessions: the processes that it ran in: more than one if a record was continued.
        energy_j: energy of the whole training so far; None if a sensor that it needs failed.
        energy_j_std: one standard deviation of `energy_j`.
        duration_s: how long it took.
        samples: number of samples in all batches; None if unknown.
        batches: number of batches that the model was trained on.
        traced_batches: number of batches in which modules were traced.
        energy_by_sensor: sensor name to its energy; None if it did not cover all of the training.
        sensors: the sensors whose energy was shared among phases and layers.
        method: how energy was shared among phases, and among layers if that differs.
        method_reason: why this method, and what it means for the figures.
        closure: measured / predicted energy of what was replayed, 1 is ideal; None for other
            methods.
        closure_std: one standard deviation of `closure`.
        notes: what a reader of the figures has to know.
        estimated: whether any of the energy comes from a model of the machine, not from a meter.
        environment: versions, devices and date of the first session.
    """

    model: str
    phases: tuple[PhaseEnergy, ...]
    layers: tuple[LayerTraining, ...]
    epochs: tuple[EpochEnergy, ...]
    sessions: tuple[TrainingSession, ...]
    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    samples: int | None
    batches: int
    traced_batches: int
    energy_by_sensor: Mapping[str, float | None]
    sensors: tuple[SensorInfo, ...]
    method: str
    method_reason: str
    closure: float | None = None
    closure_std: float | None = None
    notes: tuple[str, ...] = ()
    estimated: bool
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return "measured", or "estimated" if any of the energy is."""
        return "estimated" if self.estimated else "measured"

    @property
    def power_w(self) -> float | None:
        """Mean power of the training."""
        known = self.energy_j is not None and self.duration_s > 0
        return self.energy_j / self.duration_s if known and self.energy_j is not None else None

    @property
    def energy_per_sample_j(self) -> float | None:
        """Energy per sample; None if the number of samples is unknown."""
        return self.energy_j / self.samples if self.energy_j is not None and self.samples else None

    def phase(self, name: str) -> PhaseEnergy:
        """Return the phase of that name. Raises ArgumentError if there is none."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise ArgumentError(f"unknown phase {name!r}; choose from {', '.join(PHASES)}")

    def extrapolate(self, epochs: int) -> Extrapolation:
        """Extrapolate the energy of a training of `epochs` epochs from the complete ones.

        Raises:
            ArgumentError: fewer epochs than were measured, or none of known energy.
        """
        from pywatt.training.extrapolation import extrapolate

        return extrapolate(self, epochs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, compressed if the name ends in ".gz"; `pywatt.load` reads it.

        An existing file is replaced only once the new one is complete. Raises OSError.
        """
        files.save(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; power and energy per sample are in it too."""
        return files.enveloped(
            FORMAT,
            self,
            label=self.label,
            power_w=self.power_w,
            energy_per_sample_j=self.energy_per_sample_j,
            phases=[files.flat(phase) | {"power_w": phase.power_w} for phase in self.phases],
            layers=[files.flat(layer) for layer in self.layers],
            epochs=[files.flat(epoch) for epoch in self.epochs],
            sessions=[files.flat(session) for session in self.sessions],
            sensors=[sensor.to_dict() for sensor in self.sensors],
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TrainingProfile:
        """Undo `to_dict`. Raises TypeError, KeyError or ValueError for a damaged one."""
        return files.built(cls, document["profile"])

    def explain(self) -> str:
        """Return what the printed tables leave out: sensors, method, checks, all notes."""
        return explained(self)

    def __str__(self) -> str:
        return shown(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        energy = "energy unavailable" if self.energy_j is None else f"{self.energy_j:.4g} J"
        return (
            f"<TrainingProfile of {self.model}: {energy} {self.label} in {self.duration_s:.4g} s, "
            f"{len(self.epochs)} epochs>"
        )


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
