"""`pywatt sensors`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from pywatt.cli.terminal import show, width_of

if TYPE_CHECKING:
    from pywatt.metering.probe import Probe
    from pywatt.sensors.discovery import Discovery

_DESCRIPTION = """\
Lists the sensors that can be read on this machine, and those that cannot, with the reason.
--probe runs a known load on each device for a few seconds, and determines when its sensors update
and how they average.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    sensors = actions.add_parser(
        "sensors",
        help="sensors that can be read on this machine",
        description=_DESCRIPTION,
        epilog="example: pywatt sensors --json",
    )
    sensors.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sensors.add_argument(
        "--probe", action="store_true", help="also run a load to measure how each sensor averages"
    )
    sensors.add_argument(
        "--sys-root", metavar="DIR", default="/sys", help="search there instead of in /sys"
    )
    sensors.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """List the sensors and return the exit status."""
    from pywatt.sensors.discovery import discover, with_reading_cost

    discovery = discover(sys_root=options.sys_root)
    infos = with_reading_cost(discovery)
    probes = _probe(discovery) if options.probe else ()
    if options.json:
        missing = [{"name": entry.name, "reason": entry.reason} for entry in discovery.missing]
        found = [info.to_dict() | {"origin": info.origin} for info in infos]
        listed: dict[str, Any] = {"sensors": found, "missing": missing}
        if options.probe:
            listed["probes"] = [one.to_dict() for one in probes]
        show(json.dumps(listed, indent=2))
    else:
        from pywatt.renderers.sensors import render

        show(render(infos, discovery.missing, width_of(sys.stdout)))
    if options.probe and not options.json:
        from pywatt.renderers import probe as probe_renderer

        show("\n" + probe_renderer.render(probes, width_of(sys.stdout)))
    return 0


def _probe(discovery: Discovery) -> tuple[Probe, ...]:
    from pywatt.metering.probe import by_device, phases_s, probe
    from pywatt.support.progress import progress_bar

    devices = by_device(discovery.found)
    steps = len(devices) * len(phases_s()) // 2
    with progress_bar("probing", steps) as step:
        return tuple(one for sensors in devices for one in probe(sensors, step=step))
