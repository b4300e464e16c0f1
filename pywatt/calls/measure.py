"""`pywatt.measure_call`: the energy of one call of a function."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pywatt import _core
from pywatt.calls.energies import durations
from pywatt.calls.repetition import MIN_BLOCKS, Repetition
from pywatt.calls.result import CallEnergy
from pywatt.errors import ArgumentError
from pywatt.metering.caveats import caveats
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.selection import SensorChoice, select
from pywatt.support.callables import name_of, works_later
from pywatt.support.checks import check_positive
from pywatt.support.notes import ordered

DEFAULT_TARGET = 0.02
DEFAULT_BUDGET_S = 10.0


def measure_call(
    fn: Callable[..., Any],
    /,
    *args: Any,
    sensors: SensorChoice = "auto",
    target_rel_std: float = DEFAULT_TARGET,
    budget_s: float = DEFAULT_BUDGET_S,
    clock: _core.Clock | None = None,
    **kwargs: Any,
) -> CallEnergy:
    """Measure the energy of one call of `fn(*args, **kwargs)`, however short it is.

    ::

        print(pywatt.measure_call(model, x))
        print(pywatt.measure_call(model.generate, ids, max_new_tokens=8))

    The call is repeated: once to warm up, then in blocks with idle between, at random phases of
    the sensors' periods, until the energy is known to `target_rel_std` or the budget is spent.
    **Side effects are repeated with it**: it writes, sends or appends each time. What it returns
    is dropped.

    Gradient mode is the caller's: wrap this in ``torch.inference_mode()`` where the real run is.
    No parameter's ``grad`` is touched unless `fn` itself runs a backward pass. CUDA is synchronized
    at the ends of blocks only, so a call that only launches work is measured with that work.

    Args:
        fn: a function, a module, or any other callable. If it takes keyword arguments named like
            those below, bind them first: ``functools.partial(fn, budget_s=3)``.
        args: positional arguments of the call.
        sensors: as in `pywatt.measure`.
        target_rel_std: the standard deviation to reach, as a share of the energy of a call.
        budget_s: time to spend after the warm-up call, in s. At least one block of calls runs,
            however long it takes.
        clock: a `ScriptedClock` for tests.
        kwargs: keyword arguments of the call.

    Raises:
        ArgumentError: invalid arguments, before any call; or `fn` is a generator or coroutine
            function, whose work is done after its call.
        SensorError: a sensor asked for by name cannot be read; also before any call.
        BaseException: whatever `fn` raises, as it is; what was measured until then, if anything, is
            its attribute ``partial``.
    """
    _check(fn, target_rel_std, budget_s)
    selection = select(sensors)
    monitor = Monitor(selection.sensors, clock=clock)
    call = functools.partial(fn, *args, **kwargs)
    repetition = Repetition(call, monitor, target_rel_std=target_rel_std, budget_s=budget_s)
    begun_s = monitor.clock.now_s()

    def result(ended: str) -> CallEnergy:
        elapsed_s = monitor.clock.now_s() - begun_s
        notes = (*selection.notes, *monitor.read()[1])
        return _result(name_of(fn), repetition, monitor, ended, elapsed_s, notes)

    try:
        with monitor:
            repetition.run()
    except BaseException as error:
        # The exception propagates unchanged, also if what was measured gives no result.
        with suppress(Exception):
            repetition.update()
            if repetition.counted:
                error.partial = result("interrupted")  # type: ignore[attr-defined]  # ours
        raise
    if repetition.is_known:
        return result(f"stopped at target_rel_std={target_rel_std:.4g}")
    return result(f"stopped at budget_s={budget_s:.4g}")


def _check(fn: Any, target_rel_std: float, budget_s: float) -> None:
    if not callable(fn):
        raise ArgumentError(
            f"measure_call needs a callable, not {type(fn).__name__}: give the function and its "
            "arguments separately, as in measure_call(model, x)"
        )
    if works_later(fn):
        raise ArgumentError(
            f"a call of {name_of(fn)} returns before its work is done, so there is nothing to "
            "measure: give a function that does all of it, such as one that exhausts the "
            "generator or runs the coroutine"
        )
    check_positive("target_rel_std", target_rel_std, "0.02 for 2 %")
    check_positive("budget_s", budget_s, "10 for ten seconds")
    if target_rel_std >= 1:
        raise ArgumentError(
            f"target_rel_std is {target_rel_std!r}: give a share of the energy, 0.02 for 2 %"
        )


def _result(
    function: str,
    found: Repetition,
    monitor: Monitor,
    ended: str,
    elapsed_s: float,
    notes: tuple[str, ...],
) -> CallEnergy:
    blocks, total, sources = found.counted, found.total, found.sources()
    calls = round(sum(block.calls for block in blocks))
    median_s, spread_s = durations(blocks)
    plural = "s" * (len(blocks) != 1)
    infos = tuple(info for sensor in monitor.sensors for info in sensor.infos)
    return CallEnergy(
        function=function,
        energy_j=None if total is None else total.energy_j,
        energy_j_std=None if total is None else total.energy_j_std,
        net_energy_j=None if total is None else total.net_j,
        net_energy_j_std=None if total is None else total.net_j_std,
        duration_s=median_s,
        duration_s_std=spread_s,
        power_w=None if total is None else total.energy_j / total.call_s,
        idle_power_w=None if total is None else total.idle_w,
        idle_power_w_std=None if total is None else total.idle_w_std,
        calls=calls,
        blocks=len(blocks),
        elapsed_s=elapsed_s,
        target_reached=found.is_known,
        method=f"{calls:,} calls in {len(blocks)} block{plural}; {ended}",
        estimated=any(source.info.estimated for source in sources),
        energy_by_sensor={
            source.info.name: None if each is None else each.energy_j
            for source in sources
            for each in [found.figures.get(source.info.name)]
        },
        sensors=infos,
        windows=found.windows,
        notes=ordered((*notes, *_notes(found))),
    )


def _notes(found: Repetition) -> Iterator[str]:
    sources = found.sources()
    if not sources:
        yield "no sensor gave a reading: run 'pywatt sensors' to see what can be read here"
    for source in sources:
        if found.figures.get(source.info.name) is None and source.silent is None:
            yield (
                f"the energy of {source.name} is not known: it published too few values, or no "
                "power at all, while the calls ran; raise budget_s"
            )
    total = found.total
    if total is not None and not found.is_known:
        reached = total.energy_j_std / abs(total.energy_j) if total.energy_j else math.inf
        blocks = f"{len(found.counted)} block{'s' * (len(found.counted) != 1)}"
        if len(found.counted) < MIN_BLOCKS:
            yield (
                f"budget_s was enough for {blocks} only, too few to show how much calls vary: the "
                f"standard deviation of {reached:.1%} is a guess; raise budget_s"
            )
        else:
            yield (
                f"the standard deviation is {reached:.1%} of the energy, above target_rel_std: "
                f"raise budget_s, which was enough for {blocks}"
            )
    for name in sorted(found.unidentified):
        yield (
            f"could not determine the averaging window of {name}; if it is longer than 0.2 s, the "
            "energy is wrong: raise budget_s"
        )
    if found.windows and found.on_cuda:
        yield (
            "windows are timed on the host: CUDA work that one launches may run after it; call "
            "torch.cuda.synchronize() at its end"
        )
    yield from found.window_notes
    yield from caveats(sources)
    for source in sources:
        if source.info.note:
            yield f"{source.info.name}: {source.info.note}"
