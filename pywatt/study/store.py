"""The results of a study in an SQLite file: every finished run, and which process does which run.

Each change is one transaction, on disk when it returns (rollback journal, synchronous=EXTRA): a
crash of a process or machine loses the current run and no other. A rollback journal rather than a
write-ahead log: there are few writes, and the file alone can be copied to another machine.
"""

from __future__ import annotations

import json
import sqlite3
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from pywatt.errors import StudyError
from pywatt.study.claims import is_alive
from pywatt.study.record import RunRecord

SCHEMA_VERSION = 1
APPLICATION_ID = 0x70797774  # "pywt"; SQLite keeps it in the file's header
BUSY_S = 30.0

_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}
_FIELDS = tuple(field.name for field in fields(RunRecord))


def _column_type(hint: Any) -> str:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return (
        _TYPES.get(kinds[0], "TEXT") if typing.get_origin(hint) not in (tuple, Mapping) else "TEXT"
    )


def _schema() -> tuple[str, ...]:
    hints = typing.get_type_hints(RunRecord)
    columns = ", ".join(f"{name} {_column_type(hints[name])}" for name in _FIELDS)
    return (
        f"CREATE TABLE runs ({columns}, PRIMARY KEY (key, machine))",
        "CREATE TABLE claims (key TEXT PRIMARY KEY, token TEXT NOT NULL, deaths INTEGER NOT NULL)",
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
    )


class Store:
    """A results file.

    Args:
        path: the file.
        create: create it if it does not exist.

    Raises:
        StudyError: it cannot be opened, is not a results file, or was written by a newer pywatt.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if not create and not path.is_file():
            raise StudyError(f"there is no {path}: run the study first, or name its results")
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with self._errors():
                self._open(create)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The SQLite connection, for what this class does not offer."""
        return self._connection

    def _open(self, create: bool) -> None:
        self._connection.execute("PRAGMA synchronous = EXTRA")
        if create:
            with self._transaction():
                if not self._one("SELECT count(*) FROM sqlite_master"):
                    for statement in _schema():
                        self._connection.execute(statement)
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            raise StudyError(f"{self.path} holds no results of pywatt: give another file")
        version = self._one("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise StudyError(
                f"{self.path} was written in version {version} by a newer pywatt; this one reads "
                f"up to {SCHEMA_VERSION}: pip install --upgrade pywatt"
            )

    def claim(self, key: str, token: str, *, max_deaths: int) -> int | None:
        """Claim a run that is neither done nor being done, or that was begun but not finished.

        Returns:
            Number of processes that have died in it so far, `max_deaths` at most: with that many it
            is not claimed. None: it is done, or another process does it.
        """
        with self._errors(), self._transaction():
            claimed = self._connection.execute(
                "SELECT token, deaths FROM claims WHERE key = ?", (key,)
            ).fetchone()
            if claimed is None:
                if self._one("SELECT count(*) FROM runs WHERE key = ?", key):
                    return None
                deaths = 0
            else:
                if is_alive(self.path, claimed[0]):
                    return None
                deaths = claimed[1] + bool(claimed[0])
            if deaths >= max_deaths:
                return max_deaths
            self._connection.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (key, token, deaths)
            )
        return deaths

    def claimed(self, keys: Iterable[str]) -> list[str]:
        """Return those runs that a living process does."""
        with self._errors():
            rows = self._connection.execute("SELECT key, token FROM claims").fetchall()
        wanted = set(keys)
        return [key for key, token in rows if key in wanted and is_alive(self.path, token)]

    def release(self, key: str) -> None:
        """Release a run that was not done, without counting a death."""
        with self._errors(), self._transaction():
            self._connection.execute("UPDATE claims SET token = '' WHERE key = ?", (key,))

    def finish(self, record: RunRecord) -> None:
        """Save the result of a run, and end its claim."""
        with self._errors(), self._transaction():
            self._insert(record)
            self._connection.execute("DELETE FROM claims WHERE key = ?", (record.key,))

    def add(self, records: Iterable[RunRecord]) -> None:
        """Save results of other runs, all or none; they replace those with the same key."""
        with self._errors(), self._transaction():
            for record in records:
                self._insert(record)

    def forget_failures(self, keys: Sequence[str], machine: str) -> None:
        """Let failed runs be repeated on a machine, and reset their numbers of deaths.

        Only this machine's failures are removed. Its next claims take such a run even if another
        machine's row exists, unless that one has no error and this machine has not failed.
        """
        with self._errors(), self._transaction():
            for key in keys:
                counts = self._connection.execute(
                    "SELECT error FROM runs WHERE key = ? "
                    "ORDER BY machine = ? DESC, error IS NOT NULL",
                    (key, machine),
                ).fetchone()
                if counts is not None and counts[0] is not None:
                    # A claim without a holder, so that the run is done even if this process dies.
                    self._connection.execute(
                        "INSERT OR IGNORE INTO claims VALUES (?, '', 0)", (key,)
                    )
                    self._connection.execute(
                        "DELETE FROM runs WHERE key = ? AND machine = ? AND error IS NOT NULL",
                        (key, machine),
                    )
                self._connection.execute("UPDATE claims SET deaths = 0 WHERE key = ?", (key,))

    def records(self) -> list[RunRecord]:
        """Return all finished runs, in the order of the study."""
        with self._errors():
            rows = self._connection.execute(
                f"SELECT {', '.join(_FIELDS)} FROM runs ORDER BY position, machine, key"
            ).fetchall()
        return [_record(dict(zip(_FIELDS, row, strict=True))) for row in rows]

    def _insert(self, record: RunRecord) -> None:
        row = [_plain(getattr(record, name)) for name in _FIELDS]
        marks = ", ".join("?" * len(row))
        self._connection.execute(
            f"INSERT OR REPLACE INTO runs ({', '.join(_FIELDS)}) VALUES ({marks})", row
        )

    def _one(self, query: str, *parameters: Any) -> Any:
        return self._connection.execute(query, parameters).fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing; take the write lock at once, so that what was read stays valid."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # After some errors, such as a full disk, SQLite has already ended the transaction.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StudyError(f"{self.path}: {error}; {_remedy(str(error))}") from error


def _remedy(message: str) -> str:
    kept = "runs finished before are kept"
    if "full" in message or "I/O" in message:
        return f"free space on its disk and run the study again; {kept}"
    if "locked" in message:
        return f"another process has locked it for {BUSY_S:g} s: end that, and run again; {kept}"
    if "not a database" in message or "malformed" in message or "encrypted" in message:
        return "it holds no results of pywatt, or is damaged: give another file"
    if "readonly" in message or "unable to open" in message:
        return "its folder must exist and be writable"
    return kept


def _plain(item: Any) -> Any:
    if isinstance(item, (tuple, Mapping)):
        return json.dumps(item if isinstance(item, tuple) else dict(item))
    return item


def _record(row: dict[str, Any]) -> RunRecord:
    return RunRecord(
        **row
        | {
            "estimated": bool(row["estimated"]),
            "sensors": tuple(json.loads(row["sensors"])),
            "versions": json.loads(row["versions"]),
            "notes": tuple(json.loads(row["notes"])),
        }
    )
