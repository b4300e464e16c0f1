"""`pywatt call`."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
from pathlib import Path

from pywatt.cli.terminal import say, show, width_of

_DESCRIPTION = """\
Repeats a call of a Python function, with idle between, until its energy is known, and prints it:
also for calls far shorter than a sensor can resolve. Side effects of the function are repeated too.
Windows marked by pywatt.window inside it have their own rows.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    call = actions.add_parser(
        "call",
        help="energy of one call of a Python function, however short",
        description=_DESCRIPTION,
        epilog="example: pywatt call work.py:infer --arg 3 --arg name=value --budget 20",
    )
    call.add_argument(
        "function", metavar="FUNCTION", help="module:function or path/to/file.py:function"
    )
    call.add_argument(
        "--arg",
        action="append",
        default=[],
        metavar="VALUE",
        help="an argument, a Python literal or else text; NAME=VALUE passes it by name; can be "
        "repeated",
    )
    call.add_argument("--budget", type=float, metavar="S", help="time to spend in s; default: 10")
    call.add_argument(
        "--target", metavar="SHARE", help="standard deviation to reach; default: 2%%, or 0.02"
    )
    call.add_argument(
        "--sensor",
        action="append",
        metavar="NAME",
        help="a sensor to read, as listed by 'pywatt sensors'; can be repeated",
    )
    call.add_argument(
        "--explain", action="store_true", help="print the method, every sensor and all notes"
    )
    call.add_argument("--json", action="store_true", help="print JSON instead of a report")
    call.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure one call and return the exit status."""
    from pywatt.calls import CallEnergy
    from pywatt.calls.measure import DEFAULT_BUDGET_S, DEFAULT_TARGET, measure_call
    from pywatt.calls.named import arguments_of, check_arguments, function_named, share_of
    from pywatt.support.display import explained, shown

    target = DEFAULT_TARGET if options.target is None else share_of(options.target)
    budget_s = DEFAULT_BUDGET_S if options.budget is None else options.budget
    args, kwargs = arguments_of(options.arg)
    # Output of the function must not mix with the figures.
    with contextlib.redirect_stdout(sys.stderr):
        function = function_named(options.function, folder=Path.cwd())
        check_arguments(function, args, kwargs)
        call = functools.partial(function, *args, **kwargs)
        try:
            found = measure_call(
                call,
                sensors=options.sensor or "auto",
                target_rel_std=target,
                budget_s=budget_s,
            )
        except BaseException as error:
            partial = getattr(error, "partial", None)
            if isinstance(partial, CallEnergy):
                say(shown(partial, width_of(sys.stderr)))
            raise
    if options.json:
        show(json.dumps(found.to_dict(), indent=2))
    else:
        text = explained if options.explain else shown
        show(text(found, width_of(sys.stdout)))
    return 0
