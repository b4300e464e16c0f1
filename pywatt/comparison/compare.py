"""`pywatt.compare`: make a comparison of profiles and files."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

from pywatt.comparison.result import Comparison, Energy, Per, Row, Side
from pywatt.errors import ArgumentError
from pywatt.profiling.result import FORMAT, LayerEnergy, Profile
from pywatt.support.files import load

Given = Profile | str | os.PathLike[str]
_Figure = tuple[float | None, float | None]  # an energy and its standard deviation

_SCALE = (
    "standard deviations include no error common to all profiles, such as the scale of their "
    "meter, which does not affect a change in percent"
)
_ONE_RUN = (
    "one run per side: the variation between runs (temperature, clocks, other programs) is not in "
    "the standard deviations; compare several runs of one side or both, or pass run_spread= "
    "(--run-spread)"
)


def compare(*sides: Given | Sequence[Given], run_spread: float | None = None) -> Comparison:
    """Compare profiles with the first of them, layer by layer.

    Energies are per sample where all numbers of samples are known and differ, else per run; see
    `Comparison.per`.

    Args:
        sides: two or more; each a profile, a file that `Profile.save` wrote, or a list of either:
            repeated runs of the same, whose mean is compared and whose spread counts.
        run_spread: variation between single runs of the same, one standard deviation as a share of
            their energy: 0.01 is 1 %. It applies to sides of one run. None: the largest spread of
            the sides with several runs, if any; else only the measurement's own deviation.

    Raises:
        ArgumentError: fewer than two sides, an invalid side, or measured and estimated energies
            together.
        FileFormatError: a file is not a profile.
        OSError: a file cannot be read.
    """
    if len(sides) < 2:
        raise ArgumentError(f"a comparison needs two profiles or more, not {len(sides)}")
    if run_spread is not None and not (math.isfinite(run_spread) and run_spread >= 0.0):
        raise ArgumentError(f"run_spread must be a share of 0 or more, not {run_spread}")
    loaded = [_side(side) for side in sides]
    profiles = [profile for _, runs in loaded for profile in runs]
    if len({profile.estimated for profile in profiles}) > 1:
        estimated = ", ".join(name for name, runs in loaded if any(r.estimated for r in runs))
        raise ArgumentError(
            f"estimated ({estimated}) and measured energies cannot be compared: an estimate can be "
            "off by tens of percent; profile both with the same sensors"
        )
    samples = [profile.samples for profile in profiles]
    per: Per = "run"
    if all(samples) and len(set(samples)) > 1:
        per = "sample"
    runs_of = [runs for _, runs in loaded]

    def row(kind: str, figures: Callable[[Sequence[Profile]], list[_Figure]]) -> Row:
        energies = [_mean(runs, per, figures(runs)) for runs in runs_of]
        return Row("", kind, _spread(energies, runs_of, run_spread))

    return Comparison(
        sides=tuple(
            Side(name, len(runs), _sum(run.samples for run in runs), runs[0].estimated)
            for name, runs in loaded
        ),
        per=per,
        total=row("total", lambda runs: [(run.energy_j, run.energy_j_std) for run in runs]),
        outside=row("outside", lambda runs: [(run.outside_j, run.outside_j_std) for run in runs]),
        layers=_layers(runs_of, per, run_spread),
        notes=tuple(_notes(loaded, profiles, per, run_spread)),
    )


def _side(given: Given | Sequence[Given]) -> tuple[str, list[Profile]]:
    if isinstance(given, Profile | str | os.PathLike) or not isinstance(given, Iterable):
        runs = [given]
    else:
        runs = list(given)
    if not runs:
        raise ArgumentError("a side of the comparison is an empty list: give at least one profile")
    names, profiles = [], []
    for run in runs:
        if isinstance(run, Profile):
            names.append(run.model)
            profiles.append(run)
        elif isinstance(run, str | os.PathLike):
            names.append(os.fspath(run))
            profiles.append(load(run, wanted=FORMAT))
        else:
            raise ArgumentError(
                "a comparison takes results of pywatt.profile, files that their save wrote, or "
                f"lists of either, not {type(run).__name__}"
            )
    return ", ".join(dict.fromkeys(names)), profiles


def _layers(
    sides: Sequence[Sequence[Profile]], per: Per, run_spread: float | None
) -> tuple[Row, ...]:
    """Make one row for each layer of any side, in the order of the first side that has it."""
    by_key = [[_by_key(run) for run in runs] for runs in sides]
    keys = dict.fromkeys(key for runs in by_key for run in runs for key in run)
    rows = []
    for key in keys:
        energies: list[Energy | None] = []
        types: dict[str, None] = {}
        for profiles, runs in zip(sides, by_key, strict=True):
            found = [run.get(key) for run in runs]
            types |= dict.fromkeys(layer.type for layer in found if layer is not None)
            figures = [
                (None, None) if layer is None else (layer.self_energy_j, layer.self_energy_j_std)
                for layer in found
            ]
            energies.append(_mean(profiles, per, figures) if any(found) else None)
        rows.append(Row(key[0], " -> ".join(types), _spread(energies, sides, run_spread)))
    return tuple(rows)


def _by_key(run: Profile) -> Mapping[tuple[str, bool], LayerEnergy]:
    """Return layers by name and kind: a window may have the name of a module."""
    return {(layer.name, layer.type == "window"): layer for layer in run.layers}


def _mean(runs: Sequence[Profile], per: Per, figures: Sequence[_Figure]) -> Energy:
    units = [float(run.samples or 1) if per == "sample" else 1.0 for run in runs]
    energies = [j / unit for (j, _), unit in zip(figures, units, strict=True) if _is_known(j)]
    stds = [std / unit for (_, std), unit in zip(figures, units, strict=True) if _is_known(std)]
    if len(energies) < len(runs):
        return Energy(None, None)
    mean = statistics.fmean(energies)
    own = math.hypot(*stds) / len(runs) if len(stds) == len(runs) else None
    if len(runs) == 1:
        return Energy(mean, own)
    spread = statistics.stdev(energies) / math.sqrt(len(runs))
    if own is not None and own >= spread:
        return Energy(mean, own)
    return Energy(mean, spread, len(runs) - 1.0)


def _is_known(number: float | None) -> TypeGuard[float]:
    """Return whether a number can be judged: a NaN is above no limit."""
    return number is not None and math.isfinite(number)


def _spread(
    energies: Sequence[Energy | None],
    sides: Sequence[Sequence[Profile]],
    run_spread: float | None,
) -> tuple[Energy | None, ...]:
    """Give sides of one run the spread of runs where it exceeds the measurement's own deviation."""
    share, freedom = run_spread or 0.0, math.inf
    for energy, runs in zip(energies, sides, strict=True):
        if run_spread is None and energy and energy.energy_j and math.isfinite(energy.freedom):
            of_one = (energy.energy_j_std or 0.0) * math.sqrt(len(runs)) / energy.energy_j
            if of_one > share:
                share, freedom = of_one, energy.freedom

    def spread(energy: Energy | None, runs: Sequence[Profile]) -> Energy | None:
        if energy is None or energy.energy_j is None or len(runs) > 1:
            return energy
        std = share * energy.energy_j
        if std <= (energy.energy_j_std or 0.0):
            return energy
        return Energy(energy.energy_j, std, freedom, borrowed=True)

    return tuple(spread(energy, runs) for energy, runs in zip(energies, sides, strict=True))


