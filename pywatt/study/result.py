"""The finished results of a study: frozen numbers that renderers, exports and pictures read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pywatt.errors import ArgumentError
from pywatt.study.ranking import Ranking, Standing, ranking
from pywatt.study.record import RunRecord
from pywatt.study.row import StudyRow
from pywatt.support.display import explained, shown

if TYPE_CHECKING:
    import os

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model on one device of one machine, over all of its runs. None where not known.

    A figure is the mean of the runs. Its standard deviation comes from those of the runs or, with
    two or more runs, from their spread, whichever is larger.

    Attributes:
        row: accuracy and energies.
        device: torch device.
        device_name: the maker's name of the device.
        machine: name of the computer.
        runs: number of runs without an error.
        wanted: number of runs planned; None where not known.
        errors: why others failed, in order.
        train_duration_s: time of the training.
        train_duration_s_std: one standard deviation of it; None for a single run.
        test_duration_s: time of one pass over the test.
        test_duration_s_std: one standard deviation of it; None for a single run.
        epochs: measured epochs.
        extrapolated_to: number of epochs that training energy and duration are extrapolated to;
            None: those measured.
        flops: FLOPs of one sample.
        peak_memory_bytes: the peak over all runs.
        sensors: names of the sensors that were read.
        versions: versions of Python, torch and pywatt, each once.
        notes: caveats on the figures.
    """

    row: StudyRow
    device: str
    device_name: str | None
    machine: str
    runs: int
    wanted: int | None
    errors: tuple[str, ...]
    train_duration_s: float | None
    train_duration_s_std: float | None
    test_duration_s: float | None
    test_duration_s_std: float | None
    epochs: int | None
    extrapolated_to: int | None
    flops: float | None
    peak_memory_bytes: int | None
    sensors: tuple[str, ...]
    versions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the model, with device and machine where the study has several."""
        return self.row.name


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTable:
    """All results of a study. `print` it for the table.

    Attributes:
        study: name of the study.
        models: in the order of the study.
        ranking: their ranking and its stability; None where none can be ranked.
        notes: caveats on the figures.
        records: the single runs.
    """

    study: str
    models: tuple[ModelResult, ...]
    ranking: Ranking | None
    notes: tuple[str, ...]
    records: tuple[RunRecord, ...]

    @property
    def rows(self) -> tuple[StudyRow, ...]:
        """Accuracy and energies of each model, from which pictures are drawn."""
        return tuple(model.row for model in self.models)

    def standing(self, name: str) -> Standing | None:
        """Return the ranks and scores of a model; None where it is not ranked."""
        standings = () if self.ranking is None else self.ranking.standings
        return next((one for one in standings if one.name == name), None)

    def draw(self, folder: str | os.PathLike[str], *, suffix: str = ".png") -> tuple[Path, ...]:
        """Draw all pictures, on light and dark backgrounds, and return their paths.

        Raises:
            ImportError: without the extra `report`.
            OSError: they cannot be written.
        """
        from pywatt.study.pictures.draw import draw

        return draw(self, Path(folder), suffix)

    def explain(self) -> str:
        """Return what the printed tables omit."""
        return explained(self)

    def __str__(self) -> str:
        return shown(self)


def study_table(
    study: str,
    records: Sequence[RunRecord],
    *,
    wanted: int | None = None,
    models: Sequence[tuple[str, str]] = (),
    notes: Iterable[str] = (),
) -> StudyTable:
    """Make the table of single runs.

    Args:
        study: name of the study.
        records: the runs, in the order of the study.
        wanted: number of runs planned for each model and device; None: not known.
        models: the planned (model, device) pairs; one without a run gets a row without figures.
        notes: notes to put before those of the models.
    """
    ordered = sorted(records, key=lambda r: (r.position, r.machine, r.key))
    places: dict[tuple[str, str, str, str], list[RunRecord]] = {}
    for one in ordered:
        places.setdefault((one.model, one.device, one.machine, one.setup), []).append(one)
    ran = {(model, device) for model, device, *_ in places}
    absent = [pair for pair in models if pair not in ran]
    named = _Names(ordered, [device for _, device in models])
    results = [_model_result(named.name(*place), runs, wanted) for place, runs in places.items()]
    results += [_not_run(named.name(*pair), pair[1], wanted) for pair in absent]
    order = {pair: index for index, pair in enumerate(models)}
    pairs = [*((model, device) for model, device, *_ in places), *absent]
    by_plan = sorted(range(len(results)), key=lambda i: order.get(pairs[i], i))
    results = [results[index] for index in by_plan]
    try:
        ranked = ranking([result.row for result in results])
    except ArgumentError:  # none has both an accuracy and an energy
        ranked = None
    return StudyTable(
        study=study,
        models=tuple(results),
        ranking=ranked,
        notes=(*notes, *_notes(results, ranked)),
        records=tuple(ordered),
    )


class _Names:
    """Names of the rows: the model's, with what else makes it unique."""

    def __init__(self, records: Sequence[RunRecord], devices: Iterable[str]) -> None:
        self._devices = {*devices, *(one.device for one in records)}
        self._machines = {one.machine for one in records}
        self._setups: dict[str, list[str]] = {}
        for one in sorted(records, key=lambda one: one.date):
            known = self._setups.setdefault(one.model, [])
            if one.setup not in known:
                known.append(one.setup)

    def name(self, model: str, device: str, machine: str = "", setup: str = "") -> str:
        on_device = f" on {device}" if len(self._devices) > 1 else ""
        at_machine = f" at {machine}" if machine and len(self._machines) > 1 else ""
        setups = self._setups.get(model, [])
        of_setup = f" (setup {setups.index(setup) + 1})" if setup and len(setups) > 1 else ""
        return f"{model}{on_device}{at_machine}{of_setup}"


