"""The command line: imports all, what is slow only when it is needed, and is imported by none."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pywatt import __version__
from pywatt.errors import ArgumentError, PywattError
from pywatt.renderers.encoding import encodable

if TYPE_CHECKING:
    from pywatt.probe import Probe
    from pywatt.sensors import Discovery

REGRESSION = 1
USAGE_ERROR = 2
_UNKNOWN_WIDTH = 100
_LEAST_WIDTH = 40

_DESCRIPTION = "Measures the energy of PyTorch models, layer by layer, and of any command."

_DEMO = """\
Trains a small network on scikit-learn's digits, profiles its inference over images that it has not
seen, and prints the energy of each layer, the accuracy and the scores. Takes some seconds.
"""

_SENSORS = """\
Lists what can be read on this machine, and what was looked for and not found, with the reason.
--probe puts a load on each device for some seconds, at moments that it knows, and finds out when
its sensors publish and what their readings are the mean of.
"""

_RUN = """\
Runs a command and prints its energy, mean and peak power and duration to standard error. The
command's output, signals and exit status are passed through (127: not found, 126: cannot be run).
Meters cover the whole machine; where there is none, the CPU time of the command and its
descendants gives an estimate, which is marked as one.
"""

_COMPARE = """\
Holds saved profiles against the first of them, layer by layer. With --to, the files before it are
repeated runs of the old, those after it of the new, and how much runs differ by themselves counts.
--fail-over fails a build only where the energy rose by more than that, and by so much more that
chance is an unlikely reason (2 standard deviations above the limit).
Exit status: 0 fine; 1 an energy rose by more than allowed; 2 wrong usage, a file that cannot be
read, or profiles that cannot be judged.
"""

_CALL = """\
Calls a Python function again and again, with idle between, until the energy of one call is known,
and prints it: also of calls far shorter than any sensor can see. Whatever the function does besides
computing, it does each time. Windows marked by pywatt.window inside it have rows of their own.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(given)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except PywattError as error:
        _say(f"pywatt: error: {error}")
        status = int(getattr(error, "exit_status", USAGE_ERROR))
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read us has seen enough; without this the interpreter complains at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    return status


def _dispatch(given: list[str]) -> int:
    # argparse would take options of the command for ours.
    own, command = given, []
    if given[:1] == ["run"] and "--" in given:
        cut = given.index("--")
        own, command = given[:cut], given[cut + 1 :]
    parser, run_parser = _parsers()
    options = parser.parse_args(own)
    if options.action == "demo":
        return _demo(options.save)
    if options.action == "sensors":
        return _sensors(options.sys_root, as_json=options.json, probe=options.probe)
    if options.action == "compare":
        return _compare(options)
    if options.action == "call":
        return _call(options)
    if options.command:
        run_parser.error(f"put -- before the command: pywatt run -- {' '.join(options.command)}")
    if not command:
        run_parser.error("no command is given: pywatt run -- sleep 1")
    return _run(command, options.sensor, options.rate, options.json)


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Give the parser, and the one of `run` for errors that argparse cannot see."""
    parser = argparse.ArgumentParser(
        prog="pywatt", description=_DESCRIPTION, epilog="example: pywatt run -- sleep 1"
    )
    parser.add_argument("--version", action="version", version=f"pywatt {__version__}")
    actions = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")

    demo = actions.add_parser(
        "demo",
        help="the energy of each layer of a small network",
        description=_DEMO,
        epilog="example: pywatt demo --save digits.json",
    )
    demo.add_argument(
        "--save", "--json", metavar="FILE", help="write the profile there, for pywatt.load"
    )

    sensors = actions.add_parser(
        "sensors",
        help="what can be read on this machine",
        description=_SENSORS,
        epilog="example: pywatt sensors --json",
    )
    sensors.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sensors.add_argument(
        "--probe", action="store_true", help="also find out, under a load, how each sensor sees"
    )
    sensors.add_argument(
        "--sys-root", metavar="DIR", default="/sys", help="look there instead of in /sys"
    )

    run = actions.add_parser(
        "run",
        help="the energy of any command",
        usage="pywatt run [-h] [--rate HZ] [--sensor NAME] [--json FILE] -- COMMAND ...",
        description=_RUN,
        epilog="example: pywatt run --json energy.json -- python train.py --epochs 3",
    )
    run.add_argument(
        "--rate", type=float, metavar="HZ", help="readings a second, 1 to 10000; default: 100"
    )
    run.add_argument(
        "--sensor",
        action="append",
        metavar="NAME",
        help="what to read, as 'pywatt sensors' lists it; can be given several times; "
        "default: all meters, else the estimate",
    )
    run.add_argument("--json", metavar="FILE", help="also write the figures there")
    run.add_argument("command", nargs="*", metavar="COMMAND", help="program and arguments")

    _add_compare(actions)
    _add_call(actions)
    return parser, run


def _add_compare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = actions.add_parser(
        "compare",
        help="what changed between saved profiles, and an exit status for CI",
        description=_COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: pywatt compare old.json new.json --fail-over 5%%",
    )
    compare.add_argument("files", nargs="+", metavar="FILE", help="what Profile.save wrote")
    compare.add_argument(
        "--to", nargs="+", metavar="FILE", help="runs of the new; FILE ... are runs of the old"
    )
    compare.add_argument(
        "--fail-over",
        type=_percentage,
        metavar="PERCENT",
        help="exit with 1 where the total rose by more, such as 5%%",
    )
    compare.add_argument(
        "--fail-layer-over",
        type=_percentage,
        metavar="PERCENT",
        help="with --fail-over: also where a layer's own energy rose by more",
    )
    compare.add_argument(
        "--run-spread",
        type=_percentage,
        metavar="PERCENT",
        help="how much single runs of the same differ here, one standard deviation; default: what "
        "a side of several runs shows",
    )
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _percentage(text: str) -> float:
    """A share from a text such as 5%."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not text.endswith("%") or not 0.0 <= percent < math.inf:
        raise argparse.ArgumentTypeError(f"give a percentage of 0% or more, such as 5%, not {text}")
    return percent / 100.0


