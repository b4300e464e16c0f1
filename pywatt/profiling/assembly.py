"""Assemble the finished profile from what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pywatt.attribution.by_time import unknown_stds
from pywatt.attribution.result import PathTimes, fold_by_name, fold_outermost
from pywatt.metering.caveats import caveats, unknowns
from pywatt.metering.energies import WindowEnergy
from pywatt.metering.source import added, energy_by_sensor, total_energy
from pywatt.model.containers import paths_inside
from pywatt.model.environment import date_now, environment
from pywatt.model.hooks import ModuleHooks
from pywatt.model.modules import ModuleEntry, find_opaque
from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.profiling.segment import Recording, Shared
from pywatt.sensors.device_state import state_changes
from pywatt.support.notes import NoteOnParts, ordered

FloatArray = npt.NDArray[np.float64]

# A layer is resolved where the deviation of its own energy is below this share of the deviation
# that its run time alone gives.
RESOLVED_SHARE = 0.5


@dataclass(slots=True)
class _Figures:
    """Sums over sources by call path; `covered` holds the devices whose energy is known."""

    self_j: FloatArray
    self_var: FloatArray
    inclusive_var: FloatArray
    unknown_var: FloatArray
    outside_j: float = 0.0
    outside_var: float = 0.0
    covered: set[str] = field(default_factory=set)


def assemble(recording: Recording, shared: Sequence[Shared]) -> Profile:
    """Make the profile of a recording and its energies, shared among the spans."""
    hooks, sources = recording.hooks, recording.sources
    times_by_device = {d: PathTimes.of(hooks.spans([d])) for d in hooks.devices}
    figures = _figures(recording, shared)
    total = _total(recording, shared)
    layers = _layers(hooks, figures, times_by_device)
    used = {source.name for source in sources}
    closure = next((one.closure for one in shared if one.closure is not None), None)
    return Profile(
        model=hooks.entries[0].type,
        layers=layers,
        energy_j=None if total is None else total.energy_j,
        energy_j_std=None if total is None else total.energy_j_std,
        duration_s=recording.duration_s,
        outside_j=None if total is None else figures.outside_j,
        outside_j_std=None if total is None else float(np.sqrt(figures.outside_var)),
        samples=recording.samples,
        batches=recording.batches,
        unit=recording.units.unit,
        units=recording.units.total if recording.batches else None,
        accuracy=recording.accuracy.value,
        energy_by_sensor=energy_by_sensor(
            recording.traces, recording.infos, recording.start_s, recording.end_s
        ),
        sensors=tuple(i for i in recording.infos if (i.source or i.name) in used),
        traces=dict(recording.traces),
        method=" and ".join(dict.fromkeys(one.found.method for one in shared)) or "none",
        method_reason="; ".join(dict.fromkeys(one.found.reason for one in shared))
        or "no sensor gave an energy for this run",
        closure=None if closure is None else closure.factor,
        closure_std=None if closure is None else closure.factor_std,
        notes=ordered(_notes(recording, shared, figures, layers)),
        estimated=any(source.info.estimated for source in sources),
        environment=environment(hooks, date_now()),
        device_states=recording.device_states,
    )


def _figures(recording: Recording, shared: Sequence[Shared]) -> _Figures:
    hooks = recording.hooks
    paths = len(hooks.recorder.paths()[0])
    figures = _Figures(np.zeros(paths), np.zeros(paths), np.zeros(paths), np.zeros(paths))
    for one in shared:
        energies = one.found.energies
        times = PathTimes.of(hooks.spans(one.devices))
        unknown = unknown_stds(times, one.found.total, recording.duration_s)
        figures.self_j += energies.self_energy_j
        figures.self_var += energies.self_energy_j_std**2
        figures.inclusive_var += energies.energy_j_std**2
        figures.unknown_var += unknown.self_energy_j_std**2
        figures.outside_j += energies.outside_j
        figures.outside_var += energies.outside_j_std**2
        figures.covered.update(one.devices)
    return figures


def _total(recording: Recording, shared: Sequence[Shared]) -> WindowEnergy | None:
    """Return the energy of all sources, as it was shared; None where one is not known."""
    if not shared or len(shared) < len(recording.sources):
        return total_energy(recording.sources, recording.start_s, recording.end_s)
    return added(one.found.total for one in shared)


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
    time_by_path = np.sum([t.time_s for t in times], axis=0)
    energy_by_path = paths.plus_children(figures.self_j)
    std_by_path = np.sqrt(figures.inclusive_var)
    uncovered = np.array([hooks.device_of(int(n)) not in figures.covered for n in paths.name], bool)
    missing_by_path = paths.plus_children(uncovered.astype(np.float64)) > 0

    calls = own(np.sum([t.calls for t in times], axis=0))
    time_s = inclusive(time_by_path)
    self_time_s = own(np.sum([t.self_time_s for t in times], axis=0))
    energy_j = inclusive(energy_by_path)
    self_j = own(figures.self_j)
    # Errors of the paths of one name have the same sign, so their deviations add up.
    energy_std = inclusive(std_by_path)
    self_std = own(np.sqrt(figures.self_var))
    resolved = self_std < RESOLVED_SHARE * own(np.sqrt(figures.unknown_var))
    misses_part = inclusive(missing_by_path.astype(np.float64)) > 0
    entries = hooks.entries
    modules = np.where(paths.name < len(entries), paths.name, -1)
    inside = paths_inside(entries, calls[: len(entries)] > 0, paths.parent, modules)

    def never_called(index: int, entry: ModuleEntry) -> LayerEnergy:
        """Make the row of a container: its children's sums, and nothing of its own."""
        within = inside[index]
        known = bool(figures.covered)
        whole = known and not np.any(missing_by_path[within])
        return LayerEnergy(
            name=entry.name,
            type=entry.type,
            depth=entry.depth,
            calls=0,
            time_s=float(np.sum(time_by_path[within])),
            self_time_s=0.0,
            energy_j=float(np.sum(energy_by_path[within])) if whole else None,
            energy_j_std=float(np.sum(std_by_path[within])) if whole else None,
            self_energy_j=0.0 if known else None,
            self_energy_j_std=0.0 if known else None,
            resolved=None,
            parameters=entry.parameters,
            device=hooks.device_of(index),
        )

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
            resolved=bool(resolved[index]) if known else None,
            parameters=parameters,
            device=device,
        )

    rows = [row(len(entries) + i, name, "window", 0, 0) for i, name in enumerate(hooks.windows)]
    rows += [
        never_called(i, entry)
        if i in inside
        else row(i, entry.name, entry.type, entry.depth, entry.parameters)
        for i, entry in enumerate(entries)
    ]
    return tuple(rows)


