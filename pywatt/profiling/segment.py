"""The recording of one run, and its energy shared among the run's spans, source by source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pywatt.attribution import Attributed, Method, attribute
from pywatt.attribution.by_time import unknown_stds
from pywatt.attribution.choose import ADVICE
from pywatt.attribution.result import PathTimes
from pywatt.metering.sensor_model import SensorModel
from pywatt.metering.source import Source, sources_of
from pywatt.model.accuracy import Accuracy, Units
from pywatt.model.hooks import ModuleHooks
from pywatt.replay.closure import Closure, apply_closure
from pywatt.replay.result import Replayed
from pywatt.replay.run_total import fitted_total
from pywatt.sampling.trace import Trace
from pywatt.sensors.device_state import DeviceState
from pywatt.sensors.info import SensorInfo


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything recorded in one run.

    Attributes:
        hooks: the removed hooks, with the run's spans and modules.
        infos: all sensors that were read.
        traces: their readings, by sensor name.
        start_s: beginning of the measured window on the clock of spans and traces.
        end_s: end of it.
        batches: number of batches.
        training: whether the model was in training mode.
        samples: number of samples; None where not known.
        accuracy: accuracy over them.
        units: what energy is reported per, counted.
        notes: notes so far.
        method: the requested method of attribution.
        device_states: the devices' condition around the run.
        sensor_models: how sensors average, by sensor name, where known beforehand.
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
    """Share each source's energy from the run alone; a source without an energy is left out."""
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
    """Return the devices whose modules share a source's energy; `claimed` have their own source."""
    if source.info.device is not None:
        return [d for d in hooks.devices if d == source.info.device]
    # A sensor of no device covers all devices that have none of their own.
    return [d for d in hooks.devices if d not in claimed]


def with_replay(
    recording: Recording, shared: Sequence[Shared], replayed: Replayed
) -> tuple[Shared, ...]:
    """Share by replay what the run alone does not resolve, or everything if that was asked for."""
    return tuple(
        one
        if recording.method == "auto" and one.found.doubt is None
        else _by_replay(recording, one, replayed)
        for one in map(without_replay_hint, shared)
    )


def without_replay_hint(one: Shared) -> Shared:
    """Remove the advice to use replay from the notes, where replay ran or cannot."""
    notes = tuple(note.removesuffix(f"; {ADVICE}") for note in one.found.notes)
    return replace(one, found=replace(one.found, notes=notes))


def _by_replay(recording: Recording, one: Shared, replayed: Replayed) -> Shared:
    """Give the spans the energies of replay; leave them where replay has no reliable ones."""
    source, names = one.source, replayed.estimates.get(one.source.name)
    if names is None:
        return one
    spans = recording.hooks.spans(one.devices)
    times, total = PathTimes.of(spans), one.found.total
    if source.counter is None and source.power is not None:
        model = replayed.models.get(source.power.sensor.name)
        window = (recording.start_s, recording.end_s)
        total = fitted_total(source.power, model, names, spans, *window) or total
    energies, closure = apply_closure(
        names.padded(len(spans.names)),
        spans.paths,
        times,
        recording.duration_s,
        total,
    )
    notes: tuple[str, ...] = ()
    if not closure.consistent:
        notes = (
            f"the run took {closure.factor:.3g} times the energy that replay predicts "
            f"({source.name}): replay's figures are not reliable here, since the work or the "
            "machine was not the same",
        )
        if recording.method == "auto":
            return replace(one, found=replace(one.found, notes=(*one.found.notes, *notes)))
        energies = energies.widened_to(unknown_stds(times, total, recording.duration_s))
    blocks = f"{replayed.blocks} block{'s' * (replayed.blocks != 1)}"
    why = (
        f"each kind of call was repeated back to back ({blocks}, {replayed.duration_s:.0f} s) and "
        "the sum scaled to the measured energy"
    )
    if one.found.doubt is not None and recording.method == "auto":
        why += f"; the run alone does not resolve the layers: {one.found.doubt}"
    return replace(
        one, found=Attributed(energies, total, "replay", why, notes=notes), closure=closure
    )
