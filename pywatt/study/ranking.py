"""Stability of a ranking: under other exponents, other units, and the measurement's uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
import numpy.typing as npt

from pywatt.errors import ArgumentError, ScoreDomainError
from pywatt.scores.footprint import JOULES_PER_KWH
from pywatt.scores.metrics import netscore, penalized_score, sam, sapi
from pywatt.scores.pareto import dominators
from pywatt.study.row import StudyRow

Metric = Literal["penalized_score", "sam"]
_METRICS: tuple[Metric, ...] = ("penalized_score", "sam")
UNITS_J: Mapping[str, float] = {"J": 1.0, "Wh": JOULES_PER_KWH / 1000.0, "kWh": JOULES_PER_KWH}

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """Parameters of a score, which every ranking by it has chosen, knowingly or not.

    Attributes:
        metric: "penalized_score" of the energy per sample, its unit being `reference_j`; or "sam",
            of the energy of the whole test as a number of this unit: literal in kWh only.
        alpha: the exponent of accuracy. The factor beta scales all scores alike and changes no
            rank.
        unit: "J", "Wh" or "kWh".
    """

    metric: Metric
    alpha: float
    unit: str


DEFAULT = Choice("penalized_score", 5.0, "J")


@dataclass(frozen=True, slots=True)
class Standing:
    """Ranks and scores of one model.

    Attributes:
        name: name of the model.
        dominated_by: models that are more accurate and use less energy, beyond the uncertainty;
            empty on the Pareto front. A dominated model ranks behind them under every choice and in
            every draw, and so is never first.
        ranks: its rank under each choice, 1 is the best; None where the metric is not defined for
            all models.
        first_shares: share of the bootstrap draws in which it is first, under each choice.
        scores: metric to score, with the exponents of its source; None where not defined. More is
            better for all but "energy_j", which is per sample.
        score_std: one standard deviation of the score under `DEFAULT`, from the draws.
    """

    name: str
    dominated_by: tuple[str, ...]
    ranks: tuple[int | None, ...]
    first_shares: tuple[float | None, ...]
    scores: Mapping[str, float | None]
    score_std: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models by rank under `DEFAULT`, and their ranks under other choices.

    Attributes:
        choices: the choices of the ranks and shares of a `Standing`; the first is `DEFAULT`.
        standings: the models, from the first to the last.
        taus: Kendall's tau-b of the rankings by two metrics: 1 the same, -1 reversed; None where
            one of them is not defined for all models or is equal for all.
        notes: caveats on the figures.
    """

    choices: tuple[Choice, ...]
    standings: tuple[Standing, ...]
    taus: Mapping[tuple[str, str], float | None]
    notes: tuple[str, ...]


def ranking(
    rows: Sequence[StudyRow],
    *,
    alphas: Sequence[float] = (1.0, 2.0, 3.0, 5.0),
    draws: int = 1000,
    seed: int = 0,
) -> Ranking:
    """Rank models by accuracy and energy under many choices, and find how often each is first.

    Args:
        rows: the models; those whose accuracy or energy per sample is not known are left out, with
            a note.
        alphas: exponents of accuracy.
        draws: bootstrap draws of accuracy and energy from their standard deviations, which include
            no error common to all models, such as a meter's scale.
        seed: seed of the draws.

    Raises:
        ArgumentError: no row can be ranked, or two have the same name.
    """
    known = [r for r in rows if r.accuracy is not None and r.sample_energy_j is not None]
    names = [row.name for row in known]
    if not known:
        raise ArgumentError("no model with both an accuracy and an energy per sample to rank")
    if len(set(names)) < len(names):
        raise ArgumentError(f"models need distinct names, not {', '.join(names)}")
    models = _Models(known)
    others = [Choice(*of) for of in product(_METRICS, alphas, UNITS_J)]
    choices = (DEFAULT, *(choice for choice in others if choice != DEFAULT))
    drawn = models.drawn(draws, np.random.default_rng(seed))
    ranks: list[list[int] | None] = []
    shares: list[list[float] | None] = []
    for choice in choices:
        scores = models.scores(choice, models.accuracies[None], models.energies_j[None])
        defined = bool(np.isfinite(scores).all())
        ranks.append(_ranks(scores[0]) if defined else None)
        shares.append(_first_shares(models.scores(choice, *drawn)) if defined else None)
    drawn_scores = models.own_scores(DEFAULT, *drawn)
    scores_of = [_scores(row, same_test=models.samples is not None) for row in known]
    standings = [
        Standing(
            name=row.name,
            dominated_by=tuple(names[by] for by in models.dominators[index]),
            ranks=tuple(None if one is None else one[index] for one in ranks),
            first_shares=tuple(None if one is None else one[index] for one in shares),
            scores=scores_of[index],
            score_std=float(drawn_scores[:, index].std()) if draws else 0.0,
        )
        for index, row in enumerate(known)
    ]
    return Ranking(
        choices=choices,
        standings=tuple(sorted(standings, key=lambda standing: standing.ranks[0] or 0)),
        taus=_taus(scores_of),
        notes=tuple(_notes(rows, known, models, choices, ranks)),
    )


