"""Energies of the named windows inside a measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pywatt.metering.caveats import is_unsure, resolves
from pywatt.metering.energies import SpanEnergy
from pywatt.metering.source import Source, added, window_energy
from pywatt.spans.columns import Spans


@dataclass(frozen=True, slots=True)
class WindowEnergies:
    """Energy of all windows of each name, in the order of their first use, and notes on them."""

    rows: tuple[SpanEnergy, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], spans: Spans) -> WindowEnergies:
        """Compute the energy of each window, except those inside one of the same name.

        A name gets a note if its windows are too short for a source and its energy is therefore
        uncertain.
        """
        rows: dict[int, SpanEnergy] = {}
        short: Counter[int] = Counter()
        outermost = spans.paths.outermost() if len(spans.paths) else np.zeros(0, bool)
        for block in spans.blocks():
            for start, end, path in zip(block.start_s, block.end_s, block.path, strict=True):
                if not outermost[path]:
                    continue
                name, start_s, end_s = int(spans.paths.name[path]), float(start), float(end)
                parts = [window_energy(source, start_s, end_s) for source in sources]
                one = SpanEnergy.single(spans.names[name], end_s - start_s, added(parts))
                rows[name] = one if name not in rows else rows[name].plus(one)
                short[name] += not all(
                    resolves(source, start_s, end_s, part)
                    for source, part in zip(sources, parts, strict=True)
                )
        found = [(rows[name], short[name]) for name in sorted(rows)]
        notes = [
            f"window {row.name!r}: {few} of {row.calls} are below the sensor's resolution; repeat "
            "with measure_call"
            for row, few in found
            if few and is_unsure(row)
        ]
        return cls(tuple(row for row, _ in found), tuple(notes))
