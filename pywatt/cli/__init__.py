"""The command line, one file per command; slow imports happen only when needed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from pywatt import __version__
from pywatt.cli import call, compare, demo, run, sensors, show, study
from pywatt.cli.terminal import say
from pywatt.errors import PywattError

USAGE_ERROR = 2

_DESCRIPTION = "Measures the energy of PyTorch models, layer by layer, and of any command."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(given)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except PywattError as error:
        say(f"pywatt: error: {error}")
        status = int(getattr(error, "exit_status", USAGE_ERROR))
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has closed the pipe; without this the interpreter complains at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    return status


def _dispatch(given: list[str]) -> int:
    # argparse would take the command's options for pywatt's own.
    own, after = given, []
    if given[:1] == ["run"] and "--" in given:
        cut = given.index("--")
        own, after = given[:cut], given[cut + 1 :]
    options = parser().parse_args(own)
    options.after = after
    status: int = options.execute(options)
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = argparse.ArgumentParser(
        prog="pywatt", description=_DESCRIPTION, epilog="example: pywatt run -- sleep 1"
    )
    whole.add_argument("--version", action="version", version=f"pywatt {__version__}")
    actions = whole.add_subparsers(dest="action", required=True, metavar="COMMAND")
    for command in (demo, sensors, run, show, compare, call, study):
        command.add(actions)
    return whole