class _Models:
    """The models as arrays, and their scores under a choice."""

    def __init__(self, rows: Sequence[StudyRow]) -> None:
        self.accuracies = _array(row.accuracy for row in rows)
        self.energies_j = _array(row.sample_energy_j for row in rows)
        self.accuracy_stds = _array(row.accuracy_std for row in rows)
        self.energy_stds_j = _array(row.sample_energy_j_std for row in rows)
        self.dominators = dominators(
            self.accuracies.tolist(),
            self.energies_j.tolist(),
            self.accuracy_stds.tolist(),
            self.energy_stds_j.tolist(),
        )
        samples = {row.samples for row in rows}
        self.samples = samples.pop() if len(samples) == 1 else None

    def drawn(self, draws: int, random: np.random.Generator) -> tuple[_Floats, _Floats]:
        """Return random accuracies and energies, one row per draw."""
        shape = draws, len(self.accuracies)
        accuracies = random.normal(self.accuracies, self.accuracy_stds, shape)
        energies_j = random.normal(self.energies_j, self.energy_stds_j, shape)
        return np.clip(accuracies, 0.0, 1.0), np.maximum(energies_j, 0.0)

    def scores(self, choice: Choice, accuracies: _Floats, energies_j: _Floats) -> _Floats:
        """Return a score for each, capped below those of its dominators; NaN where not defined."""
        scores = self.own_scores(choice, accuracies, energies_j)
        # By energy: a dominator uses less, so its score is final when it caps others.
        for index in np.lexsort((-self.accuracies, self.energies_j)):
            for by in self.dominators[index]:
                scores[:, index] = np.minimum(
                    scores[:, index], np.nextafter(scores[:, by], -np.inf)
                )
        return scores

    def own_scores(self, choice: Choice, accuracies: _Floats, energies_j: _Floats) -> _Floats:
        """Return each model's own score; NaN where the metric is not defined."""
        flat = zip(accuracies.ravel().tolist(), energies_j.ravel().tolist(), strict=True)
        scores = np.array([self._score(choice, *figures) for figures in flat])
        return scores.reshape(accuracies.shape)

    def _score(self, choice: Choice, accuracy: float, energy_j: float) -> float:
        unit_j = UNITS_J[choice.unit]
        try:
            if choice.metric == "penalized_score":
                return penalized_score(accuracy, energy_j, reference_j=unit_j, alpha=choice.alpha)
            if self.samples is None:
                return math.nan
            return sam(accuracy, energy_j * self.samples / unit_j, alpha=choice.alpha)
        except ScoreDomainError:
            return math.nan


def _array(numbers: Iterable[float | None]) -> _Floats:
    return np.array([0.0 if number is None else number for number in numbers], dtype=np.float64)


def _ranks(scores: _Floats) -> list[int]:
    """Return ranks, 1 for the best; equal scores share the better rank."""
    return [1 + int((scores > score).sum()) for score in scores]


def _first_shares(scores: _Floats) -> list[float]:
    """Return how often each is first. Equal scores share; an undefined draw has no first."""
    defined = np.isfinite(scores).all(axis=1, keepdims=True)
    first = np.logical_and(scores == scores.max(axis=1, keepdims=True), defined)
    each = first / np.maximum(first.sum(axis=1, keepdims=True), 1)
    shares: list[float] = (each.sum(axis=0) / max(len(scores), 1)).tolist()
    return shares


def _scores(row: StudyRow, *, same_test: bool) -> dict[str, float | None]:
    accuracy, energy_j = row.accuracy, row.sample_energy_j
    assert accuracy is not None
    assert energy_j is not None
    parameters, macs = row.parameters or 0, row.macs or 0
    test_kwh = energy_j * (row.samples or 0) / JOULES_PER_KWH
    return {
        "accuracy": accuracy,
        "energy_j": energy_j,
        "accuracy_per_j": accuracy / energy_j if energy_j else None,
        "penalized_score": _or_none(penalized_score, accuracy, energy_j),
        "sam": _or_none(sam, accuracy, test_kwh) if same_test else None,
        "sapi": _or_none(sapi, accuracy, energy_j, parameters),
        "netscore": _or_none(netscore, accuracy, parameters, macs),
    }


def _or_none(score: Callable[..., float], *figures: float) -> float | None:
    try:
        return score(*figures)
    except ScoreDomainError:
        return None


def _taus(scores_of: Sequence[Mapping[str, float | None]]) -> dict[tuple[str, str], float | None]:
    from scipy.stats import kendalltau

    columns = {name: [scores[name] for scores in scores_of] for name in scores_of[0]}
    taus: dict[tuple[str, str], float | None] = {}
    for one, other in combinations(columns, 2):
        taus[one, other] = None
        if None in columns[one] or None in columns[other] or len(scores_of) < 2:
            continue
        tau = float(kendalltau(columns[one], columns[other])[0])
        if math.isfinite(tau):
            # For energy, less is better.
            taus[one, other] = -tau if "energy_j" in (one, other) else tau
    return taus


def _notes(
    rows: Sequence[StudyRow],
    known: Sequence[StudyRow],
    models: _Models,
    choices: Sequence[Choice],
    ranks: Sequence[list[int] | None],
) -> Iterator[str]:
    for row in rows:
        if row not in known:
            missing = "accuracy" if row.accuracy is None else "energy per sample"
            yield f"{row.name} is not ranked: its {missing} is not known"
    for what in ("accuracy", "test_energy_j"):
        exact = [row.name for row in known if getattr(row, f"{what}_std") is None]
        if exact:
            yield f"no standard deviation of {what}, which counts as exact: {', '.join(exact)}"
    if len({row.estimated for row in known}) > 1:
        yield "some energies are estimated and some measured: they have no common scale"
    if models.samples is None:
        yield "sam needs the energy of the same test, but the numbers of samples differ"
        return
    for unit, unit_j in UNITS_J.items():
        sams = (c.metric == "sam" and c.unit == unit for c in choices)
        if any(of_sam and rank is None for of_sam, rank in zip(sams, ranks, strict=True)):
            least = known[int(np.argmin(models.energies_j))]
            yield (
                f"sam in {unit} is not defined: it needs more than 1 {unit} for every model, and "
                f"{least.name} took {(least.test_energy_j or 0.0) / unit_j:.4g} {unit}"
            )
