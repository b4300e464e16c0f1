"""Profiles, of trainings too, as JSON files: written whole or not at all, read back exactly."""

import dataclasses
import gzip
import json
import math
import os
import secrets
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pywatt.errors import FileFormatError, PywattError
from pywatt.profiling.result import LayerEnergy, Profile
from pywatt.sampling.trace import Trace
from pywatt.sensors.device_state import DeviceState
from pywatt.sensors.discovery import SensorInfo

if TYPE_CHECKING:
    from pywatt.training.result import TrainingProfile

FORMAT = "pywatt profile"
TRAINING_FORMAT = "pywatt training"
VERSION = 1

_T = TypeVar("_T")
_NESTED = ("layers", "sensors", "traces", "device_states", "phases", "epochs", "sessions")
_GZIP_MAGIC = b"\x1f\x8b"


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Writes a profile as JSON, compressed if the name ends in ".gz". Raises OSError."""
    _write(to_json(profile), path)


def save_training(profile: "TrainingProfile", path: str | os.PathLike[str]) -> None:
    """Writes the profile of a training likewise. Raises OSError."""
    _write(training_to_json(profile), path)


def _write(text: str, path: str | os.PathLike[str]) -> None:
    written = text.encode()
    if Path(path).suffix == ".gz":
        written = gzip.compress(written, mtime=0)
    write_whole(path, written)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file whole or not at all. Raises OSError.

    What is there and is no regular file (a pipe, /dev/stdout) is written to, not replaced.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    target = target.resolve()  # so that a link stays a link
    temporary = target.with_name(f".pywatt-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> Profile:
    """Reads a profile that `Profile.save` wrote.

    Raises FileFormatError for anything else, OSError where the file cannot be read.
    """
    return _read(path, from_json)


def load_training(path: str | os.PathLike[str]) -> "TrainingProfile":
    """Reads a profile that `TrainingProfile.save` wrote, or a record; raises likewise."""
    return _read(path, training_from_json)


def _read(path: str | os.PathLike[str], parse: Callable[[str], _T]) -> _T:
    try:
        return parse(_text(Path(path).read_bytes()))
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error.__cause__


def to_json(profile: Profile, *, traces: bool = True, indent: int | None = None) -> str:
    """The profile as JSON that `from_json` reads back; without its readings if `traces` is False.

    What follows from the rest (power, scores, labels) is written for other readers too.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "profile": _flat(profile)
        | {
            "label": profile.label,
            "power_w": profile.power_w,
            "energy_per_sample_j": profile.energy_per_sample_j,
            "sam": profile.sam,
            "sam_note": profile.sam_note,
            "score": profile.score,
            "score_note": profile.score_note,
            "layers": [
                _flat(layer) | {"power_w": layer.power_w, "label": profile.layer_label(layer)}
                for layer in profile.layers
            ],
            "sensors": [sensor.to_dict() for sensor in profile.sensors],
            "device_states": [dataclasses.asdict(state) for state in profile.device_states],
            "traces": {name: trace.to_dict() for name, trace in profile.traces.items()}
            if traces
            else {},
        },
    }
    return _dumped(document, indent)


def training_to_json(profile: "TrainingProfile", *, indent: int | None = None) -> str:
    """The profile of a training as JSON that `training_from_json` reads back."""
    document = {
        "format": TRAINING_FORMAT,
        "version": VERSION,
        "profile": _flat(profile)
        | {
            "label": profile.label,
            "power_w": profile.power_w,
            "energy_per_sample_j": profile.energy_per_sample_j,
            "phases": [_flat(phase) | {"power_w": phase.power_w} for phase in profile.phases],
            "layers": [_flat(layer) for layer in profile.layers],
            "epochs": [_flat(epoch) for epoch in profile.epochs],
            "sessions": [_flat(session) for session in profile.sessions],
            "sensors": [sensor.to_dict() for sensor in profile.sensors],
        },
    }
    return _dumped(document, indent)


def from_json(text: str) -> Profile:
    """The profile that `to_json` wrote. Raises FileFormatError."""
    fields = _fields(text, FORMAT)
    try:
        return _built(
            Profile,
            fields
            | {
                "layers": tuple(_built(LayerEnergy, layer) for layer in fields["layers"]),
                "sensors": tuple(SensorInfo.from_dict(sensor) for sensor in fields["sensors"]),
                "traces": {
                    name: Trace.from_dict(trace) for name, trace in fields["traces"].items()
                },
                "device_states": tuple(
                    _built(
                        DeviceState,
                        state | {"throttle_reasons": tuple(state["throttle_reasons"])},
                    )
                    for state in fields.get("device_states", ())
                ),
                "notes": tuple(fields["notes"]),
            },
        )
    except _DAMAGES as error:
        raise FileFormatError(f"a damaged pywatt profile ({error!r}): save it again") from error


