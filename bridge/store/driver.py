"""The interface of an engine beyond SQL, and the connection of a thread to it."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from bridge.errors import RowLockedError, StoreUnavailableError
from bridge.store.encryption import KeyRing

LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE for a statement that waited too long for a lock."""


class RemoteCommits(NamedTuple):
    """Commits of other processes."""

    accepted: frozenset[str] = frozenset()
    """Destinations with new deliveries."""
    changed: bool = False
    """True if something else has changed, so everything read before may be out of date."""


READ_BYTES = 1024 * 1024
"""Bytes of payloads after which a batch has no further delivery: about a thousand usual leads."""


class QueueReader(Protocol):
    """The hot queries of the queue, in the form that is fastest for the engine. Thread-safe."""

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        """Read the columns of `Due` of a lane's pending deliveries with ids above `after`, oldest first."""
        ...

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Read the deliveries that are pending, in order of id, for `queue.delivery_of`.

        The last one is that with which the payloads reach `READ_BYTES`.
        """
        ...


class Driver(Protocol):
    """One engine."""

    keys: KeyRing
    """Keys that encrypt the values. Every connection carries them (`encryption.keys_of`)."""
    begin: str
    """SQL that begins a transaction of an operator. Processes that serve the store notice its commit."""
    begin_own: str
    """SQL that begins a transaction of a serving process. Other processes need not read anything again."""
    begin_keeping: str
    """SQL that begins a transaction about leases. It waits only briefly for a locked row."""
    errors: tuple[type[Exception], ...]
    """Errors of the driver, raised directly or through SQLAlchemy."""
    refusals: tuple[type[Exception], ...]
    """Errors that mean that the change breaks a rule, not that the store is in trouble."""

    name: str
    """Name of the store for operators, without a secret."""
    exclusive: bool
    """True if `lock` keeps every other process from serving the store."""
    commits_by_kind: bool
    """True if accepts, outcomes, and each other change of a group are separate transactions."""
    patience: float | None
    """Seconds after which events that are not committed go to the spool; None if there is no spool."""

    def lock(self) -> None:
        """Take the right to serve the store. Raises OperatorError."""
        ...

    def unlock(self) -> None:
        """Return the right to serve the store."""
        ...

    def is_unreachable(self) -> bool:
        """Return True if the engine cannot be reached or is starting. May take as long as a connection.

        An engine that refuses this user, or has no such database, can be reached.
        """
        ...

    def connect(self) -> Connection:
        """Open a connection in autocommit mode for one thread, which writes BEGIN and COMMIT itself.

        Raises StoreUnavailableError.
        """
        ...

    def engine(self) -> Engine:
        """Return an SQLAlchemy engine with real transactions, for migrations and for commands."""
        ...

    def queue(self) -> QueueReader:
        """Return the reader of the queue."""
        ...

    def read_transaction(self, connection: Connection) -> AbstractContextManager[object]:
        """Return a context that bounds the time of queries."""
        ...

    def snapshot(self, connection: Connection) -> AbstractContextManager[object]:
        """Return a context in which all queries read one moment, with bounded time and on one core at most."""
        ...

    def roll_back(self, connection: Connection) -> bool:
        """Roll back an open transaction. Returns False if the connection cannot be used again. May raise `errors`."""
        ...

    def safe_error(self, error: Exception) -> Exception:
        """Return the engine's error without the statement or a value of a row, so that it may be shown and logged."""
        ...

    def clock(self, connection: Connection, now: float) -> float:
        """Return the time that leases are measured by: `now`, or the engine's if several machines share it."""
        ...

    def listen(self, report: Callable[[RemoteCommits], None]) -> None:
        """Report commits of other processes at once, from a thread, until `close`. Does nothing if it cannot."""
        ...

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Notify other processes, if the engine can, of destinations with new deliveries.

        Called by the writer's thread, in a transaction of its own.
        """
        ...

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Return the commits of others since the last call with this connection. Called by the writer's thread."""
        ...

    def moved(self, writer: Connection | None) -> str | None:
        """Return the name of an open file whose path now leads to another file or to none; None if all is well.

        Called by the writer's thread before and after each commit. It takes microseconds.
        """
        ...

    def tidy(self, writer: Connection) -> None:
        """Do due upkeep, in a few milliseconds at most. Called by the writer's thread between groups."""
        ...

    def close(self) -> None:
        """Stop the background threads."""
        ...


def raw(connection: Connection) -> Any:  # noqa: ANN401 - the driver's own type
    """Return the driver's connection below SQLAlchemy's, for the statements of the hot path."""
    return connection.connection.driver_connection


T = TypeVar("T")


class ThreadConnection:
    """A connection for one thread, opened at its first use and replaced after any unexpected error.

    A connection may break at any statement, even at the ROLLBACK after a failure, so every unexpected error closes it.
    The writer, the lease keeper and each reader have one each.

    `opened` is called with each new connection, in that thread. An error that it raises counts as the connection's.
    """

    def __init__(self, driver: Driver, opened: Callable[[Connection], None] = lambda _: None) -> None:
        self._driver = driver
        self._opened = opened
        self.connection: Connection | None = None
        """The open connection; None until the next use."""

    def open(self) -> Connection:
        """Return the connection, and open one if there is none. Raises StoreUnavailableError."""
        if self.connection is None:
            connection = self._driver.connect()
            self.connection = connection
            try:
                self._opened(connection)
            except Exception as error:
                self.close()
                if isinstance(error, self._driver.errors):
                    raise self._trouble(error, "be reached") from error
                raise
        return self.connection

    def read(self, question: Callable[[Connection], T]) -> T:
        """Run a query. Raises StoreUnavailableError, or the error of the query."""
        try:
            connection = self.open()
            with self._driver.read_transaction(connection):
                return question(connection)
        except self._driver.errors as error:
            self.close()
            raise self._trouble(error, "be read") from error
        except BaseException:
            self.close()
            raise

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run work that begins and commits its own transaction. If it fails, nothing is written.

        Raises StoreUnavailableError, the engine's error for a change that breaks a rule, or the error of the work.
        """
        try:
            return work(self.open())
        except self._driver.refusals as error:
            self.roll_back()
            raise self._driver.safe_error(error) from None
        except self._driver.errors as error:
            self.roll_back()
            raise self._trouble(error, "commit") from error
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Roll back an open transaction. If that fails in any way, close the connection."""
        usable = False
        with contextlib.suppress(Exception):
            usable = self.connection is not None and self._driver.roll_back(self.connection)
        if not usable:
            self.close()

    def close(self) -> None:
        """Close the connection in any state."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _trouble(self, error: Exception, what: str) -> StoreUnavailableError:
        locked = getattr(getattr(error, "orig", error), "sqlstate", None) == LOCK_NOT_AVAILABLE
        kind = RowLockedError if locked else StoreUnavailableError
        return kind(f"{self._driver.name}: the store cannot {what}: {self._driver.safe_error(error)}")
