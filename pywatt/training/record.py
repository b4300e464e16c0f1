"""The record of a training: what each session measured, in a file that a restart goes on with."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from pywatt.errors import ArgumentError
from pywatt.training.result import TrainingProfile


class Record:
    """A file that holds a training's energies so far, replaced whole whenever more is known.

    What another process writes there meanwhile is left as it is: this one then has one beside it.

    Args:
        path: the file; it need not be there.
        model: class name of the model.

    Raises:
        ArgumentError: it is a folder or a device, or the record of another model, or is to be in a
            folder that is not there.
        FileFormatError: it is no record.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], model: str) -> None:
        self._path = Path(path)
        self.earlier: tuple[TrainingProfile, ...] = ()
        self._known = self._state()
        if not self._path.parent.is_dir():
            raise ArgumentError(
                f"record is {str(path)!r}, but {self._path.parent} is no folder: make it first"
            )
        if self._known is not None:
            if not self._path.is_file():
                raise ArgumentError(
                    f"record is {str(path)!r}, which is no file: give a file's path"
                )
            found = TrainingProfile.load(self._path)
            if found.model != model:
                raise ArgumentError(
                    f"{self._path} is the record of a training of {found.model}, not {model}: "
                    "give another file, or remove it"
                )
            self.earlier = (found,)

    def write(self, told: TrainingProfile) -> str | None:
        """Write it. Returns what a reader must know: where it is, or why that failed."""
        note = None
        try:
            if self._state() not in (None, self._known):
                wanted, self._path = self._path, self._beside()
                note = (
                    f"another training has written {wanted} meanwhile: this one's record is "
                    f"{self._path}"
                )
            told.save(self._path)
            self._known = self._state()
        except OSError as error:
            return f"the record {self._path} could not be written: {error}"
        return note

    def _state(self) -> tuple[int, int, int] | None:
        """What changes whenever the file is replaced; None while there is none."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _beside(self) -> Path:
        """A name that is free."""
        names = (self._path.with_stem(f"{self._path.stem}-{k}") for k in count(2))
        return next(name for name in names if not name.exists())
