"""`pywatt study`: run, show, export, merge, demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt.cli.terminal import file_errors, say, show, width_of, writable
from pywatt.errors import ArgumentError, PywattError

if TYPE_CHECKING:
    from pywatt.scores.footprint import Factors
    from pywatt.study.result import StudyTable

_DESCRIPTION = """\
Measures training and test of many models on one task, and shows which are worth their energy.
"""

_RUN = """\
Runs the unfinished runs of a study and prints the table. Every finished run is saved at once: after
an interrupt or a crash, run it again to resume. Several processes may run the same study. Models
that fail have a row that says why; --retry runs them again.
Exit status: 0 all runs are done; 1 some failed; 2 wrong usage, or nothing could be run.
"""

_MERGE = """\
Merges the results of several machines into one file; the merged files are not changed.
"""

_DEMO = """\
Trains and tests five models of different kinds on scikit-learn's digits, and writes study file,
results, table and pictures to a folder. Takes about a minute.
"""

FAILED = 1


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    study = actions.add_parser(
        "study",
        help="many models on one task: accuracy against electricity",
        description=_DESCRIPTION,
        epilog="example: pywatt study demo",
    )
    steps = study.add_subparsers(dest="step", required=True, metavar="STEP")
    run = steps.add_parser(
        "run",
        help="run the unfinished runs and print the table",
        description=_RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: pywatt study run digits.toml",
    )
    run.add_argument("study", metavar="STUDY.toml", help="the study file")
    run.add_argument("--retry", action="store_true", help="also run what failed before")
    run.add_argument(
        "--sensor",
        action="append",
        metavar="NAME",
        help="a sensor to read, as listed by 'pywatt sensors', instead of those of the study file; "
        "can be repeated",
    )
    shown = steps.add_parser(
        "show",
        help="print the table of what is done",
        epilog="example: pywatt study show digits.toml --kg-per-kwh 0.25 --pue 1.2",
    )
    export = steps.add_parser(
        "export",
        help="write the results as CSV, JSON or Markdown, or as pictures",
        epilog="example: pywatt study export digits.toml digits.csv pictures/",
    )
    shown.add_argument(
        "--explain", action="store_true", help="all tables: other scores, rank stability, runs"
    )
    for step in (shown, export):
        step.add_argument("study", metavar="STUDY", help="the study file, or a results file (.db)")
    export.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="a file ending in .csv, .json or .md, or a folder (ending in /) for pictures",
    )
    export.add_argument("--svg", action="store_true", help="draw pictures as SVG, not PNG")
    for step in (run, shown, export):
        step.add_argument(
            "--results", metavar="FILE", help="results file; default: .db beside the study file"
        )
        _add_factors(step)
        step.set_defaults(execute=execute)
    merge = steps.add_parser(
        "merge",
        help="merge the results of several machines into one file",
        description=_MERGE,
        epilog="example: pywatt study merge all.db first.db second.db",
    )
    merge.add_argument("target", metavar="OUT.db", help="the file to write; may exist")
    merge.add_argument("sources", nargs="+", metavar="FILE.db", help="results files")
    merge.set_defaults(execute=_merge)
    demo = steps.add_parser(
        "demo",
        help="five models on scikit-learn's digits: table, ranking, pictures",
        description=_DEMO,
        epilog="example: pywatt study demo --folder digits",
    )
    demo.add_argument(
        "--folder", metavar="DIR", default="pywatt-study", help="default: pywatt-study"
    )
    demo.set_defaults(execute=_demo)


def _add_factors(step: argparse.ArgumentParser) -> None:
    step.add_argument(
        "--kg-per-kwh", type=float, metavar="KG", help="kg CO2e per kWh: shows emissions"
    )
    step.add_argument("--price-per-kwh", type=float, metavar="PRICE", help="shows cost")
    step.add_argument(
        "--pue",
        type=float,
        metavar="PUE",
        help="power usage effectiveness of the building; 1 for a machine under a desk",
    )


def _factors(options: argparse.Namespace) -> Factors | None:
    from pywatt.scores.footprint import Factors

    kg, price, pue = options.kg_per_kwh, options.price_per_kwh, options.pue
    if kg is None and price is None and pue is None:
        return None
    if pue is None:
        raise ArgumentError("give --pue too: 1 for a machine under a desk")
    if kg is None and price is None:
        raise ArgumentError("--pue needs --kg-per-kwh or --price-per-kwh: give one of them too")
    return Factors(pue=pue, kg_per_kwh=kg, price_per_kwh=price)


def execute(options: argparse.Namespace) -> int:
    """Run, show or export a study, and return the exit status."""
    from pywatt.renderers.study import explain, render

    factors = _factors(options)
    if options.step == "export":
        return _export(options, factors)
    if options.step == "show":
        text = explain if options.explain else render
        show(text(_table(options), width_of(sys.stdout), factors=factors))
        return 0
    from pywatt.study.api import Study

    study = Study(options.study, results=options.results, sensors=options.sensor)
    try:
        table = study.run(retry=options.retry, say=say)
    except KeyboardInterrupt:
        say("interrupted: finished runs are kept; run the same command again to resume")
        raise
    show(render(table, width_of(sys.stdout), factors=factors))
    return FAILED if any(model.errors for model in table.models) else 0


def _table(options: argparse.Namespace) -> StudyTable:
    from pywatt.study.api import Study, table_of

    if Path(options.study).suffix == ".db":
        if options.results is not None:
            raise ArgumentError("give a study file with --results, or the results file alone")
        return table_of(options.study)
    return Study(options.study, results=options.results).table()


def _export(options: argparse.Namespace, factors: Factors | None) -> int:
    from pywatt.renderers.study_files import as_file
    from pywatt.support.files import write_whole

    table = _table(options)
    for name in options.targets:
        target = Path(name)
        if name.endswith("/") or target.is_dir():
            _draw(table, target, ".svg" if options.svg else ".png")
            continue
        content = as_file(table, target, factors)
        writable(name)
        with file_errors(target):
            write_whole(target, content)
    return 0


def _draw(table: StudyTable, folder: Path, suffix: str = ".png") -> None:
    try:
        with file_errors(folder):
            table.draw(folder, suffix=suffix)
    except ImportError as error:
        raise PywattError(str(error)) from error


def _merge(options: argparse.Namespace) -> int:
    from pywatt.study.api import merge

    merged = merge(options.target, options.sources)
    runs = f"{merged.added} run{'s' * (merged.added != 1)} added"
    others = {
        "already present": merged.same,
        "present with other results, which are kept": merged.kept,
        "replaced failed runs": merged.replaced,
    }
    parts = [runs, *(f"{number} {what}" for what, number in others.items() if number)]
    show(f"{options.target}: {', '.join(parts)}.")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from pywatt.demos.study import prepare
    from pywatt.renderers.study import render
    from pywatt.renderers.study_files import as_file
    from pywatt.study.api import Study
    from pywatt.support.files import write_whole

    folder = Path(options.folder)
    with file_errors(folder):
        path = prepare(folder)
    table = Study(path).run(say=say)
    show(render(table, width_of(sys.stdout)))
    for suffix in (".md", ".csv", ".json"):
        target = path.with_suffix(suffix)
        with file_errors(target):
            write_whole(target, as_file(table, target))
    try:
        _draw(table, folder)
        drawn = "table and pictures"
    except PywattError as error:
        drawn = f"table ({error})"
    show(f"\nIn {folder}: study file, results, {drawn}.")
    return FAILED if any(model.errors for model in table.models) else 0
