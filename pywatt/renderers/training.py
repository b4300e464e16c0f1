"""A training as text: tables of phases, layers and epochs, and what changes how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pywatt.renderers.facts import (
    batches_text,
    check_text,
    energy_text,
    method_text,
    notes_beside,
    per_sample_text,
    resolved_text,
    samples_text,
    sensor_text,
    short_notes,
    source_of,
)
from pywatt.renderers.text import Fact, facts_text, plain, short_text, table_text, wrapped
from pywatt.support.quantities import NOT_AVAILABLE, Scale, count, fixed, quantity
from pywatt.training.result import EpochEnergy, LayerTraining, TrainingProfile, TrainingSession

# Of a long training or a deep model so many rows are shown.
_MOST_LAYERS = 40
_MOST_EPOCHS = 8

MORE = "explain(), or pywatt show FILE --explain"


def render(profile: TrainingProfile, width: int) -> str:
    """Return the tables and at most six lines."""
    parts = [_headline(profile, width), _phases(profile)]
    if any(layer.forward_calls or layer.backward_calls for layer in profile.layers):
        parts.append(_layers(profile))
    if profile.epochs:
        parts.append(_epochs(profile))
    notes = short_notes(profile.sensors, profile.notes)
    parts.append(short_text(_short_facts(profile), notes, width, MORE))
    return "\n\n".join(parts)


def explain(profile: TrainingProfile, width: int) -> str:
    """Return what `render` leaves out: sensors, method, checks, sessions and all notes."""
    return f"{_headline(profile, width)}\n\n{facts_text(_all_facts(profile), width)}"


def _headline(profile: TrainingProfile, width: int) -> str:
    source = source_of(profile.sensors, profile.estimated)
    return wrapped(f"Training of {profile.model} · {source} · {method_text(profile.method)}", width)


def _phases(profile: TrainingProfile) -> str:
    energy = Scale.of(profile.energy_j or 0.0, "J")
    time = Scale.of(profile.duration_s, "s")
    estimated = "est. " if profile.estimated else ""
    rows = []
    for phase in profile.phases:
        rows.append(
            (
                phase.name,
                time.text(phase.time_s),
                _bracketed(_energy(energy, phase.energy_j, phase.energy_j_std), phase.resolved),
                _share(phase.energy_j, profile.energy_j),
                NOT_AVAILABLE if phase.power_w is None else f"{phase.power_w:.4g}",
            )
        )
    total_std = None if profile.estimated else profile.energy_j_std
    foot = (
        f"total, {profile.label}",
        time.text(profile.duration_s),
        _energy(energy, profile.energy_j, total_std) + " ",
        _share(profile.energy_j, profile.energy_j),
        NOT_AVAILABLE if profile.power_w is None else f"{profile.power_w:.4g}",
    )
    titles = (
        "Phase\n",
        f"Time\n{time.unit}",
        f"Energy\n{estimated}{energy.unit}",
        "Share\n%",
        f"Power\n{estimated}W",
    )
    return table_text(titles, rows, foot)


def _layers(profile: TrainingProfile) -> str:
    """The largest layers, in the model's order, forward and backward apart."""
    layers = [x for x in profile.layers if x.forward_calls or x.backward_calls]
    shown = layers
    if len(layers) > _MOST_LAYERS:
        largest = sorted(layers, key=lambda x: -(x.self_energy_j or 0.0))[:_MOST_LAYERS]
        names = {x.name for x in largest}
        shown = [x for x in layers if x.name in names]
    most = max((x.energy_j or 0.0 for x in shown), default=0.0)
    energy = Scale.of(most, "J")
    estimated = "est. " if profile.estimated else ""
    rows = [
        (
            _label(layer, shown is layers),
            plain(layer.type),
            f"{layer.forward_calls:,.0f}",
            f"{layer.backward_calls:,.0f}",
            _bracketed(
                _energy(energy, layer.forward_self_energy_j, layer.forward_self_energy_j_std),
                layer.resolved,
            ),
            _bracketed(
                _energy(energy, layer.backward_self_energy_j, layer.backward_self_energy_j_std),
                layer.resolved,
            ),
            _share(layer.self_energy_j, profile.energy_j),
            count(layer.trained_parameters),
        )
        for layer in shown
    ]
    titles = (
        "Layer\n",
        "Type\n",
        "Forward\ncalls",
        "Backward\ncalls",
        f"Forward, self\n{estimated}{energy.unit}",
        f"Backward, self\n{estimated}{energy.unit}",
        "Share\n%",
        "Trained\nparams",
    )
    table = table_text(titles, rows, None, left=2)
    hidden = len(layers) - len(shown)
    return table + (f"\n… {hidden:,} more layers of less energy" if hidden else "")


def _label(layer: LayerTraining, as_tree: bool) -> str:
    if not as_tree:
        return plain(layer.name) or "the model"
    name = layer.name.rpartition(".")[2] or layer.type
    return "  " * layer.depth + plain(name)


