"""Run a model until its power is steady, since clocks and temperatures settle under load."""

from __future__ import annotations

from collections.abc import Callable

from pywatt.metering.source import sources_of, window_energy
from pywatt.sampling.monitor import Monitor

# Power is steady once two consecutive stretches differ by no more than this share or this many
# standard deviations, whichever is larger.
STRETCH_S = 0.5
STEADY_SHARE = 0.02
STEADY_STDS = 2.0

MAX_WARMUP_S = 10.0


def warm_up(run_pass: Callable[[], None], monitor: Monitor) -> str | None:
    """Run passes until the power that the monitor's sensors read is steady.

    Run none where no sensor is a meter: an estimate follows the load at once.

    Args:
        run_pass: runs one pass.
        monitor: reads the sensors; not running yet.

    Returns:
        A note where the power was not steady after 10 s; else None.
    """
    if all(info.estimated for sensor in monitor.sensors for info in sensor.infos):
        return None
    now_s = monitor.clock.now_s
    with monitor:
        begin_s = now_s()
        marks_s = [begin_s]
        while now_s() - begin_s < MAX_WARMUP_S:
            before_s = now_s()
            run_pass()
            after_s = now_s()
            if after_s <= before_s:
                return None  # a scripted clock that does not advance
            if after_s - marks_s[-1] < STRETCH_S:
                continue
            marks_s.append(after_s)
            if len(marks_s) > 2 and _is_steady(monitor, *marks_s[-3:]):
                return None
    return (
        f"power was not steady after {MAX_WARMUP_S:.0f} s of warm-up and may drift during the run: "
        "set warmup= to a number of passes to warm up for longer"
    )


def _is_steady(monitor: Monitor, first_s: float, middle_s: float, last_s: float) -> bool:
    """Return whether every source had the same mean power in both stretches."""
    infos = [info for sensor in monitor.sensors for info in sensor.infos]
    for source in sources_of(monitor.traces, infos):
        if any(trace.ended is not None for trace in source.traces) or not source.traces:
            continue  # do not wait for a meter that is gone
        before = window_energy(source, first_s, middle_s)
        after = window_energy(source, middle_s, last_s)
        if before is None or after is None:
            return False
        before_s, after_s = middle_s - first_s, last_s - middle_s
        before_w, after_w = before.energy_j / before_s, after.energy_j / after_s
        unsure_w = max(before.energy_j_std / before_s, after.energy_j_std / after_s)
        if abs(after_w - before_w) > max(STEADY_STDS * unsure_w, STEADY_SHARE * abs(before_w)):
            return False
    return True
