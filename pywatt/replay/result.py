"""The result of replay: energies of names, and notes for the reader."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pywatt.metering.sensor_model import SensorModel
from pywatt.model.modules import ModuleEntry
from pywatt.repetition.rounds import KindEnergies
from pywatt.replay.path_estimate import NameEstimate
from pywatt.replay.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """The result of replay.

    Attributes:
        estimates: energies of names, by the source's name.
        models: how each sensor averages, by its name.
        notes: notes for the reader.
        duration_s: how long replay took.
        blocks: how many blocks were run.
    """

    estimates: Mapping[str, NameEstimate]
    models: Mapping[str, SensorModel]
    notes: tuple[str, ...]
    duration_s: float
    blocks: int


def energies_by_name(
    entries: Sequence[ModuleEntry],
    seen: Survey,
    kinds: KindEnergies,
    idle_w: float,
    idle_w_std: float,
    devices: Collection[str],
) -> NameEstimate:
    """Return the energy of the mean call of each module on some devices.

    Calls of a module that were not replayed are assumed to be like its others, with a wider
    deviation.
    """
    call_j, call_j_std = np.full(len(entries), np.nan), np.full(len(entries), np.nan)
    for k, calls in enumerate(seen.of_call):
        known = np.isfinite(kinds.call_j[calls]) if calls else np.zeros(0, dtype=bool)
        if not np.any(known) or entries[k].device not in devices:
            continue
        call_j[k] = float(np.mean(kinds.call_j[calls][known]))
        missing = 1.0 - float(np.mean(known))
        std_j = float(np.mean(kinds.call_j_std[calls][known]))
        call_j_std[k] = np.hypot(std_j, missing * call_j[k] / np.sqrt(3.0))
    return NameEstimate(call_j, call_j_std, idle_w, idle_w_std, kinds.drift_std)


def notes_on(entries: Sequence[ModuleEntry], seen: Survey) -> Iterator[str]:
    """Yield notes on modules that share a measurement, or were not replayed, and why."""
    shared = sum(len({k for k, _ in kind.calls}) > 1 for kind in seen.kinds if not kind.problem)
    if shared:
        yield (
            f"replay: {shared} kinds of equal modules were measured together and share their "
            "energy; their input values, which change power a little, may differ"
        )
    by_reason: dict[str, dict[str, None]] = {}
    for kind in seen.kinds:
        if kind.problem:
            names = by_reason.setdefault(kind.problem, {})
            names.update({entries[k].name or "the model": None for k, _ in kind.calls})
    for reason, found in by_reason.items():
        shown = ", ".join(list(found)[:3])
        shown += f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield f"not replayed, so its own energy is shared by time: {shown} ({reason})"