def _not_run(name: str, device: str, wanted: int | None) -> ModelResult:
    return ModelResult(
        row=StudyRow(name=name, accuracy=None, test_energy_j=None, samples=None, estimated=False),
        device=device,
        device_name=None,
        machine="",
        runs=0,
        wanted=wanted,
        errors=(),
        train_duration_s=None,
        train_duration_s_std=None,
        test_duration_s=None,
        test_duration_s_std=None,
        epochs=None,
        extrapolated_to=None,
        flops=None,
        peak_memory_bytes=None,
        sensors=(),
        versions=(),
        notes=(),
    )


def _model_result(name: str, runs: Sequence[RunRecord], wanted: int | None) -> ModelResult:
    good = [run for run in runs if run.error is None]
    accuracy, accuracy_spread = _mean([run.accuracy for run in good])
    samples = _common([run.samples for run in good])
    test_j, test_j_std = _mean_of(good, "test_energy_j")
    train_j, train_j_std = _mean_of(good, "train_energy_j")
    train_s, train_s_std = _mean([run.train_duration_s for run in good])
    test_s, test_s_std = _mean([run.test_duration_s for run in good])
    flops = _common([run.flops for run in good])
    row = StudyRow(
        name=name,
        accuracy=None if accuracy is None else min(max(accuracy, 0.0), 1.0),
        accuracy_std=_accuracy_std(good, accuracy_spread),
        test_energy_j=test_j,
        test_energy_j_std=test_j_std,
        samples=samples,
        train_energy_j=train_j,
        train_energy_j_std=train_j_std,
        train_extrapolated=any(run.extrapolated for run in good),
        parameters=_common([run.parameters for run in good]),
        macs=None if flops is None else round(flops / 2),
        estimated=any(run.estimated for run in good),
    )
    peaks = [run.peak_memory_bytes for run in good if run.peak_memory_bytes is not None]
    return ModelResult(
        row=row,
        device=runs[0].device,
        device_name=next((run.device_name for run in runs if run.device_name), None),
        machine=runs[0].machine,
        runs=len(good),
        wanted=wanted,
        errors=tuple(dict.fromkeys(run.error for run in runs if run.error is not None)),
        train_duration_s=train_s,
        train_duration_s_std=train_s_std,
        test_duration_s=test_s,
        test_duration_s_std=test_s_std,
        epochs=_common([run.epochs for run in good]),
        extrapolated_to=_common([run.extrapolated_to for run in good]),
        flops=flops,
        peak_memory_bytes=max(peaks, default=None),
        sensors=tuple(dict.fromkeys(sensor for run in good for sensor in run.sensors)),
        versions=tuple(
            dict.fromkeys(f"{what} {v}" for run in good for what, v in run.versions.items())
        ),
        notes=tuple(dict.fromkeys(note for run in good for note in run.notes)),
    )


def _mean(numbers: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean, and its standard deviation from the spread; None for a single number."""
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None, None
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return mean, None
    squares = math.fsum((number - mean) ** 2 for number in known)
    return mean, math.sqrt(squares / (len(known) - 1) / len(known))


def _mean_of(runs: Sequence[RunRecord], what: str) -> tuple[float | None, float | None]:
    """Return the mean energy and its deviation: from the runs' own or their spread, the larger."""
    mean, spread = _mean([getattr(run, what) for run in runs])
    if mean is None:
        return None, None
    stds = [getattr(run, f"{what}_std") for run in runs]
    known = [std for std in stds if std is not None]
    if len(known) < len(stds) and spread is None:
        return mean, None
    return mean, max(spread or 0.0, math.hypot(*known) / len(runs))


def _accuracy_std(runs: Sequence[RunRecord], spread: float | None) -> float | None:
    """Combine the spread of the runs with the deviation of the test, which all runs share."""
    stds = [run.accuracy_std for run in runs if run.accuracy_std is not None]
    if not stds:
        return spread
    return math.hypot(spread or 0.0, math.fsum(stds) / len(stds))


def _common(items: Sequence[_T | None]) -> _T | None:
    """Return the common item; None where they differ."""
    return items[0] if len(set(items)) == 1 else None


def _notes(results: Sequence[ModelResult], ranked: Ranking | None) -> Iterable[str]:
    """Yield each note once, with the models that it concerns unless these are all."""
    for result in results:
        for error in result.errors:
            yield f"{result.name} failed: {error}"
        if result.wanted is not None and result.runs < result.wanted and not result.errors:
            yield f"{result.name}: {result.runs} of {result.wanted} runs are done"
    with_figures = [result for result in results if result.runs]
    singles = [result.name for result in with_figures if result.runs == 1]
    if singles:
        yield (
            f"one run only, so the variation between runs is not in the ±: {', '.join(singles)}; "
            "give more seeds or repeats"
        )
    owners: dict[str, list[str]] = {}
    for result in with_figures:
        for note in result.notes:
            owners.setdefault(note, []).append(result.name)
    for note, names in owners.items():
        yield note if len(names) == len(with_figures) else f"{', '.join(names)}: {note}"
    yield from () if ranked is None else ranked.notes
