"""Notes that a result carries: what a reader of its figures has to know."""

from collections.abc import Iterable


class NoteOnParts(str):
    """A note on layers, phases or passes alone: the figures of the whole can be read without it."""

    __slots__ = ()


def on_the_whole(notes: Iterable[str]) -> tuple[str, ...]:
    """Leave out the notes on parts."""
    return tuple(note for note in notes if not isinstance(note, NoteOnParts))
