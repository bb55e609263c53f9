"""SQLite, the embedded engine: its connections, the lock on its file, and its write-ahead log.

`synchronous=FULL` in WAL mode syncs the log at each commit, so that a commit survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.driver import QueueReader, RemoteCommits, raw
from bridge.store.encryption import NO_KEYS, KeyRing, attach_keys
from bridge.store.sqlite_queue import SqliteQueueReader

BUSY_SECONDS = 2.0
"""Time that a write waits for another process's lock before it fails and the sender gets 503."""
LONG_LOG_PAGES = 8_192
"""Pages in the write-ahead log (32 MiB) from which the writer itself copies the rest of it into the database file,
because the copying beside the traffic does not catch up."""
SPARE_PAGES = 2_048
"""Free pages (8 MiB) that the file keeps. More are returned to the file system, an eighth of it at a time."""

_NEW_FILE: Final = "PRAGMA auto_vacuum = INCREMENTAL"
"""Free pages go back to the file system in small steps. This can only be set before the first table is made, and
setting it again would look like a change to other connections (`changed_elsewhere`)."""
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Checkpoints are taken off the commit path; see `_Checkpointer`.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {2 * LONG_LOG_PAGES * 4096}",
    "PRAGMA cache_size = -8000",
    # Overwrites deleted content. The default depends on how the library was built.
    "PRAGMA secure_delete = ON",
)

log = structlog.get_logger()


_Identity = tuple[int, int]
"""Device and inode number of a file."""


class SqliteDriver:
    """The embedded engine, for one database file."""

    begin: str = "BEGIN IMMEDIATE"
    begin_own: str = begin
    begin_keeping: str = begin
    exclusive: bool = True
    commits_by_kind: bool = False
    patience: float | None = None
    errors: tuple[type[Exception], ...] = (sqlite3.Error, exc.SQLAlchemyError)
    refusals: tuple[type[Exception], ...] = (
        sqlite3.IntegrityError,
        sqlite3.ProgrammingError,
        exc.IntegrityError,
        exc.ProgrammingError,
    )

    def __init__(self, url: URL, keys: KeyRing = NO_KEYS) -> None:
        """Use the file of a `sqlite:///` URL. Raises OperatorError for a database in memory."""
        if not url.database or url.database == ":memory:":
            raise OperatorError(
                "store.url: a store in memory would lose leads; name a file, as in sqlite:///leadbridge.db"
            )
        self.keys = keys
        self.path = Path(url.database)
        self.name: str = url.database
        self._log_path = self.path.with_name(self.path.name + "-wal")
        self._lock: _FileLock | None = None
        self._checkpointer: _Checkpointer | None = None
        self._version: int | None = None
        self._file: _Identity | None = None
        """Identity of the database file at the first connection."""
        self._log: tuple[Connection, _Identity] | None = None
        """The writer's connection, and the write-ahead log that it writes."""

    def lock(self) -> None:
        """Take the right to serve the file. Raises OperatorError with the process that has it."""
        self._lock = _FileLock(self.path)
        self._protect()

    def files(self) -> Iterator[Path]:
        """Yield the existing files of the store."""
        for end in ("", "-wal", "-shm", "-journal", ".lock"):
            file = self.path.with_name(self.path.name + end)
            if file.exists():
                yield file

    def exposed(self) -> list[Path]:
        """Return the files of the store that other users can open."""
        return [file for file in self.files() if file.stat().st_mode & 0o077]

    def unlock(self) -> None:
        """Return the right to serve the file."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def is_unreachable(self) -> bool:
        """Return False: the engine is in this process."""
        return False

    def connect(self) -> Connection:
        """Open a connection in autocommit mode; see `Driver.connect`."""
        engine = create_engine("sqlite://", creator=self._open, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        attach_keys(engine, self.keys)
        return engine.connect()

    def engine(self) -> Engine:
        """Return an SQLAlchemy engine with real transactions (DDL too) and no pool."""
        engine = create_engine("sqlite://", creator=self._open, poolclass=NullPool)
        attach_keys(engine, self.keys)

        # sqlite3 begins transactions by its own rules and leaves DDL out of them. This is SQLAlchemy's documented way
        # to begin them explicitly.
        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def _open(self) -> sqlite3.Connection:
        # The file holds personal data and secrets, so only its owner may read it. A file that exists is not opened
        # here: closing another handle of a file in use releases its locks
        # (https://www.sqlite.org/howtocorrupt.html, section 2.2).
        if self._file and self._file != _identity(self.path):
            # Otherwise another file, or a new and empty one, would take the next events.
            raise StoreUnavailableError(f"{self.path}: is not the file that this process has opened; put that back")
        with contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            is_new = connection.execute("PRAGMA page_count").fetchone() == (0,)
            for pragma in (_NEW_FILE, *_PRAGMAS) if is_new else _PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error as error:
            raise StoreUnavailableError(
                f"{self.path}: {error}; check that its folder exists, is writable and has room"
            ) from error
        self._file = self._file or _identity(self.path)
        return connection

    def moved(self, writer: Connection | None) -> str | None:
        """Compare the paths of the database file and its log with the open files; see `Driver.moved`."""
        if self._file and _identity(self.path) != self._file:
            return self.name
        found = _identity(self._log_path)
        if self._log is None or self._log[0] is not writer:
            # The engine deletes the log with its last connection and creates a new one with the next.
            self._log = (writer, found) if writer is not None and found else None
        elif self._log[1] != found:
            if _is_open(self._log[0]):
                return f"{self.name}-wal"
            # The connection was closed, which the next write notices.
            self._log = None
        return None

    def _protect(self) -> None:
        """Make the files readable for their owner only, as after a restore. SQLite copies the mode to new files.

        It works by path, since closing another handle of a file in use releases its locks.
        """
        for file in self.exposed():
            try:
                file.chmod(0o600)
            except OSError as error:
                detail = f"{error.strerror}; run as its owner: chmod 600"
                log.warning("store_file_readable_by_others", file=str(file), detail=detail)
            else:
                log.warning("store_file_closed_to_others", file=str(file))

    def queue(self) -> QueueReader:
        """Return the reader of the queue; see `Driver.queue`."""
        return SqliteQueueReader()

    def read_transaction(self, connection: Connection) -> AbstractContextManager[object]:
        """Do nothing: a query of an embedded engine waits for no one."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """Read one moment of the store. An embedded engine uses one core anyway."""
        raw(connection).execute("BEGIN")
        try:
            yield
        finally:
            # After some errors the engine has ended the transaction by itself.
            if raw(connection).in_transaction:
                raw(connection).execute("ROLLBACK")

    def roll_back(self, connection: Connection) -> bool:
        """Roll back an open transaction; see `Driver.roll_back`."""
        if raw(connection).in_transaction:
            raw(connection).execute("ROLLBACK")
        # If another connection has made a missing table, the engine notices that for an ordinary statement, but not for
        # one that reaches the table through a trigger (`sqlite_queue`).
        raw(connection).execute("SELECT 1 FROM events LIMIT 0")
        return True

    def safe_error(self, error: Exception) -> Exception:
        """Return sqlite3's error, which names tables and columns but no values."""
        return getattr(error, "orig", None) or error

    def clock(self, connection: Connection, now: float) -> float:
        """Return `now`."""
        return now

    def listen(self, report: Callable[[RemoteCommits], None]) -> None:
        """Do nothing: the engine sends no notifications, and is polled twice a second (`changed_elsewhere`)."""

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Do nothing: no other process serves the file."""

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Return whether another connection than the writer's has committed since the last call.

        The data version changes after such a commit only (https://www.sqlite.org/pragma.html#pragma_data_version).
        """
        version = writer.exec_driver_sql("PRAGMA data_version").scalar_one()
        changed = self._version is not None and version != self._version
        self._version = version
        return RemoteCommits(changed=changed)

    def tidy(self, writer: Connection) -> None:
        """Start the copying of the log into the database beside the traffic, and copy the rest of a long log here."""
        if self._checkpointer is None:
            self._checkpointer = _Checkpointer(self)
        if self._checkpointer.pages > LONG_LOG_PAGES:
            # Without a write at the same time the copy is complete, so the next write restarts the log.
            self._checkpointer.pages = _checkpoint(writer)
        self._checkpointer.wake.set()
        if writer.exec_driver_sql("PRAGMA freelist_count").scalar_one() > SPARE_PAGES:
            # SQLite frees one page for each step of this statement, and `execute` runs only one step of a statement
            # without columns.
            raw(writer).executescript(f"PRAGMA incremental_vacuum({SPARE_PAGES // 8})")

    def close(self) -> None:
        """Stop the copying of the log."""
        if self._checkpointer:
            self._checkpointer.close()
            self._checkpointer = None


