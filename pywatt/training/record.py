"""The record of a training: what each session measured, in a file that a restart goes on with."""

from __future__ import annotations

import os
from pathlib import Path

from pywatt.errors import ArgumentError
from pywatt.training.result import TrainingProfile


class Record:
    """A file that holds a training's energies so far, replaced whole whenever more is known.

    Args:
        path: the file; it need not be there.
        model: class name of the model.

    Raises:
        ArgumentError: it is a folder or a device, or the record of another model.
        FileFormatError: it is no record.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], model: str) -> None:
        self._path = Path(path)
        self.earlier: tuple[TrainingProfile, ...] = ()
        if self._path.exists():
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
        """Write it. Returns why that failed: what is measured goes on without."""
        try:
            told.save(self._path)
        except OSError as error:
            return f"the record {self._path} could not be written: {error}"
        return None