def _notes(
    loaded: Sequence[tuple[str, list[Profile]]],
    profiles: Sequence[Profile],
    per: Per,
    run_spread: float | None,
) -> Iterator[str]:
    for what, each in (
        ("models", [run.model for run in profiles]),
        ("methods", [run.method for run in profiles]),
        ("sensors", [", ".join(sorted(s.name for s in run.sensors)) for run in profiles]),
        ("sensors' own notes", [" | ".join(sorted(_caveats(run))) for run in profiles]),
    ):
        if len(set(each)) > 1:
            yield f"different {what}: {'; '.join(dict.fromkeys(one or 'none' for one in each))}"
    keys = dict.fromkeys(key for run in profiles for key in run.environment if key != "date")
    for key in keys:
        found = dict.fromkeys(run.environment.get(key, "not known") for run in profiles)
        if len(found) > 1:
            yield f"different {key}: {'; '.join(found)}"
    if per == "run" and not all(run.samples for run in profiles):
        yield (
            "the number of samples is not known on all sides, so energies are per run: they depend "
            "on the length of the runs"
        )
    if any(run.method == "time" for run in profiles):
        yield (
            "shared by time: a layer's change shows its run time and the power of the whole run, "
            "not a change of its own power"
        )
    if run_spread is None and all(len(runs) == 1 for _, runs in loaded):
        yield _ONE_RUN
    yield _SCALE


def _caveats(run: Profile) -> Iterator[str]:
    return (f"{sensor.name}: {sensor.note}" for sensor in run.sensors if sensor.note)


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)
