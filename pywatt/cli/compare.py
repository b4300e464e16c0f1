"""`pywatt compare`."""

from __future__ import annotations

import argparse
import json
import math
import sys

from pywatt.cli.terminal import show, width_of
from pywatt.errors import ArgumentError, PywattError

REGRESSION = 1

_DESCRIPTION = """\
Compares saved profiles with the first of them, layer by layer. With --to, files before --to are
repeated old runs, files after it new runs; run-to-run variation is then included.
--fail-over fails a build only if the energy rose significantly above the limit (by 2 standard
deviations or more).
Exit status: 0 no increase above the limit; 1 an energy rose above it; 2 wrong usage, a file that
cannot be read, or profiles that cannot be judged.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    compare = actions.add_parser(
        "compare",
        help="what changed between saved profiles, and an exit status for CI",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: pywatt compare old.json new.json --fail-over 5%",
    )
    compare.add_argument("files", nargs="+", metavar="FILE", help="a profile saved by Profile.save")
    compare.add_argument(
        "--to", nargs="+", metavar="FILE", help="new runs; files before --to are old runs"
    )
    compare.add_argument(
        "--fail-over",
        type=_percentage,
        metavar="PERCENT",
        help="exit with 1 if the total rose by more, such as 5%%",
    )
    compare.add_argument(
        "--fail-layer-over",
        type=_percentage,
        metavar="PERCENT",
        help="with --fail-over: also if a layer's own energy rose by more",
    )
    compare.add_argument(
        "--run-spread",
        type=_percentage,
        metavar="PERCENT",
        help="run-to-run standard deviation in percent; default: computed from the side with "
        "several runs",
    )
    compare.add_argument(
        "--explain", action="store_true", help="print what the columns mean, and all notes"
    )
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare.set_defaults(execute=execute)


def _percentage(text: str) -> float:
    """Read a share from a text such as 5%."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not text.endswith("%") or not 0.0 <= percent < math.inf:
        raise argparse.ArgumentTypeError(f"give a percentage of 0% or more, such as 5%, not {text}")
    return percent / 100.0


def execute(options: argparse.Namespace) -> int:
    """Compare files with the first and return the exit status."""
    from pywatt.comparison.compare import compare
    from pywatt.renderers.comparison import verdict
    from pywatt.support.display import explained, shown

    over, layer_over = options.fail_over, options.fail_layer_over
    if layer_over is not None and over is None:
        raise ArgumentError("--fail-layer-over needs --fail-over, for the total")
    try:
        sides = (options.files, options.to) if options.to else options.files
        compared = compare(*sides, run_spread=options.run_spread)
    except OSError as error:
        raise PywattError(f"{error.filename} cannot be read: {error.strerror}") from error
    found = () if over is None else compared.regressions(over, layers_over=layer_over)
    width = width_of(sys.stdout)
    if options.json:
        judged = {"regressions": None if over is None else [one.to_dict() for one in found]}
        show(json.dumps(compared.to_dict() | judged, indent=2))
    else:
        text = explained if options.explain else shown
        show(text(compared, width))
        if over is not None:
            show("\n" + verdict(compared, found, over, width))
    return REGRESSION if found else 0
