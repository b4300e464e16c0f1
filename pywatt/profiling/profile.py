"""A whole run over a loader: warm-up, the measured passes, and replay where it takes that."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from pywatt import _core
from pywatt.attribution import Method
from pywatt.errors import ArgumentError, BatchError
from pywatt.metering.sensor_model import SensorModel
from pywatt.model.batch import (
    AccuracyOf,
    CountOf,
    Forward,
    call_model,
    describe,
    duplicate,
    explained,
    move,
)
from pywatt.model.reachable_state import left_as_it_was
from pywatt.model.state import preserved_state
from pywatt.profiling.profiler import Profiler
from pywatt.profiling.result import Profile
from pywatt.sampling.monitor import DEFAULT_RATE_HZ
from pywatt.sensors.discovery import SensorChoice
from pywatt.support.checks import check_count, check_positive
from pywatt.support.notes import NoteOnParts
from pywatt.support.progress import progress_bar

if TYPE_CHECKING:
    from pywatt.training.profiler import TrainingProfiler

DEFAULT_BUDGET_S = 30.0

# The energy of the run is known well enough to this share of it, one standard deviation.
SURE_STD = 0.01

# Going through the loader again may take this share of the budget.
REPEAT_SHARE = 0.2

# After so many times as many passes it is asked again whether that is enough.
ASK_AGAIN = 1.25


def profile(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    sensors: SensorChoice = "auto",
    rate_hz: float = DEFAULT_RATE_HZ,
    forward: Forward | None = None,
    warmup: int | Literal["auto"] = "auto",
    max_batches: int | None = None,
    accuracy: AccuracyOf | str | None = "auto",
    device: torch.device | str | None = None,
    progress: bool | None = None,
    method: Method = "auto",
    budget_s: float = DEFAULT_BUDGET_S,
    repeat: bool = True,
    unit: str = "sample",
    count: CountOf | int | None = None,
    sensor_models: Mapping[str, SensorModel] | None = None,
    clock: _core.Clock | None = None,
) -> Profile:
    """Profile a model's forward passes over a loader: energy of every layer, with its uncertainty.

    The model is called as it is: its mode is not changed, and afterwards its mode, its buffers and
    the random states are as before. Without `forward`, no gradients are recorded.

    Args:
        model: the model.
        loader: batches: a tensor, a mapping (keyword arguments), or a tuple or list whose first
            item is the input.
        sensors: ``auto`` (a meter of each device of the model, else the software estimate), names
            from `pywatt.sensors()`, or sensor objects.
        rate_hz: readings a second, 1 to 10,000.
        forward: (model, batch) -> output, in place of calling the model with the batch.
        warmup: passes over the first batch before the measurement begins; ``auto``: until the
            power that a meter reads is steady, for 10 s at most.
        max_batches: end after so many batches; None: all.
        accuracy: ``auto`` (top-1 where batches have integer targets and outputs are class logits),
            a function (output, batch) -> share of right answers, or None.
        device: where batches are moved before the call; default: the model's own device.
        progress: show a progress bar; None: only in a terminal.
        method: how energy is shared among modules: ``overlap``, ``regression``, ``time``, or
            ``replay``, which afterwards runs each module on its own for as long as the sensor
            needs to see it; or ``auto``, the surest of the first two that can be believed (see
            `pywatt.attribute`), else replay.
        budget_s: how long replay may take.
        repeat: go through the loader again until the energy of the run is known to 1 %, for a fifth
            of the budget at most, where that can be done and `max_batches` is not given.
        unit: what energy is told per, such as ``token``.
        count: how many units a batch has, or a function (output, batch) -> how many; None: its
            samples.
        sensor_models: how sensors average, by their names, from `pywatt.characterize` with a known
            load; of others it is found in the run or in replay, if it can be.
        clock: a `ScriptedClock` for tests.

    Returns:
        The profile; `print` it for the table.

    Raises:
        ArgumentError: an empty loader, not a torch module, an unknown sensor, a rate out of range.
        BatchError: the loader's first batch is not one the model can be called with.
        SensorError: a sensor asked for by name that cannot be read.
        Exception: whatever the model or the loader raises. What was measured until then is in the
            exception's `partial_profile`.
    """
    check_count("warmup", warmup, 0, or_else="auto")
    check_count("max_batches", max_batches, 1, or_else=None)
    check_positive("budget_s", budget_s, "30 for thirty seconds")
    if not (forward is None or callable(forward)):
        raise ArgumentError(f"forward must be a function (model, batch), not {forward!r}")
    if isinstance(loader, (torch.Tensor, Mapping, str)) or not _can_iterate(loader):
        raise BatchError(f"the loader is {describe(loader)}: give batches, such as [batch]")
    profiler = Profiler(
        model,
        sensors=sensors,
        rate_hz=rate_hz,
        method=method,
        accuracy=accuracy,
        unit=unit,
        count=count,
        device="cpu" if device is None else device,
        sensor_models=sensor_models,
        clock=clock,
    )
    target = torch.device(profiler.device if device is None else device)
    call = _no_grad_call if forward is None else forward
    explain = explained if forward is None else nullcontext
    with preserved_state(model):
        batches = _Batches(loader, max_batches)
        # The model may write into its input, and what is repeated must be as it was.
        kept = duplicate(batches.first, target)

        def run_pass() -> None:
            with preserved_state(model):
                call(model, duplicate(kept, target))

        def run_replay_pass() -> None:
            # Ended early, it would leave half of what a model notes in its attributes.
            with left_as_it_was(model):
                run_pass()

        before = _learned(model)

        def trains() -> bool:
            return _learned(model) != before

        # What a warm-up tells need not be found out in the run, whose energy that would take.
        trained: bool | None = None

        def is_enough() -> bool:
            nonlocal trained
            late = profiler.duration_s > REPEAT_SHARE * budget_s
            if not repeat or late or profiler.knows_energy_to(SURE_STD):
                return True
            trained = trains() if trained is None else trained
            return trained

        lazy = any(map(nn.parameter.is_lazy, model.parameters()))
        with explain(kept):
            for _ in range(1 if warmup == "auto" else warmup):
                run_pass()
        if lazy:
            before = _learned(model)  # the first pass has only made its parameters
        if warmup:
            trained = trains()
        if warmup == "auto" and not trained:
            profiler.warm_up(run_pass)
        try:
            with (
                progress_bar("profiling", batches.count, progress) as advance,
                profiler,
            ):
                for number, batch in enumerate(batches.until(is_enough)):
                    moved = move(batch, target)
                    # After a warm-up the model is known to take the first batch.
                    with explain(moved) if number == warmup == 0 else nullcontext():
                        output = call(model, moved)
                    profiler.step(moved, output)
                    advance()
            profiler.add_notes(batches.notes)
            if profiler.wants_replay and trains():
                profiler.do_without_replay(
                    "the run changed the model's parameters or gradients, and so would each pass"
                )
            elif profiler.wants_replay:
                profiler.replay(run_replay_pass, budget_s=budget_s, progress=progress)
        except BaseException as error:
            profiler._make_sure(error)
            keep_partial(error, profiler)
            raise
    return profiler.result()


def _no_grad_call(model: nn.Module, batch: Any) -> Any:
    with torch.no_grad():
        return call_model(model, batch)


def _learned(model: nn.Module) -> list[Hashable]:
    """Tell parameters and gradients of one moment from those of another."""
    return [
        (id(p), _content(p), None if p.grad is None else (id(p.grad), _content(p.grad)))
        for p in model.parameters()
    ]


def _content(tensor: torch.Tensor) -> Hashable:
    """Tell a tensor's content without a copy of it: a write through `.data` counts nowhere."""
    try:
        total = float(tensor.detach().sum(dtype=torch.float64))
    except Exception:  # no numbers in it, or none that torch adds up: lazy, meta, quantized
        total = 0.0
    return repr(total)  # NaN is the same as NaN then


