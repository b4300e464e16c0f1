"""A training as tables of plain text: phases, layers and epochs, and what they rest on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pywatt.renderers.summary import UNRESOLVED, plain, printed
from pywatt.support.quantities import NOT_AVAILABLE, Scale, count, fixed, quantity, with_std

if TYPE_CHECKING:
    from pywatt.training.result import EpochEnergy, Extrapolation, LayerTraining, TrainingProfile

# Of a long training or a deep model so many rows are shown.
_MOST_LAYERS = 40
_MOST_EPOCHS = 8

# Numbers are whole, in a narrow terminal too.
_NEVER_CUT = 500


def render(profile: TrainingProfile, width: int | None = None) -> str:
    """Return the report, without a line break at its end."""
    width = width or shutil.get_terminal_size(fallback=(100, 40)).columns
    parts = [_headline(profile), "", _phases(profile)]
    if any(layer.forward_calls or layer.backward_calls for layer in profile.layers):
        parts += ["", _layers(profile)]
    if profile.epochs:
        parts += ["", _epochs(profile)]
    parts += ["", _summary(profile, width)]
    return "\n".join(parts)


def extrapolated(found: Extrapolation) -> str:
    """One line and its notes."""
    label = "estimated" if found.estimated else "measured"
    energy = with_std(found.energy_j, None if found.estimated else found.energy_j_std, "J")
    if found.epochs == found.measured_epochs:
        took = quantity(found.duration_s, "s")
        return plain(f"{energy} for all {found.epochs:,} epochs, {label}, in {took}")
    spread = "spread unknown"
    if found.low_j is not None and found.high_j is not None:
        spread = f"95 % between {quantity(found.low_j, 'J')} and {quantity(found.high_j, 'J')}"
    lines = [
        f"{energy} EXTRAPOLATED to {found.epochs:,} epochs from {found.measured_epochs:,} "
        f"{label}, {spread}, in {quantity(found.duration_s, 's')}"
    ]
    return "\n".join(plain(line) for line in (*lines, *(f"  {note}" for note in found.notes)))


def _headline(profile: TrainingProfile) -> str:
    names = ", ".join(sensor.name for sensor in profile.sensors)
    if not profile.sensors:
        source = "ENERGY UNAVAILABLE"
    elif not profile.estimated:
        source = f"MEASURED with {names}"
    elif all(sensor.estimated for sensor in profile.sensors):
        source = f"ESTIMATED with {names}, not measured"
    else:
        source = f"PARTLY ESTIMATED with {names}"
    return plain(f"Training of {profile.model} · {source} · method: {profile.method}")


def _phases(profile: TrainingProfile) -> str:
    energy = Scale.of(profile.energy_j or 0.0, "J")
    time = Scale.of(profile.duration_s, "s")
    estimated = "est. " if profile.estimated else ""
    rows = []
    for phase in profile.phases:
        mark = UNRESOLVED if phase.resolved is False else ""
        rows.append(
            (
                phase.name,
                time.text(phase.time_s),
                _energy(energy, phase.energy_j, phase.energy_j_std) + mark.ljust(1),
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
    return _table(titles, rows, foot)


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
            _energy(energy, layer.forward_self_energy_j, layer.forward_self_energy_j_std),
            _energy(energy, layer.backward_self_energy_j, layer.backward_self_energy_j_std)
            + (UNRESOLVED if layer.resolved is False else " "),
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
    table = _table(titles, rows, None, left=2)
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
    return _table(titles, rows, None)


def _energy(scale: Scale, energy_j: float | None, std: float | None) -> str:
    if energy_j is None:
        return NOT_AVAILABLE
    spread = "" if std is None else f" ± {fixed(std * scale.factor, scale.decimals)}"
    return scale.text(energy_j) + spread


def _share(energy_j: float | None, total_j: float | None) -> str:
    if energy_j is None or not total_j:
        return NOT_AVAILABLE
    return fixed(100 * energy_j / total_j, 1)


def _table(
    titles: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    foot: tuple[str, ...] | None,
    left: int = 1,
) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE, show_footer=foot is not None, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.pad_edge = False
    for k, title in enumerate(titles):
        table.add_column(
            Text(title),
            Text("" if foot is None else foot[k]),
            justify="left" if k < left else "right",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return printed(table, _NEVER_CUT)


def _summary(profile: TrainingProfile, width: int) -> str:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for heading, text in _facts(profile):
        grid.add_row(Text(heading), Text(plain(text)))
    return printed(grid, width)


def _facts(profile: TrainingProfile) -> Iterator[tuple[str, str]]:
    power = "" if profile.power_w is None else f", {quantity(profile.power_w, 'W')} on average"
    energy = "unavailable"
    if profile.energy_j is not None:
        std = None if profile.estimated else profile.energy_j_std
        energy = f"{with_std(profile.energy_j, std, 'J')} {profile.label}"
    yield "energy", f"{energy} in {quantity(profile.duration_s, 's')}{power}"
    batches = f"{profile.batches:,} batch{'es' * (profile.batches != 1)}"
    each = profile.energy_per_sample_j
    if profile.samples is None:
        yield "samples", f"not known, in {batches}"
    else:
        per_sample = "" if each is None else f", {quantity(each, 'J')} each, {profile.label}"
        yield "samples", f"{profile.samples:,} in {batches}{per_sample}"
    for sensor in profile.sensors:
        energy_j = profile.energy_by_sensor.get(sensor.name)
        told = "energy n/a" if energy_j is None else quantity(energy_j, "J")
        note = f", {sensor.note}" if sensor.note else ""
        yield "sensor", f"{sensor.name}, {sensor.origin}, {told}{note}"
    yield "method", f"{profile.method}: {profile.method_reason}"
    if profile.closure is not None and profile.closure_std is not None:
        closure = f"{profile.closure:.4f} ± {profile.closure_std:.4f}"
        yield "closure", f"{closure}, energy of the traced steps over what replay tells of them"
    resolved = [phase.resolved for phase in profile.phases]
    resolved += [layer.resolved for layer in profile.layers]
    if False in resolved:
        yield UNRESOLVED, "power not told from that of others: hardly more than a share by time"
    if len(profile.sessions) > 1 or any(session.ended for session in profile.sessions):
        for number, session in enumerate(profile.sessions, 1):
            told = (
                "energy n/a" if session.energy_j is None else f"{quantity(session.energy_j, 'J')}"
            )
            ended = f", ended by {session.ended}" if session.ended else ""
            ended = ", its end was not told" if session.ended == "going on" else ended
            yield (
                f"session {number}",
                f"{session.date}, {session.complete_epochs:,} epochs, {told} in "
                f"{quantity(session.duration_s, 's')}{ended}",
            )
    shown = {f"{sensor.name}: {sensor.note}" for sensor in profile.sensors}
    for note in profile.notes:
        if note not in shown:
            yield "note", note
