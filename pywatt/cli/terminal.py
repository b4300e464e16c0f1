"""Output of the commands: the terminal, and files named by options."""

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
_MIN_WIDTH = 40


def writable(name: str | None) -> Path | None:
    """Check before the work begins that its result can be written. Raises ArgumentError."""
    if name is None:
        return None
    target = Path(name)
    if target.is_dir():
        raise ArgumentError(f"{name} is a folder: give the name of a file")
    # A file is first written to its folder under another name; a device is written to directly.
    written = target if target.exists() and not target.is_file() else target.parent
    if not os.access(written, os.W_OK):
        what = "may not be written to" if written.exists() else "does not exist"
        raise ArgumentError(f"{name} cannot be written: {written} {what}")
    return target


@contextlib.contextmanager
def file_errors(target: Path) -> Iterator[None]:
    """Raise PywattError with the file's name in place of OSError."""
    try:
        yield
    except OSError as error:
        raise PywattError(f"{target} cannot be written: {error.strerror or error}") from error


def width_of(stream: TextIO | None) -> int:
    """Return the width of a stream's terminal; COLUMNS takes precedence, as everywhere.

    At least `_MIN_WIDTH`, since tables need as much.
    """
    columns = shutil.get_terminal_size(fallback=(_UNKNOWN_WIDTH, 40)).columns
    if "COLUMNS" not in os.environ and stream is not None:
        with contextlib.suppress(OSError):
            # 0: a terminal whose size is not set.
            columns = os.get_terminal_size(stream.fileno()).columns or _UNKNOWN_WIDTH
    return max(columns, _MIN_WIDTH)


def show(text: str, stream: TextIO | None = None) -> None:
    """Print to standard output or to a stream, in characters that its encoding has."""
    stream = stream or sys.stdout
    print(encodable(text, getattr(stream, "encoding", None)), file=stream)


def say(text: str) -> None:
    """Print to standard error; a failure to print is ignored, so that it hides no other error."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            show(text, sys.stderr)
