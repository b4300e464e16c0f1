"""Named windows that users mark, inside any running measurement."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from pywatt.errors import ArgumentError


class WindowSink(Protocol):
    """A measurement or profiler, which records windows while it is active."""

    def open_window(self, name: str) -> Callable[[], None]:
        """Open a window; return a function that closes it."""
        ...


# Measurements running in this process, outermost first. Their owners append and remove them; a
# window goes to all that are active when it opens. This list does not keep them alive: one that is
# dropped inside its block must stop sampling.
_active: list[weakref.ref[WindowSink]] = []


def activate(sink: WindowSink) -> None:
    """Send windows to `sink` from now on."""
    _active.append(weakref.ref(sink, _active.remove))


def deactivate(sink: WindowSink) -> None:
    """Stop sending windows to `sink`."""
    for reference in tuple(_active):
        if reference() is sink:
            _active.remove(reference)


@contextmanager
def window(name: str) -> Iterator[None]:
    """Mark a named span inside `pywatt.measure`, `pywatt.profile` or `pywatt.Profiler`.

    A profile shows it as a row of type ``window`` with the modules called inside it below; a
    measurement lists it in `Measurement.windows`. Windows nest, and one name may be used many
    times. Outside of a measurement this does nothing.

    Args:
        name: the window's name; not empty.

    Raises:
        ArgumentError: an empty name, or one that is not a string.
    """
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"a window needs a name, such as 'prefill', not {name!r}")
    with ExitStack() as closing:
        for sink in [reference() for reference in _active]:
            if sink is not None:
                closing.callback(sink.open_window(name))
        yield
