"""The embedded engine: how its connections are opened, who may serve the file, and its write-ahead log.

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
from sqlalchemy import Connection, Dialect, Engine, create_engine, event, exc
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.driver import QueueReader, RemoteCommits, raw
from bridge.store.encryption import NO_KEYS, KeyRing, attach_keys
from bridge.store.sqlite_statements import SqliteQueueReader

BUSY_SECONDS = 2.0
"""How long a write waits for another process's lock before the sender is told to come again."""
LONG_LOG_PAGES = 8_192
"""Pages in the write-ahead log (32 MiB) from which the writer itself copies the rest of it into the database file,
because the copying beside the traffic does not catch up."""
SPARE_PAGES = 2_048
"""Free pages (8 MiB) that the file keeps for what comes next; more are given back, an eighth of it at a time."""

_NEW_FILE: Final = "PRAGMA auto_vacuum = INCREMENTAL"
"""Free pages go back to the file system in small steps. Can only be chosen before the first table is made, and asked
for later it would look to the others like a change (`changed_elsewhere`)."""
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Checkpoints are taken off the commit path; see `_Checkpointer`.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {2 * LONG_LOG_PAGES * 4096}",
    "PRAGMA cache_size = -8000",
    # What is deleted is overwritten, whatever the library was built with.
    "PRAGMA secure_delete = ON",
)

log = structlog.get_logger()


_Identity = tuple[int, int]
"""Device and number of a file."""


