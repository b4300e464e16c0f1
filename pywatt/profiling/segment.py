"""What one run has left behind, and its energy shared among the run's spans, source by source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pywatt.attribution import Attributed, Method, attribute
from pywatt.attribution.by_time import unknown_stds
from pywatt.attribution.choose import BETTER
from pywatt.attribution.result import PathTimes
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import Source, sources_of
from pywatt.model.batch import Accuracy, Units
from pywatt.model.hooks import ModuleHooks
from pywatt.replay.closure import Closure, close
from pywatt.replay.result import Replayed
from pywatt.replay.run_total import fitted_total
from pywatt.sampling.trace import Trace
from pywatt.sensors.device_state import DeviceState
from pywatt.sensors.discovery import SensorInfo


@dataclass(frozen=True, slots=True)
class Recording:
    """All that one run has left behind.

    Attributes:
        hooks: its spans and modules, taken off.
        infos: all sensors that were read.
        traces: what they gave, by name.
        start_s: beginning of the measured window on the clock of spans and traces.
        end_s: end of it.
        batches: how many batches went through.
        training: whether the model was in training mode.
        samples: how many samples; None where not known.
        accuracy: accuracy over them.
        units: what energy is told per, counted.
        notes: what is known so far that a reader must know.
        method: asked-for method of attribution.
        device_states: the devices' condition around the run.
        sensor_models: how sensors average, by their names, where that was known beforehand.
    """

    hooks: ModuleHooks
    infos: tuple[SensorInfo, ...]
    traces: Mapping[str, Trace]
    start_s: float
    end_s: float
    batches: int
    training: bool
    samples: int | None
    accuracy: Accuracy
    units: Units
    notes: tuple[str, ...]
    method: Method
    device_states: tuple[DeviceState, ...] = ()
    sensor_models: Mapping[str, SensorModel] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was metered."""
        return sources_of(self.traces, self.infos)

    @property
    def duration_s(self) -> float:
        """Length of the measured window."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Shared:
    """One source's energy, shared among the modules on some devices.

    Attributes:
        source: where the energy comes from.
        devices: whose modules it was shared among.
        found: the energies, by call path.
        closure: how far replay and the run agree; None for other methods.
    """

    source: Source
    devices: tuple[str, ...]
    found: Attributed
    closure: Closure | None = None


def share(recording: Recording) -> tuple[Shared, ...]:
    """Share the energy of each source from the run alone; one that tells no energy is left out."""
    sources = recording.sources
    claimed = {source.info.device for source in sources if source.info.device is not None}
    shared = []
    for source in sources:
        devices = devices_of(source, recording.hooks, claimed)
        power = source.power
        known = None if power is None else recording.sensor_models.get(power.sensor.name)
        found = attribute(
            source,
            recording.hooks.spans(devices),
            recording.start_s,
            recording.end_s,
            method="auto" if recording.method == "replay" else recording.method,
            sensor_model=known,
        )
        if found is not None:
            shared.append(Shared(source, tuple(devices), found))
    return tuple(shared)


def devices_of(source: Source, hooks: ModuleHooks, claimed: Collection[str | None]) -> list[str]:
    """Devices whose modules a source's energy is shared among; `claimed` have one of their own."""
    if source.info.device is not None:
        return [d for d in hooks.devices if d == source.info.device]
    # The one sensor given stands for all that has none of its own.
    return [d for d in hooks.devices if d not in claimed]


def with_replay(
    recording: Recording, shared: Sequence[Shared], replayed: Replayed
) -> tuple[Shared, ...]:
    """Share by replay what the run alone does not tell, or all of it where that was asked for."""
    return tuple(
        one
        if recording.method == "auto" and one.found.doubt is None
        else _by_replay(recording, one, replayed)
        for one in map(without_advice, shared)
    )


def without_advice(one: Shared) -> Shared:
    """Leave out of the notes that replay would tell, where it was tried or cannot be."""
    notes = tuple(note.removesuffix(f"; {BETTER}") for note in one.found.notes)
    return replace(one, found=replace(one.found, notes=notes))


def _by_replay(recording: Recording, one: Shared, replayed: Replayed) -> Shared:
    """Charge the spans with the energies of replay; as they were where it has none to believe."""
    source, names = one.source, replayed.names.get(one.source.name)
    if names is None:
        return one
    spans = recording.hooks.spans(one.devices)
    times, total = PathTimes.of(spans), one.found.total
    if source.counter is None and source.power is not None:
        model = replayed.models.get(source.power.sensor.name)
        window = (recording.start_s, recording.end_s)
        total = fitted_total(source.power, model, names, spans, *window) or total
    energies, closure = close(
        names.padded(len(spans.names)),
        spans.paths,
        times,
        recording.duration_s,
        total,
    )
    notes: tuple[str, ...] = ()
    if not closure.believable:
        notes = (
            f"the run took {closure.factor:.3g} times the energy that replay tells of it "
            f"({source.name}): replay's figures cannot be believed here, since the work or the "
            "machine was not the same",
        )
        if recording.method == "auto":
            return replace(one, found=replace(one.found, notes=(*one.found.notes, *notes)))
        energies = energies.no_surer_than(unknown_stds(times, total, recording.duration_s))
    why = (
        "each kind of call was run back to back for as long as the sensor needs, within "
        f"{replayed.duration_s:.0f} s and {replayed.blocks} blocks, and the sum corrected to what "
        "the run really took"
    )
    if one.found.doubt is not None and recording.method == "auto":
        why += f"; from the run alone it cannot be told: {one.found.doubt}"
    return replace(
        one, found=Attributed(energies, total, "replay", why, notes=notes), closure=closure
    )
