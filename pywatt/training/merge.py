"""Sum the sessions of one training that was interrupted and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pywatt.training.result import LayerTraining, PhaseEnergy, TrainingProfile


def merged(profiles: Sequence[TrainingProfile]) -> TrainingProfile:
    """Sum trainings of one model, given in the order in which they ran.

    What is unknown of one is unknown of the sum. Errors of totals are independent; those of phases
    and layers are fully correlated, since the method is the same.
    """
    if len(profiles) == 1:
        return profiles[0]
    first = profiles[0]
    sessions = tuple(session for profile in profiles for session in profile.sessions)
    epochs = []
    before = 0
    for profile in profiles:
        epochs += [replace(epoch, session=epoch.session + before) for epoch in profile.epochs]
        before += len(profile.sessions)
    sensors = {info.name: info for profile in profiles for info in profile.sensors}
    names = dict.fromkeys(name for profile in profiles for name in profile.energy_by_sensor)
    closures = [p for p in profiles if p.closure is not None]
    notes = dict.fromkeys(
        note for profile in profiles for note in profile.notes if not note.startswith(_ADDED)
    )
    if len({tuple((row.name, row.type) for row in p.layers) for p in profiles}) > 1:
        notes[_OTHER_LAYERS] = None
    return replace(
        first,
        phases=tuple(_phase([p.phase(one.name) for p in profiles]) for one in first.phases),
        layers=_layers(profiles),
        epochs=tuple(epochs),
        sessions=sessions,
        energy_j=_sum(p.energy_j for p in profiles),
        energy_j_std=_root_sum_square(p.energy_j_std for p in profiles),
        duration_s=sum(p.duration_s for p in profiles),
        samples=_count_sum(p.samples for p in profiles),
        batches=sum(p.batches for p in profiles),
        traced_batches=sum(p.traced_batches for p in profiles),
        energy_by_sensor={
            name: _sum(p.energy_by_sensor.get(name) for p in profiles) for name in names
        },
        sensors=tuple(sensors.values()),
        method=" and ".join(dict.fromkeys(p.method for p in profiles)),
        method_reason="; ".join(dict.fromkeys(p.method_reason for p in profiles)),
        closure=closures[-1].closure if closures else None,
        closure_std=closures[-1].closure_std if closures else None,
        notes=(*notes, f"{_ADDED} {len(sessions)} sessions, begun {_dates(sessions)}"),
        estimated=any(p.estimated for p in profiles),
    )


_ADDED = "adds up"

_OTHER_LAYERS = (
    "the model does not have the same layers in all sessions, and a layer missing in one has no "
    "energy: give another model a record of its own"
)


def _dates(sessions: Sequence[object]) -> str:
    dates = [str(getattr(session, "date", "")) for session in sessions]
    if len(dates) > 4:
        dates = [*dates[:2], "...", dates[-1]]
    return ", ".join(dates)


def _phase(parts: Sequence[PhaseEnergy]) -> PhaseEnergy:
    return PhaseEnergy(
        name=parts[0].name,
        energy_j=_sum(p.energy_j for p in parts),
        energy_j_std=_sum(p.energy_j_std for p in parts),
        time_s=sum(p.time_s for p in parts),
        resolved=_all(p.resolved for p in parts),
        outside_j=_sum(p.outside_j for p in parts),
    )


def _layers(profiles: Sequence[TrainingProfile]) -> tuple[LayerTraining, ...]:
    """Sum layers by name; one that is not in all profiles has no energy."""
    by_name = [{layer.name: layer for layer in profile.layers} for profile in profiles]
    rows = {layer.name: layer for profile in reversed(profiles) for layer in profile.layers}
    ordered = [layer.name for layer in profiles[-1].layers]
    ordered += [name for name in rows if name not in set(ordered)]
    return tuple(_layer(rows[name], [layers.get(name) for layers in by_name]) for name in ordered)


def _layer(row: LayerTraining, parts: Sequence[LayerTraining | None]) -> LayerTraining:
    known = [part for part in parts if part is not None]

    def energy(of: Callable[[LayerTraining], float | None], time: str, calls: str) -> float | None:
        """Return the sum; a layer that never ran in a session adds nothing to it."""
        if len(known) < len(parts):
            return None
        ran = [p for p in known if getattr(p, calls) > 0 or getattr(p, time) > 0]
        return _sum(map(of, ran)) if ran else None

    def forward(of: Callable[[LayerTraining], float | None]) -> float | None:
        return energy(of, "forward_time_s", "forward_calls")

    def backward(of: Callable[[LayerTraining], float | None]) -> float | None:
        return energy(of, "backward_time_s", "backward_calls")

    return replace(
        row,
        forward_calls=sum(p.forward_calls for p in known),
        backward_calls=sum(p.backward_calls for p in known),
        forward_time_s=sum(p.forward_time_s for p in known),
        backward_time_s=sum(p.backward_time_s for p in known),
        forward_energy_j=forward(lambda p: p.forward_energy_j),
        forward_energy_j_std=forward(lambda p: p.forward_energy_j_std),
        backward_energy_j=backward(lambda p: p.backward_energy_j),
        backward_energy_j_std=backward(lambda p: p.backward_energy_j_std),
        forward_self_energy_j=forward(lambda p: p.forward_self_energy_j),
        forward_self_energy_j_std=forward(lambda p: p.forward_self_energy_j_std),
        backward_self_energy_j=backward(lambda p: p.backward_self_energy_j),
        backward_self_energy_j_std=backward(lambda p: p.backward_self_energy_j_std),
        resolved=_all(p.resolved for p in known) if len(known) == len(parts) else None,
    )


def _sum(parts: Iterable[float | None]) -> float | None:
    known: list[float] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return math.fsum(known) if known else None


def _root_sum_square(parts: Iterable[float | None]) -> float | None:
    squares = _sum(None if part is None else part**2 for part in parts)
    return None if squares is None else math.sqrt(squares)


def _count_sum(parts: Iterable[int | None]) -> int | None:
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _all(parts: Iterable[bool | None]) -> bool | None:
    known = list(parts)
    return None if any(part is None for part in known) else all(known)
