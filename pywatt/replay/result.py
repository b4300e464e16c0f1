"""What replay has found: the energies of names, and what a reader of them has to know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pywatt.metering.sensor_model import SensorModel
from pywatt.model.modules import ModuleEntry
from pywatt.repetition.rounds import WorkEnergies
from pywatt.replay.path_estimate import NameEnergies
from pywatt.replay.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What replay has found.

    Attributes:
        names: energies of names by source's name.
        models: how each sensor averages, by its name.
        notes: what a reader has to know.
        duration_s: how long it took.
        blocks: how many blocks were run.
    """

    names: Mapping[str, NameEnergies]
    models: Mapping[str, SensorModel]
    notes: tuple[str, ...]
    duration_s: float
    blocks: int


def energies_by_name(
    entries: Sequence[ModuleEntry],
    seen: Survey,
    works: WorkEnergies,
    idle_w: float,
    idle_w_std: float,
    devices: Collection[str],
) -> NameEnergies:
    """Energy of the mean call of each module on some devices.

    Calls of a module that were not replayed are taken to be as its others, give or take.
    """
    call_j, call_j_std = np.full(len(entries), np.nan), np.full(len(entries), np.nan)
    for k, calls in enumerate(seen.of_call):
        known = np.isfinite(works.call_j[calls]) if calls else np.zeros(0, dtype=bool)
        if not np.any(known) or entries[k].device not in devices:
            continue
        call_j[k] = float(np.mean(works.call_j[calls][known]))
        missing = 1.0 - float(np.mean(known))
        std_j = float(np.mean(works.call_j_std[calls][known]))
        call_j_std[k] = np.hypot(std_j, missing * call_j[k] / np.sqrt(3.0))
    return NameEnergies(call_j, call_j_std, idle_w, idle_w_std, works.drift_std)


def notes_on(entries: Sequence[ModuleEntry], seen: Survey) -> Iterator[str]:
    """Say which modules share a figure, and which have none of their own, and why."""
    shared = sum(len({k for k, _ in work.calls}) > 1 for work in seen.works if not work.problem)
    if shared:
        yield (
            f"replay: {shared} kinds of equal modules were measured together and share their "
            "energy; the values that they work on, which move power a little, may differ"
        )
    by_reason: dict[str, dict[str, None]] = {}
    for work in seen.works:
        if work.problem:
            names = by_reason.setdefault(work.problem, {})
            names.update({entries[k].name or "the model": None for k, _ in work.calls})
    for reason, found in by_reason.items():
        shown = ", ".join(list(found)[:3])
        shown += f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield f"not replayed, so the energy of its own work is a share by time: {shown} ({reason})"
