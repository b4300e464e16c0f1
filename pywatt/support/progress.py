"""Progress bars on long work in a terminal, none in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    description: str, total: int | None, show: bool | None = None
) -> Iterator[Callable[..., None]]:
    """Show a bar on standard error, and yield a function that advances it by one step.

    That function also takes a number of steps and a new description.

    Args:
        description: text beside the bar.
        total: number of steps; None where not known.
        show: True, False, or None: only if standard error is a terminal.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda steps=1, doing=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        # Redrawing takes CPU time, which the software sensor would count as the model's.
        refresh_per_second=2,
    )
    with bar:
        task = bar.add_task(description, total=total)

        def advance(steps: float = 1, doing: str | None = None) -> None:
            bar.update(task, advance=steps, description=doing)

        yield advance
