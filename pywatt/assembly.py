"""From what was recorded to the finished profile."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import torch

from pywatt._core import __version__
from pywatt.attribution import Attributed, Method, attribute
from pywatt.attribution.result import PathTimes, WindowEnergy, fold_by_name, fold_outermost
from pywatt.attribution.source import (
    Source,
    added,
    caveats,
    energy_by_sensor,
    sources_of,
    total_energy,
    unknowns,
    window_energy,
)
from pywatt.batches import Accuracy
from pywatt.device_state import DeviceState, moves
from pywatt.hooks import ModuleHooks
from pywatt.modules import find_wholes
from pywatt.replay.closing import Closure, close
from pywatt.replay.findings import Replayed
from pywatt.replay.window import steady_energy
from pywatt.results import LayerEnergy, Profile
from pywatt.sensors import SensorInfo
from pywatt.spans import Spans
from pywatt.trace import Trace

FloatArray = npt.NDArray[np.float64]


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
        notes: what is known so far that a reader must know.
        method: asked-for method of attribution.
        device_states: the devices' condition around the run.
        replayed: what replay found; None where there was none.
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
    notes: tuple[str, ...]
    method: Method
    device_states: tuple[DeviceState, ...] = ()
    replayed: Replayed | None = None


@dataclass(slots=True)
class _Figures:
    """Sums over sources by call path; `covered` tells which devices have a known energy."""

    self_j: FloatArray
    self_var: FloatArray
    inclusive_var: FloatArray
    outside_j: float
    outside_var: float
    covered: set[str]
    found: list[Attributed]
    closure: Closure | None = None


def assemble(recording: Recording) -> Profile:
    """Attribute what was measured, and make the profile of it."""
    hooks = recording.hooks
    sources = sources_of(recording.traces, recording.infos)
    times_by_device = {d: PathTimes.of(hooks.spans([d])) for d in hooks.devices}
    figures = _attribute_all(recording, sources)
    window = (recording.start_s, recording.end_s)
    total = _total(sources, figures, window)
    layers = _layers(hooks, figures, times_by_device)
    used = {source.name for source in sources}
    return Profile(
        model=hooks.entries[0].type,
        layers=layers,
        energy_j=None if total is None else total.energy_j,
        energy_j_std=None if total is None else total.energy_j_std,
        duration_s=recording.end_s - recording.start_s,
        outside_j=None if total is None else figures.outside_j,
        outside_j_std=None if total is None else float(np.sqrt(figures.outside_var)),
        samples=recording.samples,
        batches=recording.batches,
        accuracy=recording.accuracy.value,
        energy_by_sensor=energy_by_sensor(recording.traces, recording.infos, *window),
        sensors=tuple(i for i in recording.infos if (i.source or i.name) in used),
        traces=dict(recording.traces),
        method=" and ".join(dict.fromkeys(a.method for a in figures.found)) or "none",
        method_reason="; ".join(dict.fromkeys(a.reason for a in figures.found))
        or "no sensor gave an energy for this run",
        closure=None if figures.closure is None else figures.closure.factor,
        closure_std=None if figures.closure is None else figures.closure.factor_std,
        notes=tuple(dict.fromkeys(_notes(recording, sources, figures, layers))),
        estimated=any(source.info.estimated for source in sources),
        environment=_environment(hooks),
        device_states=recording.device_states,
    )


def devices_of(source: Source, hooks: ModuleHooks, claimed: Collection[str | None]) -> list[str]:
    """Devices whose modules a source's energy is shared among; `claimed` have one of their own."""
    if source.info.device is not None:
        return [d for d in hooks.devices if d == source.info.device]
    # The one sensor given stands for all that has none of its own.
    return [d for d in hooks.devices if d not in claimed]


def _attribute_all(recording: Recording, sources: tuple[Source, ...]) -> _Figures:
    hooks = recording.hooks
    paths = len(hooks.recorder.paths()[0])
    figures = _Figures(np.zeros(paths), np.zeros(paths), np.zeros(paths), 0.0, 0.0, set(), [])
    claimed = {s.info.device for s in sources if s.info.device is not None}
    for source in sources:
        devices = devices_of(source, hooks, claimed)
        found = _by_replay(recording, source, hooks.spans(devices), figures) or attribute(
            source,
            hooks.spans(devices),
            recording.start_s,
            recording.end_s,
            method="auto" if recording.method == "replay" else recording.method,
        )
        if found is None:
            continue
        energies = found.energies
        figures.self_j += energies.self_energy_j
        figures.self_var += energies.self_energy_j_std**2
        figures.inclusive_var += energies.energy_j_std**2
        figures.outside_j += energies.outside_j
        figures.outside_var += energies.outside_j_std**2
        figures.covered.update(devices)
        figures.found.append(found)
    return figures


def _total(
    sources: tuple[Source, ...], figures: _Figures, window: tuple[float, float]
) -> WindowEnergy | None:
    """Energy of all sources, as it was shared; None where one cannot tell."""
    if not figures.found or len(figures.found) < len(sources):
        return total_energy(sources, *window)
    return added(found.total for found in figures.found)


