"""The demonstration: five models of different kinds on scikit-learn's digits."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from pywatt.errors import StudyError

_HERE = Path(__file__).parent
_FILES = ("digits.toml", "digits_models.py")


def prepare(folder: Path) -> Path:
    """Copy the study file and its models into a folder, to be run and changed there.

    Existing files are kept, so that an interrupted demonstration resumes.

    Returns:
        The path of the study file.

    Raises:
        StudyError: scikit-learn is missing.
        OSError: the folder cannot be written.
    """
    if find_spec("sklearn") is None:
        raise StudyError("the demo needs scikit-learn: pip install 'pywatt[demo]'")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if not (folder / name).exists():
            shutil.copyfile(_HERE / name, folder / name)
    return folder / _FILES[0]