def _identity(path: Path) -> _Identity | None:
    """Return the identity of a file, whatever its name; None if it does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked at each commit, and Path.stat costs twice as much
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_open(connection: Connection) -> bool:
    try:
        raw(connection).execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def _checkpoint(connection: Connection) -> int:
    """Copy the part of the log that no reader blocks, and return the number of pages in the log."""
    return int(connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()[1])


class _Checkpointer:
    """A thread that copies the write-ahead log into the database file, so that no commit waits for it."""

    def __init__(self, driver: SqliteDriver) -> None:
        self.pages = 0
        """Number of pages in the log after the last copy."""
        self.wake = threading.Event()
        self._closed = False
        self._driver = driver
        self._thread = threading.Thread(target=self._run, name="store-checkpointer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self.wake.set()
        self._thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        while self.wake.wait() and not self._closed:
            self.wake.clear()
            try:
                connection = connection or self._driver.connect()
                self.pages = _checkpoint(connection)
            except (sqlite3.Error, exc.DBAPIError, StoreUnavailableError):
                # Nothing is lost: the log keeps its content until a later copy succeeds. The writer meets the same
                # error and reports it.
                connection = None
        if connection:
            connection.close()


class _FileLock:
    """The right to serve a database file. One process holds it, and the kernel releases it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises OperatorError with the process that has it."""
        self._path = path.with_name(path.name + ".lock")
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(
                f"{self._path}: {error.strerror}; the store's folder must exist and be writable"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise OperatorError(
                f"{path}: another leadbridge (process {holder}) serves this store; stop it first. "
                "An embedded store is served by one process"
            ) from error
        with contextlib.suppress(OSError):
            # Over what stands there: a full disk has no room for more. The lock holds without it.
            os.pwrite(self._fd, f"{os.getpid():<20}".encode(), 0)

    def release(self) -> None:
        """Release the lock. The file stays, because after its deletion two processes could lock files of one name."""
        os.close(self._fd)