class SqliteDriver:
    """The embedded engine, for one database file."""

    begin: str = "BEGIN IMMEDIATE"
    begin_own: str = begin
    begin_keeping: str = begin
    exclusive: bool = True
    commits_by_kind: bool = False
    turn_seconds: float = 0.0
    patience: float | None = None
    errors: tuple[type[Exception], ...] = (sqlite3.Error, exc.SQLAlchemyError)
    refusals: tuple[type[Exception], ...] = (
        sqlite3.IntegrityError,
        sqlite3.ProgrammingError,
        exc.IntegrityError,
        exc.ProgrammingError,
    )

    def __init__(self, url: URL, keys: KeyRing = NO_KEYS) -> None:
        """Take the file that a `sqlite:///` URL names. Raises OperatorError for a database in memory."""
        if not url.database or url.database == ":memory:":
            raise OperatorError(
                "store.url: a store in memory would lose leads; name a file, as in sqlite:///leadbridge.db"
            )
        self.keys = keys
        self.path = Path(url.database)
        self.name: str = url.database
        self.dialect: Dialect = sqlite.dialect(paramstyle="qmark")
        self._lock: _FileLock | None = None
        self._checkpointer: _Checkpointer | None = None
        self._version: int | None = None
        self._file: _Identity | None = None
        """The database file, as of the first connection."""
        self._log: tuple[Connection, _Identity] | None = None
        """The writer's connection, and the write-ahead log that it writes."""

    def lock(self) -> None:
        """Take the right to serve the file. Raises OperatorError, naming the process that has it."""
        self._lock = _FileLock(self.path)
        self._protect()

    def files(self) -> Iterator[Path]:
        """Return the files that the store consists of, those that there are."""
        for end in ("", "-wal", "-shm", "-journal", ".lock"):
            file = self.path.with_name(self.path.name + end)
            if file.exists():
                yield file

    def exposed(self) -> list[Path]:
        """Return those of its files that others than their owner can open."""
        return [file for file in self.files() if file.stat().st_mode & 0o077]

    def unlock(self) -> None:
        """Give the right back."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def is_unreachable(self) -> bool:
        """Say no: it is in this process."""
        return False

    def connect(self) -> Connection:
        """Open a connection in autocommit mode; see `Driver.connect`."""
        engine = create_engine("sqlite://", creator=self._open, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        attach_keys(engine, self.keys)
        return engine.connect()

    def engine(self) -> Engine:
        """Make SQLAlchemy's engine: real transactions (DDL too), no pool."""
        engine = create_engine("sqlite://", creator=self._open, poolclass=NullPool)
        attach_keys(engine, self.keys)

        # sqlite3 would begin transactions by its own rules and leave DDL out of them; this is SQLAlchemy's documented
        # way to have BEGIN mean BEGIN.
        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def _open(self) -> sqlite3.Connection:
        # It holds personal data and secrets: for nobody but its user. Only where there is none yet: closing another
        # handle of a file in use takes away its locks (https://www.sqlite.org/howtocorrupt.html, section 2.2).
        if self._file and self._file != _identity(self.path):
            # Another file, or a new and empty one, would take what comes from now on.
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
        """Compare the paths of the database file and of its log with the open files; see `Driver.moved`."""
        if self._file and _identity(self.path) != self._file:
            return self.name
        log_file = self.path.with_name(self.path.name + "-wal")
        found = _identity(log_file)
        if self._log is None or self._log[0] is not writer:
            # The engine deletes the log with its last connection, and makes it anew with the next one.
            self._log = (writer, found) if writer is not None and found else None
        elif self._log[1] != found:
            if _is_open(self._log[0]):
                return f"{self.name}-wal"
            # Its connection was closed under it, which the next write notices.
            self._log = None
        return None

    def _protect(self) -> None:
        """Close its files to others, as after a restore under another umask; SQLite makes new ones like the first.

        Through the path, since closing another handle of a file in use takes away its locks.
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
        """Give the hot questions; see `Driver.queue`."""
        return SqliteQueueReader(self.dialect)

    def read_transaction(self, connection: Connection) -> AbstractContextManager[object]:  # noqa: ARG002 - see below
        """Do nothing: a question of an embedded engine waits for nobody."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """Read all from one moment; what an embedded engine reads takes one core."""
        raw(connection).execute("BEGIN")
        try:
            yield
        finally:
            # After some errors the engine has ended it by itself.
            if raw(connection).in_transaction:
                raw(connection).execute("ROLLBACK")

    def roll_back(self, connection: Connection) -> bool:
        """Leave no transaction open; see `Driver.roll_back`."""
        if raw(connection).in_transaction:
            raw(connection).execute("ROLLBACK")
        # Where another connection has made a table that was missing, the engine looks for it again for an ordinary
        # statement, and not for one that reaches it through a trigger (`inlets`).
        raw(connection).execute("SELECT 1 FROM events LIMIT 0")
        return True

    def safe_error(self, error: Exception) -> Exception:
        """Give sqlite3's own error, which names tables and columns and no values."""
        return getattr(error, "orig", None) or error

    def clock(self, connection: Connection, now: float) -> float:  # noqa: ARG002 - one machine has one clock
        """Give `now`."""
        return now

    def listen(self, tell: Callable[[RemoteCommits], None]) -> None:
        """Do nothing: the engine tells nobody, and is asked twice a second (`changed_elsewhere`)."""

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Do nothing: nobody else serves the file."""

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Tell whether another connection than the writer's has committed since the last call.

        https://www.sqlite.org/pragma.html#pragma_data_version: the number differs after such a commit only.
        """
        version = writer.exec_driver_sql("PRAGMA data_version").scalar_one()
        changed = self._version is not None and version != self._version
        self._version = version
        return RemoteCommits(changed=changed)

    def tidy(self, writer: Connection) -> None:
        """Have the log copied into the database beside the traffic, and the rest of a long one here and now."""
        if self._checkpointer is None:
            self._checkpointer = _Checkpointer(self)
        if self._checkpointer.pages > LONG_LOG_PAGES:
            # With no write going on the copy is complete, so the next write begins the log anew.
            self._checkpointer.pages = _checkpoint(writer)
        self._checkpointer.wake.set()
        if writer.exec_driver_sql("PRAGMA freelist_count").scalar_one() > SPARE_PAGES:
            # SQLite does a page for each step of this statement; `execute` takes one step of what has no columns.
            raw(writer).executescript(f"PRAGMA incremental_vacuum({SPARE_PAGES // 8})")

    def close(self) -> None:
        """End the copying of the log."""
        if self._checkpointer:
            self._checkpointer.close()
            self._checkpointer = None


def _identity(path: Path) -> _Identity | None:
    """Return what tells a file from every other one, whatever its name; None where there is none."""
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
    """Copy what can be copied without waiting for anybody; give the number of pages that the log had."""
    return int(connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()[1])


class _Checkpointer:
    """A thread that copies the write-ahead log into the database file, so that no commit waits for it."""

    def __init__(self, driver: SqliteDriver) -> None:
        self.pages = 0
        """Pages in the log when it last looked."""
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
                # Nothing is lost by it: what is in the log stays there until a later copy succeeds, and the writer
                # meets the same trouble where somebody is told of it.
                connection = None
        if connection:
            connection.close()


class _FileLock:
    """The right to serve a database file: held by one process, given back by the kernel when that process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises OperatorError if another process has it, naming that process."""
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
        """Give the lock back. The file stays: deleting it could let two processes lock two files of one name."""
        os.close(self._fd)
