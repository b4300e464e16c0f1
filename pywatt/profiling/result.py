"""The finished profile: frozen numbers in SI units, which renderers only read.

An unknown energy is None, never 0.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from typing import Any, Literal

from pywatt.errors import ScoreDomainError
from pywatt.sampling.trace import Trace
from pywatt.scores.footprint import JOULES_PER_KWH
from pywatt.scores.metrics import penalized_score, sam
from pywatt.sensors.device_state import DeviceState
from pywatt.sensors.info import SensorInfo
from pywatt.support import files
from pywatt.support.display import as_html, explained, shown

Label = Literal["measured", "estimated"]

FORMAT = "pywatt profile"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayerEnergy:
    """Energy of all calls of one module, or of one `pywatt.window` inside a profile.

    An energy is None if it is not known, as where no sensor covers the device. A module that was
    never called, such as a ModuleList, has 0 of its own, and the energy of what ran inside it.
    Work done with a module's parameters without calling the module (the children of a fused
    TransformerEncoderLayer, MultiheadAttention.out_proj) counts for its caller.

    Attributes:
        name: path in the model ("encoder.layers.0"); "" is the model itself.
        type: class name; "window" for a span that the user marked.
        depth: levels below the model, which is at 0.
        calls: number of calls; 0 if it never ran.
        time_s: time in it, children included.
        self_time_s: time in it and in none of its children.
        energy_j: its energy, children included.
        energy_j_std: one standard deviation of `energy_j`.
        self_energy_j: its energy without its children. The sum over all layers and
            `Profile.outside_j` is the energy of the run.
        self_energy_j_std: one standard deviation of `self_energy_j`.
        resolved: whether its own power could be measured; if not, `self_energy_j` is mostly its
            share of run time. None without an energy.
        parameters: number of parameters, children included.
        device: the torch device that it ran on ("cuda:0"); None where not known or more than one.
    """

    name: str
    type: str
    depth: int
    calls: int
    time_s: float
    self_time_s: float
    energy_j: float | None
    energy_j_std: float | None
    self_energy_j: float | None
    self_energy_j_std: float | None
    resolved: bool | None
    parameters: int
    device: str | None

    @property
    def power_w(self) -> float | None:
        """Mean power while in it, children included; None without an energy or a time."""
        return None if self.energy_j is None else _ratio(self.energy_j, self.time_s)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile:
    """Energy of one run of a model, layer by layer. `print` it for a table.

    Attributes:
        model: class name of the model.
        layers: every module and every window, parents before their children.
        energy_j: energy of the whole run; None if a sensor that it needs failed: see `notes`.
        energy_j_std: one standard deviation of `energy_j`.
        duration_s: duration of the run.
        outside_j: the part of `energy_j` used while no module ran: loading, copying, waiting.
        outside_j_std: one standard deviation of `outside_j`; None where not known.
        samples: samples in all batches; None where not known.
        unit: what energy is reported per: "sample", or what the user counts ("token").
        units: number of units in all batches; None where not known.
        batches: number of batches.
        accuracy: share of the samples that the model got right, 0 to 1; None where not measured.
        energy_by_sensor: energy of the run by sensor name; None where the sensor did not cover it.
        sensors: the sensors whose energy was shared among the layers.
        traces: readings by sensor name. Not part of a comparison of profiles.
        method: how energy was shared among the layers: "overlap", "regression", "replay" or
            "time"; more than one where devices differ.
        method_reason: why this method was used, and what it means for the figures.
        closure: measured energy of what was replayed over the energy that replay predicts; None
            for other methods.
        closure_std: one standard deviation of `closure`.
        notes: caveats on the figures.
        estimated: whether any of the energy was computed from a model instead of read from a meter.
        environment: versions, devices and date of the run.
        device_states: temperature, clock and throttle reasons of the GPUs just before and after the
            run, where available.
    """

    model: str
    layers: tuple[LayerEnergy, ...]
    energy_j: float | None
    energy_j_std: float | None
    duration_s: float
    outside_j: float | None
    outside_j_std: float | None
    samples: int | None
    unit: str = "sample"
    units: int | None = None
    batches: int
    accuracy: float | None
    energy_by_sensor: Mapping[str, float | None]
    sensors: tuple[SensorInfo, ...]
    traces: Mapping[str, Trace] = dataclasses.field(default_factory=dict, compare=False)
    method: str
    method_reason: str
    closure: float | None = None
    closure_std: float | None = None
    notes: tuple[str, ...] = ()
    estimated: bool
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device_states: tuple[DeviceState, ...] = ()

    @property
    def label(self) -> Label:
        """Whether the energies of the run are "measured" or, in part or all, "estimated"."""
        return "estimated" if self.estimated else "measured"

    def layer_label(self, layer: LayerEnergy) -> Label | None:
        """Return whether one layer's energies are "measured" or "estimated"; None without any."""
        if layer.energy_j is None and layer.self_energy_j is None:
            return None
        covering = [
            sensor
            for sensor in self.sensors
            if sensor.device is None or layer.device is None or sensor.device == layer.device
        ]
        # A sensor that the user chose may be used for a device that it was not made for.
        estimated = any(sensor.estimated for sensor in covering or self.sensors)
        return "estimated" if estimated else "measured"

    @property
    def power_w(self) -> float | None:
        """Mean power of the run."""
        return None if self.energy_j is None else _ratio(self.energy_j, self.duration_s)

    @property
    def energy_per_sample_j(self) -> float | None:
        """Energy of the run per sample; None where the number of samples is not known."""
        if self.samples is None or self.energy_j is None:
            return None
        return _ratio(self.energy_j, self.samples)

    @property
    def energy_per_unit_j(self) -> float | None:
        """Energy of the run per unit; None where the number of units is not known."""
        if self.units is None or self.energy_j is None:
            return None
        return _ratio(self.energy_j, self.units)

    @property
    def sam(self) -> float | None:
        """`pywatt.sam` of the accuracy and the run's kWh; None: see `sam_note`."""
        return self._sam()[0]

    @property
    def sam_note(self) -> str | None:
        """Why `sam` is not defined; None if it is."""
        return self._sam()[1]

    @property
    def score(self) -> float | None:
        """`pywatt.penalized_score` of accuracy and J per sample; None: see `score_note`."""
        return self._score()[0]

    @property
    def score_note(self) -> str | None:
        """Why `score` is not defined; None if it is."""
        return self._score()[1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON, compressed if the name ends in ".gz"; `pywatt.load` reads it.

        An existing file is replaced only when the new one is complete. Raises OSError.
        """
        files.save(self.to_dict(), path)

    def to_dict(self, *, traces: bool = True) -> dict[str, Any]:
        """Return plain JSON types, without the readings if `traces` is False.

        Derived figures (power, scores, labels) are included for other readers.
        """
        return files.enveloped(
            FORMAT,
            self,
            label=self.label,
            power_w=self.power_w,
            energy_per_sample_j=self.energy_per_sample_j,
            sam=self.sam,
            sam_note=self.sam_note,
            score=self.score,
            score_note=self.score_note,
            layers=[
                files.flat(layer) | {"power_w": layer.power_w, "label": self.layer_label(layer)}
                for layer in self.layers
            ],
            sensors=[sensor.to_dict() for sensor in self.sensors],
            device_states=[files.flat(state) for state in self.device_states],
            traces={name: trace.to_dict() for name, trace in self.traces.items()} if traces else {},
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Profile:
        """Undo `to_dict`. Raises TypeError, KeyError or ValueError for a damaged document."""
        return files.built(cls, document["profile"])

    def explain(self) -> str:
        """Return what the printed table omits: sensors, method, checks, scores, all notes."""
        return explained(self)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with one row per layer. Raises ImportError without pandas."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame(
            [
                dataclasses.asdict(layer)
                | {"power_w": layer.power_w, "label": self.layer_label(layer)}
                for layer in self.layers
            ]
        )

    def __str__(self) -> str:
        return shown(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        energy = "energy unavailable" if self.energy_j is None else f"{self.energy_j:.4g} J"
        return (
            f"<Profile of {self.model}: {energy} {self.label} "
            f"in {self.duration_s:.4g} s, {len(self.layers)} layers>"
        )

    def _sam(self) -> tuple[float | None, str | None]:
        if self.accuracy is None:
            return None, "the accuracy is not known"
        if self.energy_j is None:
            return None, "the energy is not known"
        try:
            return sam(self.accuracy, self.energy_j / JOULES_PER_KWH), None
        except ScoreDomainError as error:
            return None, str(error)

    def _score(self) -> tuple[float | None, str | None]:
        if self.accuracy is None:
            return None, "the accuracy is not known"
        if self.energy_per_sample_j is None:
            unknown = "energy" if self.energy_j is None else "number of samples"
            return None, f"the {unknown} is not known"
        try:
            return penalized_score(self.accuracy, self.energy_per_sample_j), None
        except ScoreDomainError as error:
            return None, str(error)


def _ratio(energy_j: float, over: float) -> float | None:
    return energy_j / over if over > 0 else None