def _epochs(profile: TrainingProfile) -> str:
    epochs = list(profile.epochs)
    shown: Sequence[EpochEnergy | None] = epochs
    if len(epochs) > _MOST_EPOCHS:
        half = _MOST_EPOCHS // 2
        shown = [*epochs[:half], None, *epochs[-half:]]
    energy = Scale.of(max(e.energy_j or 0.0 for e in epochs), "J")
    time = Scale.of(max(e.duration_s for e in epochs), "s")
    estimated = "est. " if profile.estimated else ""
    rows = []
    for epoch in shown:
        if epoch is None:
            rows.append((f"… {len(epochs) - _MOST_EPOCHS:,} more", "", "", "", "", ""))
            continue
        rows.append(
            (
                f"{epoch.index + 1}" + ("" if epoch.complete else ", not complete"),
                f"{epoch.session + 1}",
                time.text(epoch.duration_s),
                _energy(energy, epoch.energy_j, None if profile.estimated else epoch.energy_j_std),
                NOT_AVAILABLE if epoch.samples is None else f"{epoch.samples:,}",
                NOT_AVAILABLE if epoch.loss is None else f"{epoch.loss:.4g}",
            )
        )
    titles = (
        "Epoch\n",
        "Session\n",
        f"Time\n{time.unit}",
        f"Energy\n{estimated}{energy.unit}",
        "Samples\n",
        "Loss\n",
    )
    return table_text(titles, rows, None)


def _energy(scale: Scale, energy_j: float | None, std: float | None) -> str:
    if energy_j is None:
        return NOT_AVAILABLE
    spread = "" if std is None else f" ± {fixed(std * scale.factor, scale.decimals)}"
    return scale.text(energy_j) + spread


def _bracketed(energy: str, resolved: bool | None) -> str:
    return f"[{energy}]" if resolved is False and energy != NOT_AVAILABLE else f"{energy} "


def _share(energy_j: float | None, total_j: float | None) -> str:
    if energy_j is None or not total_j:
        return NOT_AVAILABLE
    return fixed(100 * energy_j / total_j, 1)


def _short_facts(profile: TrainingProfile) -> Iterator[Fact]:
    yield "energy", energy_text(profile)
    if (per_sample := per_sample_text(profile)) is not None:
        yield "per sample", per_sample
    resolved = _resolved(profile)
    if resolved is not None:
        yield "layers", resolved
    if _is_interrupted(profile):
        ends = [f"{k} {_end(one)}" for k, one in enumerate(profile.sessions, 1) if one.ended]
        yield "sessions", "; ".join((f"{len(profile.sessions)}", *ends))


def _is_interrupted(profile: TrainingProfile) -> bool:
    return len(profile.sessions) > 1 or any(session.ended for session in profile.sessions)


def _end(session: TrainingSession) -> str:
    known = session.ended != "going on"
    return f"ended by {session.ended}" if known else "has no known end"


def _resolved(profile: TrainingProfile) -> str | None:
    """How well phases and layers were resolved; None where none has an energy."""
    known = [layer for layer in profile.layers if layer.resolved is not None]
    vague = [layer for layer in known if not layer.resolved]
    phases = [phase.name for phase in profile.phases if phase.resolved is False]
    parts = [f"phases [not resolved]: {', '.join(phases)}"] if phases else []
    if known:
        vague_j = sum(layer.self_energy_j or 0.0 for layer in vague)
        parts.insert(0, resolved_text(len(known), len(vague), vague_j, profile.energy_j))
    return "; ".join(parts) or None


def _all_facts(profile: TrainingProfile) -> Iterator[Fact]:
    yield "energy", energy_text(profile)
    yield "samples", samples_text(profile)
    yield "traced", f"modules in {profile.traced_batches:,} of {batches_text(profile)}"
    for sensor in profile.sensors:
        yield "sensor", sensor_text(sensor, profile.energy_by_sensor.get(sensor.name))
    yield "method", f"{profile.method}: {profile.method_reason}"
    if profile.closure is not None and profile.closure_std is not None:
        yield "check", check_text(profile.closure, profile.closure_std)
    resolved = _resolved(profile)
    if resolved is not None:
        yield "layers", resolved
    if _is_interrupted(profile):
        for number, session in enumerate(profile.sessions, 1):
            energy = "energy n/a" if session.energy_j is None else quantity(session.energy_j, "J")
            duration = quantity(session.duration_s, "s")
            complete = f"{session.complete_epochs:,} epochs"
            ended = f", {_end(session)}" if session.ended else ""
            yield f"session {number}", f"{session.date}, {complete}, {energy} in {duration}{ended}"
    for note in notes_beside(profile.sensors, profile.notes):
        yield "note", note
    yield from profile.environment.items()
