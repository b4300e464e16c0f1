"""The finished result of a training: frozen numbers that renderers only read. SI units throughout.

Energy that is not known is None, never 0.
"""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pywatt.errors import ArgumentError

if TYPE_CHECKING:
    from pywatt.sensors.discovery import SensorInfo

# What a training's time is spent on, in the order of a step; "other" is all that is none of them.
PHASES = ("data", "forward", "backward", "optimizer", "other")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnergy:
    """All of one phase of a training. An energy is None where it is not known.

    Attributes:
        name: "data" (waiting for the loader, moving batches), "forward" (the model and the loss),
            "backward", "optimizer", or "other" (all the rest).
        energy_j: its energy. Those of all phases add up to the energy of the training.
        energy_j_std: one standard deviation of it.
        time_s: its time.
        resolved: whether its power could be told from that of the others; if not, its energy is
            hardly more than a share by time. None without an energy.
        outside_j: the part of `energy_j` that is in no module, such as the loss function's; None
            for a phase that has no modules, or where it is not known.
    """

    name: str
    energy_j: float | None
    energy_j_std: float | None
    time_s: float
    resolved: bool | None
    outside_j: float | None = None

    @property
    def power_w(self) -> float | None:
        """Mean power in it; None without an energy or a time."""
        return self.energy_j / self.time_s if self.energy_j is not None and self.time_s else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayerTraining:
    """What all forward and backward calls of one module took together.

    Modules are traced in some of the steps, and calls, times and energies stand for all steps. An
    energy is None where it is not known, and that of a pass that never happened, as backward in a
    frozen layer whose input needs no gradient, is None too.

    Attributes:
        name: path in the model ("encoder.layers.0"); "" is the model itself.
        type: class name.
        depth: levels below the model, which is at 0.
        parameters: numbers in its parameters, its children's included.
        trained_parameters: those of them that require a gradient.
        device: the torch device that it ran on.
        forward_calls: how often it ran forward, without what checkpointing ran again.
        backward_calls: how often it ran backward.
        forward_time_s: time in its forward calls, its children included.
        backward_time_s: time in its backward calls and in what checkpointing ran again.
        forward_energy_j: energy of its forward calls, its children included.
        forward_energy_j_std: one standard deviation of it.
        backward_energy_j: energy of its backward calls, what checkpointing ran again included.
        backward_energy_j_std: one standard deviation of it.
        forward_self_energy_j: the part of `forward_energy_j` that is none of its children's. The
            sum over all layers and the phase's `outside_j` is the energy of the phase.
        forward_self_energy_j_std: one standard deviation of it.
        backward_self_energy_j: likewise.
        backward_self_energy_j_std: one standard deviation of it.
        resolved: whether its own power could be told from that of others in each phase that it
            runs in; if not, its energies are hardly more than shares of time. None without any.
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
        """Energy of forward and backward together; None where neither is known."""
        return _sum(self.forward_energy_j, self.backward_energy_j)

    @property
    def self_energy_j(self) -> float | None:
        """Energy of forward and backward together without the children's."""
        return _sum(self.forward_self_energy_j, self.backward_self_energy_j)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnergy:
    """One epoch.

    Attributes:
        index: its number over all sessions, from 0 on.
        energy_j: its energy; None where it is not known.
        energy_j_std: one standard deviation of it.
        duration_s: how long it took.
        batches: how many batches it had.
        samples: how many samples; None where not known.
        loss: mean of the batches' losses; None where they were not told.
        complete: whether it came to its end. One that was interrupted, and begun again by the next
            session, is there twice with one index: the energy of both was spent.
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
    """One process that a training ran in: a restart from a checkpoint begins another.

    Attributes:
        date: when it began, ISO 8601 in UTC.
        energy_j: what it took; None where it is not known.
        energy_j_std: one standard deviation of it.
        duration_s: how long it took.
        complete_epochs: how many epochs it finished.
        ended: None where it came to its end, else the name of the exception that ended it, or
            "going on" in the record of one that has not told its end.
    """

    date: str
    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    complete_epochs: int
    ended: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """What a whole training would take, extrapolated from its first epochs: never a measurement.

    Attributes:
        epochs: epochs of the whole training.
        measured_epochs: how many of them were measured.
        energy_j: extrapolated energy of all.
        energy_j_std: one standard deviation of it: the spread between epochs, of those to come and
            of the mean itself, and the measurement's own. None where one epoch tells no spread.
        low_j: lower end of the 95 % prediction interval (Student's t); None likewise.
        high_j: upper end of it.
        duration_s: extrapolated time.
        estimated: whether what was extrapolated was in part computed by a model of the machine.
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
        from pywatt.renderers.training import extrapolated
        from pywatt.support.display import encodable

        return encodable(extrapolated(self))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingProfile:
    """Energy of a training. `print` it for a table.

    Attributes:
        model: class name of the model.
        phases: "data", "forward", "backward", "optimizer" and "other": they add up to `energy_j`.
        layers: every module, parents before their children.
        epochs: every epoch that was begun, in order.
        sessions: the processes that it ran in: more than one where a record was gone on with.
        energy_j: energy of the whole training so far; None where a sensor that it needs failed.
        energy_j_std: one standard deviation of `energy_j`.
        duration_s: how long it took.
        samples: samples in all batches; None where not known.
        batches: how many batches the model was trained on.
        traced_batches: in how many of them modules were traced.
        energy_by_sensor: sensor name to its energy; None where it did not cover all of it.
        sensors: the sensors whose energy was shared among phases and layers.
        method: how energy was shared among phases, and among layers where that differs.
        method_reason: why this method, and what it means for the figures.
        closure: measured energy of what was replayed over the energy that replay says; None for
            other methods.
        closure_std: one standard deviation of `closure`.
        notes: what a reader of the figures has to know.
        estimated: true if any of the energy comes from a model of the machine and not from a meter.
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
        """What the energies are: "measured", or in part or all "estimated"."""
        return "estimated" if self.estimated else "measured"

    @property
    def power_w(self) -> float | None:
        """Mean power of the training."""
        known = self.energy_j is not None and self.duration_s > 0
        return self.energy_j / self.duration_s if known and self.energy_j is not None else None

    @property
    def energy_per_sample_j(self) -> float | None:
        """Energy over its samples; None where their number is not known."""
        return self.energy_j / self.samples if self.energy_j is not None and self.samples else None

    def phase(self, name: str) -> PhaseEnergy:
        """The phase of that name. Raises ArgumentError where there is none."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise ArgumentError(f"there is no phase {name!r}; there are {', '.join(PHASES)}")

    def extrapolate(self, epochs: int) -> Extrapolation:
        """What a training of so many epochs would take, from the complete ones of this.

        Raises:
            ArgumentError: fewer epochs than were measured, or none of known energy.
        """
        from pywatt.training.extrapolation import extrapolate

        return extrapolate(self, epochs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON, compressed if the name ends in ".gz". Raises OSError.

        An existing file is replaced only once the new one is complete.
        """
        from pywatt.support.files import save_training

        save_training(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainingProfile:
        """Reads what `save` wrote, or a record of `profile_training(..., record=path)`.

        Raises FileFormatError for anything else, OSError where the file cannot be read.
        """
        from pywatt.support.files import load_training

        return load_training(path)

    def __str__(self) -> str:
        from pywatt.renderers.training import render
        from pywatt.support.display import encodable

        return encodable(render(self))

    def _repr_html_(self) -> str:
        return f'<pre style="line-height: 1.2">{html.escape(str(self))}</pre>'

    def __repr__(self) -> str:
        energy = "energy unavailable" if self.energy_j is None else f"{self.energy_j:.4g} J"
        return (
            f"<TrainingProfile of {self.model}: {energy} {self.label} in {self.duration_s:.4g} s, "
            f"{len(self.epochs)} epochs>"
        )


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
