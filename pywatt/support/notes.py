"""Notes of a result: caveats on its figures."""

from collections.abc import Iterable


class NoteOnParts(str):
    """A note on layers, phases or passes only, which does not concern the totals."""

    __slots__ = ()


class NoteOnSensors(str):
    """A note on why figures are estimated, which the headline of a result says by itself."""

    __slots__ = ()


def ordered(notes: Iterable[str]) -> tuple[str, ...]:
    """Return each note once: those on the totals first, then on parts, then on sensors."""

    def place(note: str) -> int:
        return 2 if isinstance(note, NoteOnSensors) else int(isinstance(note, NoteOnParts))

    return tuple(sorted(dict.fromkeys(notes), key=place))


def notes_on_totals(notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes without those on parts."""
    return tuple(note for note in notes if not isinstance(note, NoteOnParts))
