"""A copy of an embedded store, made while it is served, and proved to be good before it gets its name.

VACUUM INTO reads one moment of the store and holds up nobody (https://www.sqlite.org/lang_vacuum.html); the copy has no
free pages, so nothing that was erased is in it.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.errors import OperatorError
from bridge.store.migrate import HEAD

FAULTS_LIMIT: Final = 10
"""The most damaged places that are named."""

_PART: Final = ".part"
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Backup:
    """What is in a copy."""

    events: int
    pending: int
    """Deliveries that are not made yet: they are made when the copy is served."""
    size: int
    """Bytes."""


def back_up(store: Path, target: Path) -> Backup:
    """Copy the store to a new file that only its owner can read; it is on disk when this returns.

    A crash half-way leaves `TARGET.part`, never a `TARGET` that is not whole. Raises OperatorError if there is such a
    file already, if it cannot be written, or if the copy is damaged.
    """
    part = target.with_name(target.name + _PART)
    check_new(target)
    _create(part)
    try:
        with contextlib.closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(part),))
        found = _verified(part)
        _sync(part)
        check_new(target)
        part.rename(target)
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OperatorError(f"{target}: no backup was made: {reason}; see that its folder has room") from error
    finally:
        part.unlink(missing_ok=True)
    _sync(target.parent)
    return found


def check_new(target: Path) -> None:
    """Raise OperatorError if there is such a file already."""
    if target.exists():
        raise OperatorError(f"{target}: is there already; name a new file, since a backup replaces nothing")


def damages(connection: sqlite3.Connection) -> Iterator[str]:
    """Name what is damaged in a store, at most `FAULTS_LIMIT` places of each kind. Reads all of it."""
    for (line,) in connection.execute(f"PRAGMA integrity_check({FAULTS_LIMIT})"):
        if line != "ok":
            yield f"damaged: {line}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(FAULTS_LIMIT):
        yield f"damaged: row {row} of {table} belongs to a row of {parent} that is not there"


def _create(part: Path) -> None:
    """Make the empty file that VACUUM INTO fills, readable for nobody else from the beginning."""
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    except FileExistsError as error:
        raise OperatorError(
            f"{part}: is there already: another backup runs, or was cut off; if none runs, delete it"
        ) from error
    except OSError as error:
        raise OperatorError(f"{part}: {error.strerror}; its folder must exist and be writable") from error


def _verified(part: Path) -> Backup:
    with contextlib.closing(sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for fault in damages(connection):
            raise OperatorError(f"no backup was made: the copy is {fault}; run `leadbridge db check` on the store")
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if found != HEAD:
            raise OperatorError(f"no backup was made: the copy is at revision {found}, and not at {HEAD}")
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        (pending,) = connection.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()
    return Backup(events, pending, part.stat().st_size)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
