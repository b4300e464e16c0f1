"""Results as JSON files: one envelope, written whole or not at all, read back exactly."""

import dataclasses
import gzip
import json
import math
import os
import secrets
import types
import typing
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pywatt.errors import FileFormatError, PywattError
from pywatt.support.upward import class_of

VERSION = 1

_T = TypeVar("_T")
_GZIP_MAGIC = b"\x1f\x8b"
_DAMAGES = (LookupError, TypeError, ValueError, AttributeError, PywattError)


def save(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what `to_dict` of a result returns, compressed if the name ends in ".gz".

    An existing file is replaced only when the new one is complete. Raises OSError.
    """
    written = dumped(document).encode()
    if Path(path).suffix == ".gz":
        written = gzip.compress(written, mtime=0)
    write_whole(path, written)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file completely or not at all. Raises OSError.

    A target that is not a regular file (a pipe, /dev/stdout) is written to, not replaced.
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


def load(path: str | os.PathLike[str], *, wanted: str | None = None) -> Any:
    """Read a result of any kind that its `save` wrote.

    Args:
        path: the file.
        wanted: the required format, such as "pywatt profile"; None: any.

    Raises:
        FileFormatError: the file holds no such result.
        OSError: the file cannot be read.
    """
    try:
        return loads(_text(Path(path).read_bytes()), wanted=wanted)
    except FileFormatError as error:
        study = "; for a study's results use pywatt study show" * (Path(path).suffix == ".db")
        raise FileFormatError(f"{os.fspath(path)}: {error}{study}") from error.__cause__


def loads(text: str, *, wanted: str | None = None) -> Any:
    """Make the result from its JSON text; see `load`. Raises FileFormatError."""
    try:
        document = json.loads(text, object_hook=_unmarked, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(
            f"not complete JSON ({error}): the file is truncated or not a pywatt result; save the "
            "result again"
        ) from error
    found = document.get("format") if isinstance(document, dict) else None
    result = class_of(found) if isinstance(found, str) else None
    if result is None:
        raise FileFormatError(
            f"not a {wanted or 'pywatt result'}: expected a file written by save() of a result"
        )
    if wanted not in (None, found):
        raise FileFormatError(f"a {found}, not a {wanted}: give another file")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise FileFormatError(
            f"written in format {version} by a newer pywatt; this one reads up to {VERSION}: "
            "pip install --upgrade pywatt"
        )
    try:
        return result.from_dict(document)
    except _DAMAGES as error:
        # The text of a KeyError is only the key.
        what = repr(error) if isinstance(error, LookupError) or not str(error) else str(error)
        raise FileFormatError(f"damaged {found}: {what}; save it again") from error


def dumped(document: Mapping[str, Any], indent: int | None = None) -> str:
    """Return the JSON text of a document, which may hold numpy numbers."""
    try:
        return json.dumps(document, indent=indent, allow_nan=False, default=_plain)
    except ValueError:  # NaN or infinity, which JSON lacks: mark them, which is slower
        return json.dumps(_marked(document), indent=indent, allow_nan=False)


def _text(read: bytes) -> str:
    try:
        return (gzip.decompress(read) if read.startswith(_GZIP_MAGIC) else read).decode()
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(
            f"the compressed file is truncated or damaged ({error}): save the result again"
        ) from error
    except UnicodeDecodeError as error:
        raise FileFormatError("not text: expected a file written by save() of a result") from error


def enveloped(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    """Return the document of a result: its fields, extended or replaced by `more`."""
    return {"format": kind, "version": VERSION, "profile": flat(result) | more}


def flat(item: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, mappings as dicts."""
    fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return {
        key: dict(field) if isinstance(field, Mapping) else field for key, field in fields.items()
    }


def built(cls: type[_T], document: Mapping[str, Any]) -> _T:
    """Build an object from its JSON, nested objects too. Raises TypeError for a wrong type."""
    hints = typing.get_type_hints(cls)
    arguments = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # always a dataclass
        if field.name in document:
            arguments[field.name] = _checked(document[field.name], hints[field.name], field.name)
    return cls(**arguments)


def _checked(found: Any, declared: Any, name: str) -> Any:
    origin, parameters = typing.get_origin(declared), typing.get_args(declared)
    if origin is tuple and isinstance(found, list):
        return tuple(_checked(item, parameters[0], name) for item in found)
    if origin is Mapping and isinstance(found, dict):
        return {key: _checked(item, parameters[1], name) for key, item in found.items()}
    if isinstance(found, dict) and hasattr(declared, "from_dict"):
        return declared.from_dict(found)
    if isinstance(found, dict) and dataclasses.is_dataclass(declared):
        return built(declared, found)  # type: ignore[arg-type]  # a class, not an instance
    choices = parameters if origin is types.UnionType else (declared,)
    if type(found) is int and int not in choices and float in choices:
        return float(found)
    if type(found) not in choices:
        raise TypeError(f"{name} is {found!r}")
    return found


def _plain(item: Any) -> Any:
    """Convert numpy arrays and numbers to Python's."""
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
