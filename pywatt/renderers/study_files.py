"""A study as a file for other programs: CSV with a row a model, JSON with all runs, Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pywatt.errors import ArgumentError
from pywatt.scores.footprint import Factors
from pywatt.study.row import extrapolation

if TYPE_CHECKING:
    from pywatt.study.result import ModelResult, StudyTable

FORMAT = "pywatt study"
VERSION = 1


def as_file(table: StudyTable, path: Path, factors: Factors | None = None) -> bytes:
    """What a file of that name is to hold, by its ending. Raises ArgumentError for others."""
    try:
        render = _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ArgumentError(f"{path} must end in {', '.join(_FORMATS)}") from None
    return render(table, factors).encode()


def to_csv(table: StudyTable, factors: Factors | None = None) -> str:
    """A row a model, with SI units in the names of the columns; what is not known is empty."""
    rows = [flat(table, model, factors) for model in table.models]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: "; ".join(cell) if isinstance(cell, list) else cell for key, cell in row.items()}
        )
    return written.getvalue()


def to_json(table: StudyTable, factors: Factors | None = None) -> str:
    """The models, how they rank under every choice, the notes and the single runs."""
    ranked = table.ranking
    document = {
        "format": FORMAT,
        "version": VERSION,
        "study": table.study,
        "factors": None if factors is None else dataclasses.asdict(factors),
        "models": [flat(table, model, factors) for model in table.models],
        "ranking": None
        if ranked is None
        else {
            "choices": [dataclasses.asdict(choice) for choice in ranked.choices],
            "standings": [
                dataclasses.asdict(standing) | {"scores": dict(standing.scores)}
                for standing in ranked.standings
            ],
            "kendall_tau": [
                {"metrics": list(pair), "tau": tau} for pair, tau in ranked.taus.items()
            ],
        },
        "notes": list(table.notes),
        "runs": [
            dataclasses.asdict(run) | {"versions": dict(run.versions)} for run in table.records
        ],
    }
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def to_markdown(table: StudyTable, factors: Factors | None = None) -> str:
    """The tables, as they are shown in a terminal, for a page of Markdown."""
    from pywatt.renderers.study import sections

    parts = [f"# {_escaped(table.study)}"]
    for section in sections(table, factors):
        if isinstance(section, str):
            parts.append(_escaped(section))
            continue
        titles = [title for title, _ in section]
        aligned = ["---"] + ["---:"] * (len(titles) - 1)
        lines = [titles, aligned, *zip(*(texts for _, texts in section), strict=True)]
        parts.append(
            "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)
        )
    if table.notes:
        parts.append("\n".join(f"- {_escaped(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def flat(table: StudyTable, model: ModelResult, factors: Factors | None = None) -> dict[str, Any]:
    """All figures of a model by name."""
    row, standing = model.row, table.standing(model.name)
    scores: Mapping[str, float | None] = {} if standing is None else standing.scores
    figures = {
        "model": model.name,
        "rank": None if standing is None else standing.ranks[0],
        "pareto_front": None if standing is None else not standing.dominated_by,
        "dominated_by": [] if standing is None else list(standing.dominated_by),
        "first_share": None if standing is None else standing.first_shares[0],
        "accuracy": row.accuracy,
        "accuracy_std": row.accuracy_std,
        "train_energy_j": row.train_energy_j,
        "train_energy_j_std": row.train_energy_j_std,
        "test_energy_j": row.test_energy_j,
        "test_energy_j_std": row.test_energy_j_std,
        "samples": row.samples,
        "sample_energy_j": row.sample_energy_j,
        "sample_energy_j_std": row.sample_energy_j_std,
        "correct_energy_j": row.correct_energy_j,
        "origin": _origin(model) if model.runs else None,
        "penalized_score": scores.get("penalized_score"),
        "penalized_score_std": None if standing is None else standing.score_std,
        "sam": scores.get("sam"),
        "sapi": scores.get("sapi"),
        "netscore": scores.get("netscore"),
        "train_duration_s": model.train_duration_s,
        "train_duration_s_std": model.train_duration_s_std,
        "test_duration_s": model.test_duration_s,
        "test_duration_s_std": model.test_duration_s_std,
        "epochs": model.epochs,
        "extrapolated_to": model.extrapolated_to,
        "parameters": row.parameters,
        "flops": model.flops,
        "peak_memory_bytes": model.peak_memory_bytes,
        "device": model.device,
        "device_name": model.device_name,
        "machine": model.machine,
        "sensors": list(model.sensors),
        "versions": list(model.versions),
        "runs": model.runs,
        "errors": list(model.errors),
        "notes": list(model.notes),
    }
    if factors is not None:
        for what in ("train", "test"):
            energy_j = getattr(row, f"{what}_energy_j")
            known = energy_j is not None
            figures[f"{what}_emissions_kg"] = factors.emissions_kg(energy_j) if known else None
            figures[f"{what}_cost"] = factors.cost(energy_j) if known else None
    return figures


def _origin(model: ModelResult) -> str:
    origin = "estimated" if model.row.estimated else "measured"
    return ", ".join(filter(None, (origin, extrapolation([model.row]))))


def _finite(item: Any) -> Any:
    """JSON has no infinity: what is not finite is not known."""
    if isinstance(item, float):
        return item if math.isfinite(item) else None
    if isinstance(item, Mapping):
        return {key: _finite(inside) for key, inside in item.items()}
    return [_finite(inside) for inside in item] if isinstance(item, list | tuple) else item


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


_FORMATS: dict[str, Callable[[StudyTable, Factors | None], str]] = {
    ".csv": to_csv,
    ".json": to_json,
    ".md": to_markdown,
}