def _by_replay(
    recording: Recording, source: Source, spans: Spans, figures: _Figures
) -> Attributed | None:
    """Charge the spans with the energies of replay; None where it has none from this source."""
    replayed = recording.replayed
    names = None if replayed is None else replayed.names.get(source.name)
    if replayed is None or names is None:
        return None
    window = (recording.start_s, recording.end_s)
    total = None
    if source.counter is None and source.power is not None:
        model = replayed.models.get(source.power.sensor.name)
        total = steady_energy(source.power, model, *window)
    total = total or window_energy(source, *window)
    if total is None:
        return None
    energies, figures.closure = close(
        names.padded(len(spans.names)),
        spans.paths,
        PathTimes.of(spans),
        recording.end_s - recording.start_s,
        total,
    )
    why = (
        "each kind of call was run back to back for as long as the sensor needs, within "
        f"{replayed.duration_s:.0f} s and {replayed.blocks} blocks, and the sum corrected to what "
        "the run really took"
    )
    return Attributed(energies, total, "replay", why)


def _layers(
    hooks: ModuleHooks, figures: _Figures, times_by_device: Mapping[str, PathTimes]
) -> tuple[LayerEnergy, ...]:
    paths = hooks.spans(hooks.devices).paths
    names = len(hooks.entries) + len(hooks.windows)

    def own(by_path: FloatArray) -> FloatArray:
        return fold_by_name(paths, by_path, names)

    def inclusive(by_path: FloatArray) -> FloatArray:
        return fold_outermost(paths, by_path, names)

    times = list(times_by_device.values())
    calls = own(np.sum([t.calls for t in times], axis=0))
    time_s = inclusive(np.sum([t.time_s for t in times], axis=0))
    self_time_s = own(np.sum([t.self_time_s for t in times], axis=0))
    energy_j = inclusive(paths.plus_children(figures.self_j))
    self_j = own(figures.self_j)
    # Paths of one name err the same way round, so their deviations add up.
    energy_std = inclusive(np.sqrt(figures.inclusive_var))
    self_std = own(np.sqrt(figures.self_var))
    uncovered = np.array([hooks.device_of(int(n)) not in figures.covered for n in paths.name], bool)
    misses_part = inclusive(paths.plus_children(uncovered.astype(np.float64))) > 0

    def row(index: int, name: str, kind: str, depth: int, parameters: int) -> LayerEnergy:
        device = hooks.device_of(index)
        ran = calls[index] > 0
        known = ran and device in figures.covered
        whole = ran and not misses_part[index]
        return LayerEnergy(
            name=name,
            type=kind,
            depth=depth,
            calls=int(calls[index]),
            time_s=float(time_s[index]),
            self_time_s=float(self_time_s[index]),
            energy_j=float(energy_j[index]) if whole else None,
            energy_j_std=float(energy_std[index]) if whole else None,
            self_energy_j=float(self_j[index]) if known else None,
            self_energy_j_std=float(self_std[index]) if known else None,
            parameters=parameters,
            device=device,
        )

    rows = [
        row(len(hooks.entries) + i, name, "window", 0, 0) for i, name in enumerate(hooks.windows)
    ]
    rows += [
        row(i, entry.name, entry.type, entry.depth, entry.parameters)
        for i, entry in enumerate(hooks.entries)
    ]
    return tuple(rows)


def _notes(
    recording: Recording,
    sources: tuple[Source, ...],
    figures: _Figures,
    layers: tuple[LayerEnergy, ...],
) -> Iterable[str]:
    hooks = recording.hooks
    yield from recording.notes
    yield from unknowns(sources, recording.start_s, recording.end_s)
    for found in figures.found:
        yield from found.notes
    if recording.replayed is not None:
        yield from recording.replayed.notes
    elif recording.method == "replay":
        yield (
            "nothing was replayed, since only pywatt.profile can run passes of its own: energy is "
            "shared as method='auto' does"
        )
    yield from caveats(sources)
    yield from moves(recording.device_states)
    for device in hooks.devices:
        if device not in figures.covered:
            yield f"no sensor covers {device}: the energy of its modules is unavailable"
    calls = [layer.calls for layer in layers[len(hooks.windows) :]]
    yield from find_wholes(hooks.entries, calls)
    if not any(calls):
        yield "no module was called inside the measurement: all energy is outside of the modules"
    if hooks.compiled_inside:
        yield (
            "torch.compile was at work during the measurement, and its energy is included: warm up "
            "first, and profile the compiled module, not what is in it: hooks there break graphs up"
        )
    if recording.training:
        yield "the model was in training mode: call model.eval() first to profile inference"
    if hooks.recorder.threads > 1:
        yield "modules ran in several threads at once: their power is shared equally among them"
    for device, timeline in hooks.timelines.items():
        if timeline.streams > 1:
            yield (
                f"work on {device} ran on {timeline.streams} streams: where they overlap, power is "
                "shared equally among them"
            )
        if timeline.captured_calls:
            yield (
                f"{timeline.captured_calls} calls captured into a CUDA graph on {device} have no "
                "time and no energy"
            )
        if timeline.failure is not None:
            yield (
                f"calls on {device} were timed only until it failed, and what it drew later is "
                f"outside of the modules: {timeline.failure}"
            )
    if recording.accuracy.note is not None:
        yield recording.accuracy.note


def _environment(hooks: ModuleHooks) -> dict[str, str]:
    environment = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pywatt": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "devices": ", ".join(hooks.devices),
    }
    for device, timeline in hooks.timelines.items():
        environment[device] = timeline.device_name
    return environment