def training_from_json(text: str) -> "TrainingProfile":
    """The profile that `training_to_json` wrote. Raises FileFormatError."""
    from pywatt.training.result import (
        EpochEnergy,
        LayerTraining,
        PhaseEnergy,
        TrainingProfile,
        TrainingSession,
    )  # takes a moment to import, and few need it

    fields = _fields(text, TRAINING_FORMAT)
    try:
        return _built(
            TrainingProfile,
            fields
            | {
                "phases": tuple(_built(PhaseEnergy, phase) for phase in fields["phases"]),
                "layers": tuple(_built(LayerTraining, layer) for layer in fields["layers"]),
                "epochs": tuple(_built(EpochEnergy, epoch) for epoch in fields["epochs"]),
                "sessions": tuple(_built(TrainingSession, each) for each in fields["sessions"]),
                "sensors": tuple(SensorInfo.from_dict(sensor) for sensor in fields["sensors"]),
                "notes": tuple(fields["notes"]),
            },
        )
    except _DAMAGES as error:
        raise FileFormatError(f"a damaged pywatt profile ({error!r}): save it again") from error


_DAMAGES = (LookupError, TypeError, ValueError, AttributeError, PywattError)
_READERS = {FORMAT: "pywatt.load", TRAINING_FORMAT: "pywatt.TrainingProfile.load"}


def _dumped(document: dict[str, Any], indent: int | None) -> str:
    try:
        return json.dumps(document, indent=indent, allow_nan=False, default=_plain)
    except ValueError:  # NaN or infinity, which JSON does not have: the slow way marks them
        return json.dumps(_marked(document), indent=indent, allow_nan=False)


def _fields(text: str, wanted: str) -> dict[str, Any]:
    """What a file of the wanted format holds of its profile."""
    try:
        document = json.loads(text, object_hook=_unmarked, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(
            f"not complete JSON ({error}); the file is truncated or is no pywatt profile: "
            "save the profile again"
        ) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != wanted:
        if found in _READERS:
            raise FileFormatError(f"a {found}, which {_READERS[found]} reads, not a {wanted}")
        raise FileFormatError(f"no {wanted}; give a file that its save wrote")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise FileFormatError(
            f"written in format {version} by a newer pywatt, this one reads up to {VERSION}: "
            "pip install --upgrade pywatt"
        )
    try:
        return dict(document["profile"])
    except _DAMAGES as error:
        raise FileFormatError(f"a damaged pywatt profile ({error!r}): save it again") from error


def _text(read: bytes) -> str:
    try:
        return (gzip.decompress(read) if read.startswith(_GZIP_MAGIC) else read).decode()
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(
            f"the compressed file is truncated or damaged ({error}): save the profile again"
        ) from error
    except UnicodeDecodeError as error:
        raise FileFormatError("no text; give a file that Profile.save wrote") from error


def _flat(item: Any) -> dict[str, Any]:
    flat = {
        field.name: getattr(item, field.name)
        for field in dataclasses.fields(item)
        if field.name not in _NESTED
    }
    return {
        key: dict(field) if isinstance(field, Mapping) else field for key, field in flat.items()
    }


def _built(cls: type[_T], document: Mapping[str, Any]) -> _T:
    """An object from its JSON, every field of the type that it is declared with."""
    names = {"SensorInfo": SensorInfo, "Trace": Trace, "DeviceState": DeviceState}
    hints = typing.get_type_hints(cls, localns=names)
    arguments = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # all that are given are
        if field.name in document:
            arguments[field.name] = _checked(document[field.name], hints[field.name], field.name)
    return cls(**arguments)


def _checked(found: Any, declared: Any, name: str) -> Any:
    origin, parameters = typing.get_origin(declared), typing.get_args(declared)
    if origin is tuple and isinstance(found, tuple):
        return tuple(_checked(item, parameters[0], name) for item in found)
    if origin is Mapping and isinstance(found, dict):
        return {key: _checked(item, parameters[1], name) for key, item in found.items()}
    choices = parameters if origin is types.UnionType else (declared,)
    if type(found) is int and int not in choices and float in choices:
        return float(found)
    if type(found) not in choices:
        raise TypeError(f"{name} is {found!r}")
    return found


def _plain(item: Any) -> Any:
    """Numpy's arrays and numbers as Python's."""
    return item.tolist()


def _marked(item: Any) -> Any:
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else {"$float": repr(float(item))}
    if isinstance(item, dict):
        return {key: _marked(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_marked(value) for value in item]
    return _marked(item.tolist()) if hasattr(item, "tolist") else item


def _unmarked(item: dict[str, Any]) -> Any:
    return float(item["$float"]) if item.keys() == {"$float"} else item


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
