"""A study as tables: accuracy, energies and scores, how firm the ranking is, and the runs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from pywatt.renderers.text import Fact, facts_text, plain, short_text, table_text
from pywatt.scores.footprint import Factors
from pywatt.study.ranking import DEFAULT, Ranking, Standing
from pywatt.study.row import extrapolation
from pywatt.support.quantities import (
    NOT_AVAILABLE,
    Scale,
    count,
    fixed,
    percent,
    quantity,
    with_std,
)

if TYPE_CHECKING:
    from pywatt.study.result import ModelResult, StudyTable

FRONT = "*"
NOT_DEFINED = "not def."

_LEGEND = (
    "± is one standard deviation, without the error in scale of the meter or the estimate, which "
    "all share. Rank and score: penalized_score of J per sample, alpha "
    f"{DEFAULT.alpha:g}; {FRONT} is on the Pareto front: no other is better at both accuracy and "
    "energy, beyond the uncertainty. 1st in: how often it is first when accuracies and energies "
    "are drawn anew from their uncertainty. Training: the whole training. Test: one pass."
)
_SCORES = (
    "SAM of the test's kWh, SAPI of mJ per sample and parameters, NetScore of parameters and "
    f"FLOPs; {NOT_DEFINED}: outside of its domain, or its inputs are not known."
)
_FIRMNESS = (
    "Ranks under alpha 1, 2, 3, 5, in this order, with energy counted in J, Wh or kWh. beta scales "
    "all scores alike and changes no rank. First: how often, least to most over these choices."
)
_TAUS = (
    "Kendall's tau between the rankings of metrics: 1 the same order, -1 reversed. Lower is "
    "better for energy, higher for the rest."
)

# How many columns stand before both halves of a table that is too wide: model and rank.
_BOTH = 2

MORE = "explain(), or pywatt study show STUDY --explain"

Column = tuple[str, list[str]]
Section = str | list[Column]


def render(table: StudyTable, width: int, *, factors: Factors | None = None) -> str:
    """Return the table of models and at most six lines; with `factors`, emissions and cost too."""
    parts = [_headline(table), *_fitted(next(sections(table)), width)]
    if factors is not None:
        parts += [_table(_footprint_columns(table, factors)), _factors_text(factors)]
    short = short_text(_short_facts(table), table.notes, width, MORE)
    return "\n\n".join(filter(None, (*parts, short)))


def explain(table: StudyTable, width: int, *, factors: Factors | None = None) -> str:
    """Return what `render` leaves out: other scores, how firm the ranking is, runs, and all notes.

    Args:
        table: the study.
        width: of the terminal.
        factors: what a kWh means in emissions and cost; None: not shown.
    """
    parts = [_headline(table)]
    for section in list(sections(table, factors))[1:]:
        parts += _fitted(section, width)
    return "\n\n".join([*parts, facts_text(_facts(table), width)])


def _fitted(section: Section, width: int) -> list[str]:
    """A wrapped text, one table, or two where one would be too wide."""
    if isinstance(section, str):
        return ["\n".join(textwrap.wrap(section, width))]
    whole = _table(section)
    cut = next((i for i, (title, _) in enumerate(section) if title == "1st in"), 0)
    if cut > _BOTH and max(map(len, whole.splitlines())) > width:
        return [_table(section[:cut]), _table([*section[:_BOTH], *section[cut:]])]
    return [whole]


def sections(table: StudyTable, factors: Factors | None = None) -> Iterator[Section]:
    """Give the tables, the models from the first to the last, each with what explains it below."""
    models = _ordered(table)
    names = _names(models)
    standings = [table.standing(model.name) for model in models]
    ranks = ("Rank", [_rank_text(standing) for standing in standings])
    score, *scores = _scores(standings)
    firsts = ("1st in", [_first(standing) for standing in standings])
    yield [names, ranks, *_figures(models), firsts, score]
    yield _LEGEND
    yield [names, *scores]
    yield _SCORES
    if table.ranking is not None and len(table.ranking.standings) > 1:
        yield _ranks(table.ranking)
        yield _FIRMNESS
        if taus := _taus(table.ranking):
            yield taus
            yield _TAUS
    if factors is not None:
        yield _footprint_columns(table, factors)
        yield _factors_text(factors)
    yield [names, *_runs(models)]


def _ordered(table: StudyTable) -> list[ModelResult]:
    """The models from the first to the last, those without a rank at the end."""
    return sorted(table.models, key=lambda model: _rank(table.standing(model.name)) or math.inf)


def _names(models: Sequence[ModelResult]) -> Column:
    return "Model", [plain(model.name) for model in models]


def _headline(table: StudyTable) -> str:
    origins = {model.row.estimated for model in table.models if model.runs}
    sensors = dict.fromkeys(sensor for model in table.models for sensor in model.sensors)
    if not origins or not sensors:
        label = "ENERGY UNAVAILABLE"
    else:
        label = "PARTLY ESTIMATED" if len(origins) > 1 else "MEASURED"
        label = "ESTIMATED" if origins == {True} else label
        label = ", ".join(filter(None, (label, extrapolation(table.rows).upper())))
        label += f" with {', '.join(sensors)}"
    return plain(f"{table.study} · {label}")


def _figures(models: Sequence[ModelResult]) -> list[Column]:
    rows = [model.row for model in models]
    trainings = _energies([(r.train_energy_j, r.train_energy_j_std) for r in rows])
    return [
        ("Accuracy", [_accuracy(row.accuracy, row.accuracy_std) for row in rows]),
        ("Training", _of_training(models, trainings)),
        ("Test", _energies([(r.test_energy_j, r.test_energy_j_std) for r in rows])),
        ("Per sample", _energies([(r.sample_energy_j, r.sample_energy_j_std) for r in rows])),
        ("Per correct", [_quantity(row.correct_energy_j, "J") for row in rows]),
    ]


def _scores(standings: Sequence[Standing | None]) -> list[Column]:
    columns: list[Column] = []
    for title, metric, decimals in (
        ("Score", "penalized_score", 4),
        ("SAM", "sam", 4),
        ("SAPI", "sapi", 4),
        ("NetScore", "netscore", 2),
    ):
        found = [None if s is None else s.scores[metric] for s in standings]
        most = max((abs(score) for score in found if score), default=1.0)
        if most < 0.1:  # four digits of the best
            decimals = min(3 - math.floor(math.log10(most)), 8)
        scale = Scale("", 1.0, decimals)
        texts = [NOT_DEFINED if score is None else scale.text(score) for score in found]
        if metric == DEFAULT.metric:
            stds = [0.0 if s is None else s.score_std for s in standings]
            texts = [
                f"{text} ± {scale.text(std)}" if std else text
                for text, std in zip(texts, stds, strict=True)
            ]
        columns.append((title, texts))
    return columns


def _rank(standing: Standing | None) -> int | None:
    return None if standing is None else standing.ranks[0]


def _rank_text(standing: Standing | None) -> str:
    rank = _rank(standing)
    if standing is None or rank is None:
        return NOT_AVAILABLE
    return f"{rank}{FRONT if not standing.dominated_by else ' '}"


def _first(standing: Standing | None) -> str:
    share = None if standing is None else standing.first_shares[0]
    return NOT_AVAILABLE if share is None else percent(share)


def _accuracy(accuracy: float | None, std: float | None) -> str:
    if accuracy is None:
        return NOT_AVAILABLE
    return fixed(accuracy, 4) if std is None else f"{fixed(accuracy, 4)} ± {fixed(std, 4)}"


def _energies(figures: Sequence[tuple[float | None, float | None]]) -> list[str]:
    return [_with_std(j, std, "J") for j, std in figures]


def _of_training(models: Sequence[ModelResult], texts: Sequence[str]) -> list[str]:
    """Mark what stands for more epochs than were measured."""
    return [
        f"{text} (extrapolated)" if model.row.train_extrapolated and text != NOT_AVAILABLE else text
        for model, text in zip(models, texts, strict=True)
    ]


def _with_std(number: float | None, std: float | None, unit: str) -> str:
    """Four digits where the standard deviation would allow more: runs differ by more than that."""
    if number is None:
        return NOT_AVAILABLE
    if std and std < 1e-3 * abs(number):
        return f"{quantity(number, unit)} ± <0.1 %"
    return with_std(number, std, unit)


def _quantity(number: float | None, unit: str) -> str:
    return NOT_AVAILABLE if number is None else quantity(number, unit)


def _ranks(ranked: Ranking) -> list[Column]:
    """A row a model, a column a metric and unit, in it the rank under each exponent."""
    columns: list[Column] = [("Model", [plain(standing.name) for standing in ranked.standings])]
    defined = [c for c, rank in zip(ranked.choices, ranked.standings[0].ranks, strict=True) if rank]
    by_alpha = sorted(defined, key=lambda choice: (choice.metric, choice.unit, choice.alpha))
    for (metric, unit), group in groupby(by_alpha, key=lambda choice: (choice.metric, choice.unit)):
        places = [ranked.choices.index(choice) for choice in group]
        title = f"{'Score' if metric == DEFAULT.metric else 'SAM'} in {unit}"
        texts = [
            " ".join(str(standing.ranks[place]) for place in places)
            for standing in ranked.standings
        ]
        columns.append((title, texts))
    firsts = [
        [share for share in standing.first_shares if share is not None]
        for standing in ranked.standings
    ]
    texts = [f"{percent(min(shares))} to {percent(max(shares))}" for shares in firsts]
    columns.append(("First", texts))
    return columns


def _taus(ranked: Ranking) -> list[Column]:
    """The lower half of the matrix, without metrics that cannot be compared with any other."""
    known = {pair: tau for pair, tau in ranked.taus.items() if tau is not None}
    metrics = [m for m in ranked.standings[0].scores if any(m in pair for pair in known)]
    if len(metrics) < 2:
        return []
    columns: list[Column] = [("Kendall's tau", metrics[1:])]
    for index, metric in enumerate(metrics[:-1]):
        texts = []
        for row, other in enumerate(metrics[1:], 1):
            tau = known.get((metric, other))
            texts.append("" if row <= index else NOT_AVAILABLE if tau is None else _signed(tau))
        columns.append((metric, texts))
    return columns


def _signed(tau: float) -> str:
    return f"{round(tau, 2) + 0.0:+.2f}"  # no -0.00


def _footprint_columns(table: StudyTable, factors: Factors) -> list[Column]:
    models = _ordered(table)
    columns = [_names(models)]
    for title, of, marked in (
        ("Training", [m.row.train_energy_j for m in models], partial(_of_training, models)),
        ("1 M samples", [_million(m.row.sample_energy_j) for m in models], list[str]),
    ):
        if factors.kg_per_kwh is not None:
            kilograms = [None if j is None else factors.emissions_kg(j) for j in of]
            texts = [_quantity(_times(kg, 1e3), "g") for kg in kilograms]
            columns.append((f"{title}, CO2e", marked(texts)))
        if factors.price_per_kwh is not None:
            prices = [None if j is None else factors.cost(j) for j in of]
            texts = [NOT_AVAILABLE if price is None else f"{price:.4g}" for price in prices]
            columns.append((f"{title}, cost", marked(texts)))
    return columns


def _million(sample_energy_j: float | None) -> float | None:
    return _times(sample_energy_j, 1e6)


def _times(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _factors_text(factors: Factors) -> str:
    given = [f"PUE {factors.pue:g}"]
    if factors.kg_per_kwh is not None:
        given.append(f"{factors.kg_per_kwh:g} kg CO2e per kWh")
    if factors.price_per_kwh is not None:
        given.append(f"price {factors.price_per_kwh:g} per kWh, in whose currency costs are")
    return f"Emissions and cost by the factors given: {', '.join(given)}."


def _runs(models: Sequence[ModelResult]) -> list[Column]:
    memory = [m.peak_memory_bytes for m in models]
    train_times = [_with_std(m.train_duration_s, m.train_duration_s_std, "s") for m in models]
    return [
        ("Runs", [_of_wanted(m) for m in models]),
        ("Epochs", [_epochs(m) for m in models]),
        ("Train time", _of_training(models, train_times)),
        ("Test time", [_with_std(m.test_duration_s, m.test_duration_s_std, "s") for m in models]),
        ("Params", [_count(m.row.parameters) for m in models]),
        ("FLOPs/sample", [_count(m.flops) for m in models]),
        (
            "Peak memory",
            [NOT_AVAILABLE if b is None else f"{count(b)}B" for b in memory],
        ),
        ("Device", [m.device for m in models]),
    ]


def _epochs(model: ModelResult) -> str:
    if model.epochs is None:
        return NOT_AVAILABLE
    extrapolated = "" if model.extrapolated_to is None else f" of {model.extrapolated_to}"
    return f"{model.epochs}{extrapolated}"


def _of_wanted(model: ModelResult) -> str:
    return str(model.runs) if model.wanted is None else f"{model.runs} of {model.wanted}"


def _count(number: float | None) -> str:
    return NOT_AVAILABLE if number is None else count(round(number))


def _facts(table: StudyTable) -> Iterator[tuple[str, str]]:
    devices = dict.fromkeys(
        f"{model.device}: {model.device_name or NOT_AVAILABLE}" + f" ({model.machine})"
        for model in table.models
        if model.runs
    )
    for device in devices:
        yield "device", device
    versions = dict.fromkeys(version for model in table.models for version in model.versions)
    if versions:
        yield "versions", ", ".join(versions)
    for note in table.notes:
        yield "note", note


def _short_facts(table: StudyTable) -> Iterator[Fact]:
    standings = () if table.ranking is None else table.ranking.standings
    front = ", ".join(standing.name for standing in standings if not standing.dominated_by)
    if front:
        yield f"{FRONT} front", f"no other is better at both accuracy and energy: {front}"
    failed = sum(len(model.errors) for model in table.models)
    if failed:
        yield "failed", f"{failed} run{'s' * (failed > 1)}: see the notes"


def _table(columns: Sequence[Column]) -> str:
    titles = [title for title, _ in columns]
    return table_text(titles, list(zip(*(texts for _, texts in columns), strict=True)))
