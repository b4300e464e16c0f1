"""What the commands write to: the terminal, and files that they are told to write."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pywatt.errors import ArgumentError, PywattError
from pywatt.support.display import encodable

_UNKNOWN_WIDTH = 100
_LEAST_WIDTH = 40


def writable(name: str | None) -> Path | None:
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
def file_errors(target: Path) -> Iterator[None]:
    """Say which file could not be written. Raises PywattError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise PywattError(f"{target} cannot be written: {error.strerror or error}") from error


def width_of(stream: TextIO | None) -> int:
    """Give the width of the terminal that a stream goes to; COLUMNS goes first, as everywhere.

    No less than `_LEAST_WIDTH`: in less, nothing could be shown.
    """
    columns = shutil.get_terminal_size(fallback=(_UNKNOWN_WIDTH, 40)).columns
    if "COLUMNS" not in os.environ and stream is not None:
        with contextlib.suppress(OSError):
            # 0: a terminal whose size nobody has set.
            columns = os.get_terminal_size(stream.fileno()).columns or _UNKNOWN_WIDTH
    return max(columns, _LEAST_WIDTH)


def show(text: str, stream: TextIO | None = None) -> None:
    """Print to standard output, or to a stream, what its encoding can take."""
    stream = stream or sys.stdout
    print(encodable(text, getattr(stream, "encoding", None)), file=stream)


def say(text: str) -> None:
    """Print to standard error, where nothing that fails may hide what is being reported."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            show(text, sys.stderr)