def _can_iterate(loader: Any) -> bool:
    return hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")


class _Batches:
    """The batches of a loader, once or several times over.

    Raises:
        ArgumentError: it has none.
    """

    def __init__(self, loader: Iterable[Any], max_batches: int | None) -> None:
        self._loader, self._most = loader, max_batches
        self._rest = iter(loader)
        self._passes = 1
        head = list(itertools.islice(self._rest, 1))
        if not head:
            raise ArgumentError("the loader gave no batch: there is nothing to profile")
        self.first = head[0]

    @property
    def count(self) -> int | None:
        """How many there are in one pass, so far as the loader tells."""
        try:
            length = len(self._loader)  # type: ignore[arg-type]  # not every loader has a length
        except Exception:  # whatever its __len__ says, the loader may be fine
            return self._most
        return length if self._most is None else min(length, self._most)

    def until(self, enough: Callable[[], bool]) -> Iterator[Any]:
        """Give the batches, and again as long as it is not enough, if there are any again."""
        yield from itertools.islice(itertools.chain([self.first], self._rest), self._most)
        if self._most is not None or self._loader is self._rest:
            return
        asked = 0.0
        while True:
            # To ask takes time of its own, which short passes would feel.
            if self._passes >= ASK_AGAIN * asked:
                if enough():
                    return
                asked = self._passes
            before = self._passes
            for batch in self._loader:
                self._passes = before + 1
                yield batch
            if self._passes == before:
                return  # an iterator in disguise, used up

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        if self._passes == 1:
            return ()
        return (
            NoteOnParts(
                f"the loader was gone through {self._passes} times, since once was too short for "
                "the sensors: calls, time and energy are those of all"
            ),
        )


def keep_partial(error: BaseException, profiler: Profiler | TrainingProfiler) -> None:
    """Put what was measured so far on the user's exception, which goes on as it is."""
    try:
        error.partial_profile = profiler.result()  # type: ignore[attr-defined]  # ours
    except Exception:
        return
