"""The record of a training: the results of its sessions, in a file that a restart continues."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from pywatt.errors import ArgumentError
from pywatt.support.files import load
from pywatt.training.result import FORMAT, TrainingProfile


class Record:
    """A file that holds the energies of a training so far, replaced whole as more is known.

    If another process writes the file meanwhile, it is left alone and this record uses a new one
    beside it.

    Args:
        path: the file; it need not exist.
        model: class name of the model.

    Raises:
        ArgumentError: it is a folder or a device, the record of another model, or in a folder that
            does not exist.
        FileFormatError: it is not a record.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], model: str) -> None:
        self._path = Path(path)
        self.earlier: tuple[TrainingProfile, ...] = ()
        self._known = self._state()
        if not self._path.parent.is_dir():
            raise ArgumentError(
                f"record is {str(path)!r}, but the folder {self._path.parent} does not exist: "
                "create it"
            )
        if self._known is not None:
            if not self._path.is_file():
                raise ArgumentError(
                    f"record is {str(path)!r}, which is not a file: give a file's path"
                )
            found: TrainingProfile = load(self._path, wanted=FORMAT)
            if found.model != model:
                raise ArgumentError(
                    f"{self._path} is the record of a training of {found.model}, not {model}: "
                    "give another file, or remove it"
                )
            self.earlier = (found,)

    def write(self, profile: TrainingProfile) -> str | None:
        """Write the file. Returns a note if it is another file or could not be written."""
        note = None
        try:
            if self._state() not in (None, self._known):
                wanted, self._path = self._path, self._free_path()
                note = (
                    f"another training has written {wanted} meanwhile: this one's record is "
                    f"{self._path}"
                )
            profile.save(self._path)
            self._known = self._state()
        except OSError as error:
            return f"the record {self._path} could not be written: {error}"
        return note

    def _state(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the file is replaced; None if it does not exist."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _free_path(self) -> Path:
        """Return a path beside it that does not exist."""
        names = (self._path.with_stem(f"{self._path.stem}-{k}") for k in count(2))
        return next(name for name in names if not name.exists())
