"""Backup of an embedded store while it is served. The copy gets its name after it has been checked.

VACUUM INTO reads one moment of the store and blocks no one (https://www.sqlite.org/lang_vacuum.html). The copy has no
free pages, so it holds nothing that was erased.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.errors import OperatorError
from bridge.store.preparation import HEAD

FAULTS_LIMIT: Final = 10
"""Most damaged places that are listed."""

_PART: Final = ".part"
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Backup:
    """Contents of a copy."""

    events: int
    pending: int
    """Pending deliveries. They are made when the copy is served."""
    size: int
    """Bytes."""


def back_up(store: Path, target: Path) -> Backup:
    """Copy the store to a new file that only its owner can read. It is synced to disk when this returns.

    A crash leaves `TARGET.part`, never an incomplete `TARGET`. Raises OperatorError if the file exists already, cannot
    be written, or is damaged.
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
    """Raise OperatorError if the file exists already."""
    if target.exists():
        raise OperatorError(f"{target}: exists already; name a new file, since a backup replaces nothing")


def damages(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the damages of a store, at most `FAULTS_LIMIT` of each kind. Reads the whole store."""
    for (line,) in connection.execute(f"PRAGMA integrity_check({FAULTS_LIMIT})"):
        if line != "ok":
            yield f"damaged: {line}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(FAULTS_LIMIT):
        yield f"damaged: row {row} of {table} belongs to a row of {parent} that does not exist"


def _create(part: Path) -> None:
    """Create the empty file that VACUUM INTO fills, readable only by its owner from the beginning."""
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    except FileExistsError as error:
        raise OperatorError(
            f"{part}: exists already: another backup is running or was interrupted; if none is running, delete it"
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
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
