"""What hooks add to each call of a module: the native pair and two empty Python hooks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from comparison import Row, Target, check, interleaved, show_s, timed
from torch import nn

from pywatt import _core
from pywatt.model.hooks import ModuleHooks


class Empty(nn.Module):
    def forward(self) -> None:
        pass


def before(module: nn.Module, args: object) -> None:
    pass


def after(module: nn.Module, args: object, output: object) -> None:
    pass


def per_call(module: nn.Module, calls: int) -> Callable[[], float]:
    def run() -> float:
        def work() -> None:
            for _ in range(calls):
                module()

        return timed(work) / calls

    return run


def measure(*, quick: bool) -> list[Row]:
    calls, rounds = (1_000, 3) if quick else (20_000, 41)
    bare, python, native = Empty(), Empty(), Empty()
    python.register_forward_pre_hook(before)
    python.register_forward_hook(after)
    hooks = ModuleHooks(native, _core.steady_clock())
    with hooks:
        bare_s, python_s, native_s = interleaved(
            rounds, per_call(bare, calls), per_call(python, calls), per_call(native, calls)
        )
    check(
        len(hooks.recorder) == rounds * calls,
        f"{rounds * calls} calls were made, but {len(hooks.recorder)} recorded",
    )
    added_s, python_added_s = native_s - bare_s, python_s - bare_s
    ratio = float(np.median(added_s) / np.median(python_added_s))
    return [
        Row(
            "hooks, added to a call; other: two empty Python hooks",
            show_s(float(np.median(added_s))),
            show_s(float(np.median(python_added_s))),
            ratio,
            Target(ratio, "<=", 1.3, "<= 1.3×"),
        ),
        Row(
            f"a hooked call in all (without hooks {show_s(float(np.median(bare_s)))})",
            show_s(float(np.median(native_s))),
            show_s(float(np.median(python_s))),
            float(np.median(native_s) / np.median(python_s)),
        ),
    ]
