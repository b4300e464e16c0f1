"""`pywatt run`."""

from __future__ import annotations

import argparse
import json
import sys

from pywatt.cli.terminal import file_errors, say, width_of, writable
from pywatt.errors import PywattError

_DESCRIPTION = """\
Runs a command and prints its energy, mean and peak power and duration to standard error. The
command's output, signals and exit status are passed through (127: not found, 126: cannot be run).
Meters cover the whole machine; without a meter, the energy is estimated from the CPU time of the
command and its descendants, and marked as an estimate.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    run = actions.add_parser(
        "run",
        help="energy of any command",
        usage="pywatt run [-h] [--rate HZ] [--sensor NAME] [--explain] [--json FILE] -- COMMAND",
        description=_DESCRIPTION,
        epilog="example: pywatt run --json energy.json -- python train.py --epochs 3",
    )
    run.add_argument(
        "--rate", type=float, metavar="HZ", help="readings per second, 1 to 10000; default: 100"
    )
    run.add_argument(
        "--sensor",
        action="append",
        metavar="NAME",
        help="a sensor to read, as listed by 'pywatt sensors'; can be repeated; default: all "
        "meters, else the estimate",
    )
    run.add_argument("--explain", action="store_true", help="print every sensor and every note")
    run.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    run.add_argument("command", nargs="*", metavar="COMMAND", help="program and arguments")
    run.set_defaults(execute=execute, error=run.error)


def execute(options: argparse.Namespace) -> int:
    """Run and measure the command after `--`, and return its exit status."""
    from pywatt.command.run import DEFAULT_RATE_HZ, run
    from pywatt.support.display import explained, shown
    from pywatt.support.files import write_whole

    if options.command:
        options.error(f"put -- before the command: pywatt run -- {' '.join(options.command)}")
    if not options.after:
        options.error("no command given: pywatt run -- sleep 1")
    target = writable(options.json)
    ran = run(
        options.after,
        sensors="auto" if options.sensor is None else options.sensor,
        rate_hz=DEFAULT_RATE_HZ if options.rate is None else options.rate,
    )
    text = explained if options.explain else shown
    say(text(ran, width_of(sys.stderr)))
    try:
        if target is not None:
            with file_errors(target):
                write_whole(target, (json.dumps(ran.to_dict(), indent=2) + "\n").encode())
    except PywattError as error:
        if not ran.exit_status:
            raise
        say(f"pywatt: error: {error}")  # the exit status stays that of the failed command
    return ran.exit_status
