"""`pywatt show`."""

from __future__ import annotations

import argparse
import sys

from pywatt.cli.terminal import show, width_of
from pywatt.errors import PywattError

_DESCRIPTION = """\
Prints a saved profile of a run or a training as a table. --explain prints what the table omits:
every sensor, how the figures were computed and checked, all scores and all notes.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = actions.add_parser(
        "show",
        help="print a saved profile",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: pywatt show run.json --explain",
    )
    parser.add_argument("file", metavar="FILE", help="a file written by save() of a result")
    parser.add_argument(
        "--explain", action="store_true", help="print how the figures were computed, and all notes"
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Print one file and return the exit status."""
    from pywatt.support.display import explained, shown
    from pywatt.support.files import load

    try:
        result = load(options.file)
    except OSError as error:
        raise PywattError(f"{options.file} cannot be read: {error.strerror or error}") from error
    text = explained if options.explain else shown
    show(text(result, width_of(sys.stdout)))
    return 0
