"""Ways to show a finished profile: one file a format."""

from typing import Protocol

from pywatt.errors import ArgumentError
from pywatt.profiling.result import Profile
from pywatt.renderers.json import JsonRenderer
from pywatt.renderers.table import TableRenderer


class Renderer(Protocol):
    """Turns a profile into text."""

    def render(self, profile: Profile) -> str:
        """Return the text, without a line break at its end."""
        ...


_RENDERERS: dict[str, type[Renderer]] = {"table": TableRenderer, "json": JsonRenderer}


def get(name: str) -> Renderer:
    """The renderer of that name, with its defaults. Raises ArgumentError for an unknown one."""
    try:
        return _RENDERERS[name]()
    except KeyError:
        raise ArgumentError(
            f"no renderer is called {name!r}; there are {', '.join(map(repr, _RENDERERS))}"
        ) from None
