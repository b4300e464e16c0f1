"""The finished result of a profile: frozen numbers that renderers only read. SI units throughout.

Energy that is not known is None, never 0.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pywatt.errors import ScoreDomainError
from pywatt.scores.metrics import penalized_score, sam

if TYPE_CHECKING:
    from pywatt.sampling.trace import Trace
    from pywatt.sensors.device_state import DeviceState
    from pywatt.sensors.discovery import SensorInfo

Label = Literal["measured", "estimated"]

JOULES_PER_KWH = 3.6e6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayerEnergy:
    """What all calls of one module, or of one `pywatt.window` inside a profile, took together.

    An energy is None if the module was never called or no sensor covers its device.

    Attributes:
        name: path in the model ("encoder.layers.0"); "" is the model itself.
        type: class name; "window" for a span that the user marked.
        depth: levels below the model, which is at 0.
        calls: how often it ran; 0 for one that never did.
        time_s: time in it, its children included.
        self_time_s: time in it and in none of its children.
        energy_j: energy of it, its children included.
        energy_j_std: one standard deviation of `energy_j`.
        self_energy_j: energy of it without its children. The sum over all layers and
            `Profile.outside_j` is the energy of the run.
        self_energy_j_std: one standard deviation of `self_energy_j`.
        resolved: whether its own power could be told from that of others; if not, `self_energy_j`
            is hardly more than a share by time. None without an energy.
        parameters: numbers in its parameters, its children's included.
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
        """Mean power while in it, its children included; None without an energy or a time."""
        return None if self.energy_j is None else _ratio(self.energy_j, self.time_s)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile:
    """Energy of one run of a model, layer by layer. `print` it for a table.

    Attributes:
        model: class name of the model.
        layers: every module and every window, parents before their children.
        energy_j: energy of the whole run; None where a sensor that it needs failed: see `notes`.
        energy_j_std: one standard deviation of `energy_j`.
        duration_s: how long the run took.
        outside_j: the part of `energy_j` taken while no module ran: loading, copying, waiting.
        outside_j_std: one standard deviation of `outside_j`; None where not known.
        samples: items in all batches together; None where not known.
        unit: what energy is told per: "sample", or what the user has counted ("token").
        units: how many of them in all batches together; None where not known.
        batches: how many batches went through the model.
        accuracy: share of the samples that the model got right, 0 to 1; None where not measured.
        energy_by_sensor: sensor name to its energy over the run; None where it did not cover it.
        sensors: the sensors whose energy was shared among the layers.
        traces: sensor name to its readings. Not part of a comparison of profiles.
        method: how energy was shared among the layers: "overlap", "regression", "replay" or
            "time"; more than one where devices differ.
        method_reason: why this method, and what it means for the figures.
        closure: measured energy of what was replayed over the energy that replay says; None for
            other methods.
        closure_std: one standard deviation of `closure`.
        notes: what a reader of the figures has to know.
        estimated: true if any of the energy comes from a model of the machine and not from a meter.
        environment: versions, devices and date of the run.
        device_states: temperature, clock and throttle reasons of the GPUs just before and after the
            run, where they tell.
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
        """What the energies of the whole run are: "measured", or in part or all "estimated"."""
        return "estimated" if self.estimated else "measured"

    def layer_label(self, layer: LayerEnergy) -> Label | None:
        """What the energies of one layer are; None if it has none."""
        if layer.energy_j is None and layer.self_energy_j is None:
            return None
        covering = [
            sensor
            for sensor in self.sensors
            if sensor.device is None or layer.device is None or sensor.device == layer.device
        ]
        # A sensor that the user chose may stand in for a device that it was not made for.
        estimated = any(sensor.estimated for sensor in covering or self.sensors)
        return "estimated" if estimated else "measured"

    @property
    def power_w(self) -> float | None:
        """Mean power of the run."""
        return None if self.energy_j is None else _ratio(self.energy_j, self.duration_s)

    @property
    def energy_per_sample_j(self) -> float | None:
        """Energy of the run over its samples; None where their number is not known."""
        if self.samples is None or self.energy_j is None:
            return None
        return _ratio(self.energy_j, self.samples)

    @property
    def energy_per_unit_j(self) -> float | None:
        """Energy of the run over its units; None where their number is not known."""
        if self.units is None or self.energy_j is None:
            return None
        return _ratio(self.energy_j, self.units)

    @property
    def sam(self) -> float | None:
        """`pywatt.sam` of the accuracy and the run's kWh; None where `sam_note` says why."""
        return self._sam()[0]

    @property
    def sam_note(self) -> str | None:
        """Why `sam` is not defined; None if it is."""
        return self._sam()[1]

    @property
    def score(self) -> float | None:
        """`pywatt.penalized_score` of the accuracy and J per sample; None: see `score_note`."""
        return self._score()[0]

    @property
    def score_note(self) -> str | None:
        """Why `score` is not defined; None if it is."""
        return self._score()[1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the profile as JSON, compressed if the name ends in ".gz".

        An existing file is replaced only once the new one is complete. Raises OSError.
        """
        from pywatt.support.files import save

        save(self, path)

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row a layer. Raises ImportError without pandas."""
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
        from pywatt.renderers import get
        from pywatt.support.display import encodable

        return encodable(get("table").render(self))

    def _repr_html_(self) -> str:
        from html import escape  # its table of entities takes longer than the rest of this module

        return f'<pre style="line-height: 1.2">{escape(str(self))}</pre>'

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