def _add_call(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    call = actions.add_parser(
        "call",
        help="the energy of one call of a Python function, however short",
        description=_CALL,
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
        help="an argument, a Python literal or else text; NAME=VALUE gives it by name; can be "
        "given several times",
    )
    call.add_argument(
        "--budget", type=float, metavar="S", help="how long it may take in s; default: 10"
    )
    call.add_argument(
        "--target", metavar="SHARE", help="standard deviation to reach; default: 2%%, or 0.02"
    )
    call.add_argument(
        "--sensor",
        action="append",
        metavar="NAME",
        help="what to read, as 'pywatt sensors' lists it; can be given several times",
    )
    call.add_argument("--json", action="store_true", help="print JSON instead of a report")


def _demo(save: str | None) -> int:
    target = _writable(save)
    from pywatt import demo
    from pywatt.loader_run import profile

    trained = demo.train()
    found = profile(trained.model, demo.passes(trained))
    passes = found.batches // len(trained.batches)
    _print(
        f"Trained on {trained.training_images:,} of scikit-learn's digits in "
        f"{trained.training_s:.1f} s; profiled on the other {trained.test_images:,}, "
        f"{passes:,} times over.\n"
    )
    _print(str(found))
    if target is not None:
        with _file_errors(target):
            found.save(target)
        _print(f"\nSaved: pywatt.load({str(target)!r}) reads it.")
    return 0


def _sensors(sys_root: str, *, as_json: bool, probe: bool) -> int:
    from pywatt.sensors import discover, with_reading_cost

    discovery = discover(sys_root=sys_root)
    infos = with_reading_cost(discovery)
    probes = _probe(discovery) if probe else ()
    if as_json:
        missing = [{"name": entry.name, "reason": entry.reason} for entry in discovery.missing]
        found = [info.to_dict() | {"origin": info.origin} for info in infos]
        listed: dict[str, Any] = {"sensors": found, "missing": missing}
        if probe:
            listed["probes"] = [one.to_dict() for one in probes]
        _print(json.dumps(listed, indent=2))
    else:
        from pywatt.renderers.sensors import render

        _print(render(infos, discovery.missing, _width(sys.stdout)))
    if probe and not as_json:
        from pywatt.renderers import probe as probe_renderer

        _print("\n" + probe_renderer.render(probes, _width(sys.stdout)))
    return 0


def _probe(discovery: Discovery) -> tuple[Probe, ...]:
    from pywatt.probe import by_device, phases_s, probe
    from pywatt.progress import progress_bar

    devices = by_device(discovery.found)
    steps = len(devices) * len(phases_s()) // 2
    with progress_bar("probing", steps) as step:
        return tuple(one for sensors in devices for one in probe(sensors, step=step))


def _run(
    command: list[str], sensors: list[str] | None, rate_hz: float | None, save: str | None
) -> int:
    from pywatt.renderers.command import render
    from pywatt.run import DEFAULT_RATE_HZ, run
    from pywatt.saved import write_whole

    target = _writable(save)
    ran = run(
        command,
        sensors="auto" if sensors is None else sensors,
        rate_hz=DEFAULT_RATE_HZ if rate_hz is None else rate_hz,
    )
    _say(render(ran, _width(sys.stderr)))
    try:
        if target is not None:
            with _file_errors(target):
                write_whole(target, (json.dumps(ran.to_dict(), indent=2) + "\n").encode())
    except PywattError as error:
        if not ran.exit_status:
            raise
        _say(f"pywatt: error: {error}")  # the command's own failure is what the caller waits for
    return ran.exit_status


def _compare(options: argparse.Namespace) -> int:
    from pywatt.comparison.public import compare
    from pywatt.renderers import comparison as renderer

    over, layer_over = options.fail_over, options.fail_layer_over
    if layer_over is not None and over is None:
        raise ArgumentError("--fail-layer-over needs --fail-over, for the total")
    try:
        sides = (options.files, options.to) if options.to else options.files
        compared = compare(*sides, run_spread=options.run_spread)
    except OSError as error:
        raise PywattError(f"{error.filename} cannot be read: {error.strerror}") from error
    found = () if over is None else compared.regressions(over, layers_over=layer_over)
    width = _width(sys.stdout)
    if options.json:
        judged = {"regressions": None if over is None else [one.to_dict() for one in found]}
        _print(json.dumps(compared.to_dict() | judged, indent=2))
    else:
        _print(renderer.render(compared, width))
        if over is not None:
            _print("\n" + renderer.verdict(compared, found, over, width))
    return REGRESSION if found else 0


def _call(options: argparse.Namespace) -> int:
    from pywatt.calls import CallEnergy
    from pywatt.calls.measure import DEFAULT_BUDGET_S, DEFAULT_TARGET, measure_call
    from pywatt.calls.named import arguments_of, function_named, share_of
    from pywatt.renderers.call import render

    target = DEFAULT_TARGET if options.target is None else share_of(options.target)
    budget_s = DEFAULT_BUDGET_S if options.budget is None else options.budget
    args, kwargs = arguments_of(options.arg)
    # What the function prints must not come between the figures.
    with contextlib.redirect_stdout(sys.stderr):
        call = functools.partial(function_named(options.function), *args, **kwargs)
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
                _say(render(partial, _width(sys.stderr)))
            raise
    if options.json:
        _print(json.dumps(found.to_dict(), indent=2))
    else:
        _print(render(found, _width(sys.stdout)))
    return 0


def _writable(name: str | None) -> Path | None:
    """Tell before the work begins what would keep its result from being written."""
    if name is None:
        return None
    target = Path(name)
    if target.is_dir():
        raise ArgumentError(f"{name} is a folder: give the name of a file")
    # A file is first written beside its final place, so its folder counts; a device has no such.
    written = target if target.exists() and not target.is_file() else target.parent
    if not os.access(written, os.W_OK):
        what = "may not be written to" if written.exists() else "does not exist"
        raise ArgumentError(f"{name} cannot be written: {written} {what}")
    return target


@contextlib.contextmanager
def _file_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PywattError(f"{target} cannot be written: {error.strerror or error}") from error


def _width(stream: TextIO | None) -> int:
    """Give the width of the terminal that a stream goes to; COLUMNS goes first, as everywhere.

    No less than `_LEAST_WIDTH`: in less, nothing could be shown.
    """
    columns = shutil.get_terminal_size(fallback=(_UNKNOWN_WIDTH, 40)).columns
    if "COLUMNS" not in os.environ and stream is not None:
        with contextlib.suppress(OSError):
            # 0: a terminal whose size nobody has set.
            columns = os.get_terminal_size(stream.fileno()).columns or _UNKNOWN_WIDTH
    return max(columns, _LEAST_WIDTH)


def _print(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    print(encodable(text, getattr(stream, "encoding", None)), file=stream)


def _say(text: str) -> None:
    """Print to standard error, where nothing that fails may hide what is being reported."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            _print(text, sys.stderr)