def _notes(
    recording: Recording,
    shared: Sequence[Shared],
    figures: _Figures,
    layers: tuple[LayerEnergy, ...],
) -> Iterable[str]:
    hooks = recording.hooks
    yield from recording.notes
    yield from filter(None, (recording.units.note, recording.accuracy.note))
    yield from unknowns(recording.sources, recording.start_s, recording.end_s)
    for one in shared:
        yield from one.found.notes
    yield from caveats(recording.sources)
    yield from state_changes(recording.device_states)
    for device in hooks.devices:
        if device not in figures.covered:
            yield f"no sensor covers {device}: the energy of its modules is unavailable"
    calls = [layer.calls for layer in layers[len(hooks.windows) :]]
    yield from find_opaque(hooks.entries, calls)
    if not any(calls):
        yield NoteOnParts(
            "no module was called inside the measurement: all energy is outside of the modules"
        )
    if hooks.compiled_inside:
        yield (
            "torch.compile compiled during the measurement, and that energy is included: warm up "
            "first, and profile the compiled module, not modules in it: hooks there break graphs"
        )
    if recording.training:
        yield "the model was in training mode: call model.eval() first to profile inference"
    if hooks.recorder.threads > 1:
        yield NoteOnParts(
            "modules ran in several threads at once: their power is shared equally among them"
        )
    for device, timeline in hooks.timelines.items():
        if timeline.streams > 1:
            yield NoteOnParts(
                f"work on {device} ran on {timeline.streams} streams: where they overlap, power is "
                "shared equally among them"
            )
        if timeline.captured_calls:
            yield NoteOnParts(
                f"{timeline.captured_calls} calls captured into a CUDA graph on {device} have no "
                "time and no energy"
            )
        if timeline.failure is not None:
            yield NoteOnParts(
                f"calls on {device} were timed only until it failed, and its later energy is "
                f"outside of the modules: {timeline.failure}"
            )
