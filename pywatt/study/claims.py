"""Claims of runs, which end with the process that made them.

A process holds the lock of a file beside the results for as long as it lives; the kernel drops it
at its death, whatever kills it. So no clock or process id is needed to decide whether a claim is
still valid.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pywatt.errors import StudyError


@contextmanager
def claimant(results: Path) -> Iterator[str]:
    """Yield a token that `is_alive` accepts for as long as this block and this process last."""
    _sweep(results)
    token = secrets.token_hex(8)
    path = _lock_path(results, token)
    unlocked = path.with_suffix(".new")
    try:
        descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}; free its folder") from error
    try:
        # The file gets its name only once locked, so that others may remove unlocked files.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unlocked.rename(path)
        # A child forked by a loader would hold the lock beyond this process's death.
        _held.add(descriptor)
        yield token
    finally:
        _held.discard(descriptor)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _sweep(results: Path) -> None:
    """Remove the locks of processes that died between two runs, which have no claim."""
    with suppress(OSError):
        for entry in results.parent.iterdir():
            token = entry.name.removeprefix(f".{results.name}.").removesuffix(".lock")
            if entry.name == _lock_path(results, token).name:
                is_alive(results, token)


def is_alive(results: Path, token: str) -> bool:
    """Return whether the process that made a claim still runs; remove the lock of a dead one."""
    path = _lock_path(results, token)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's file, which cannot be opened: assume alive
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        with suppress(OSError):
            path.unlink()
        return False
    finally:
        os.close(descriptor)


_held: set[int] = set()


def _close_held() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_held)


def _lock_path(results: Path, token: str) -> Path:
    return results.with_name(f".{results.name}.{token}.lock")
