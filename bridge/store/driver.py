"""What the SQL store needs of an engine beyond SQL: connections, a lock, its errors, its news, and its upkeep."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Dialect, Engine

from bridge.store.encryption import KeyRing

LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE for a lock that another transaction held for longer than a statement may wait."""


class RemoteCommits(NamedTuple):
    """What others have committed."""

    accepted: frozenset[str] = frozenset()
    """Destinations that have new deliveries."""
    changed: bool = False
    """Whether something else is not as it was: everything read before may be out of date."""


READ_BYTES = 1024 * 1024
"""Bytes of payloads that are read at once, at most, but for the last one: a thousand usual leads."""


class QueueReader(Protocol):
    """The two hot questions, in the form that the engine answers fastest. Thread-safe."""

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        """Read the columns of `Due` of a lane's pending deliveries with ids above `after`, oldest first."""
        ...

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Read `statements.READ_COLUMNS` of those deliveries that are pending, in order of id.

        It ends behind the one whose payload makes them `READ_BYTES` or more in all.
        """
        ...


class Driver(Protocol):
    """One engine."""

    dialect: Dialect
    keys: KeyRing
    """What the values of its rows are encrypted with. Every connection carries them (`encryption.keys_of`)."""
    begin: str
    """What begins a transaction in which an operator changes something: those who serve the store notice its commit."""
    begin_own: str
    """What begins a transaction of the process that serves: the others need not read anything anew because of it."""
    begin_keeping: str
    """The same for what concerns the leases: it waits a moment only for a row that another transaction holds."""
    errors: tuple[type[Exception], ...]
    """What the driver raises, by itself and through SQLAlchemy."""
    refusals: tuple[type[Exception], ...]
    """Those of them that mean the change itself breaks a rule, not that the store is in trouble."""

    name: str
    """What an operator knows the store by, without a secret."""
    exclusive: bool
    """Whether `lock` keeps every other process from serving the store."""
    commits_by_kind: bool
    """Whether accepts, outcomes, and each other change of a group are transactions of their own, not all one."""
    turn_seconds: float
    """About how many seconds one process's group keeps the others' from theirs."""
    patience: float | None
    """Seconds after which events that are not committed go to the spool; None where nothing else would take them."""

    def lock(self) -> None:
        """Make sure that this process may serve the store. Raises OperatorError."""
        ...

    def unlock(self) -> None:
        """Give that right back."""
        ...

    def is_unreachable(self) -> bool:
        """Tell whether the engine cannot be reached, or is starting. May take as long as a connection may.

        One that refuses this user, or has no such database, is there.
        """
        ...

    def connect(self) -> Connection:
        """Open a connection in autocommit mode, for one thread: who uses it writes BEGIN and COMMIT.

        Raises StoreUnavailableError.
        """
        ...

    def engine(self) -> Engine:
        """Make an SQLAlchemy engine whose transactions are real, for migrations and for an operator's commands."""
        ...

    def queue(self) -> QueueReader:
        """Give the hot questions."""
        ...

    def read_transaction(self, connection: Connection) -> AbstractContextManager[object]:
        """Surround questions with what bounds their time."""
        ...

    def snapshot(self, connection: Connection) -> AbstractContextManager[object]:
        """Surround what a person asks: all of it from one moment, bounded in time, and no more than one core of it."""
        ...

    def roll_back(self, connection: Connection) -> bool:
        """Leave no transaction open; False if the connection is not to be used again. May raise `errors`."""
        ...

    def safe_error(self, error: Exception) -> Exception:
        """Give the engine's own error, without the statement or a value of a row: its text may be shown and logged."""
        ...

    def clock(self, connection: Connection, now: float) -> float:
        """Give the time that leases are measured by: `now`, or the engine's, where several machines share it."""
        ...

    def listen(self, tell: Callable[[RemoteCommits], None]) -> None:
        """Have others' commits told at once, from a thread, where the engine can do so; until `close`."""
        ...

    def notify(self, writer: Connection, accepted: Collection[str]) -> None:
        """Tell others who serve the store, if the engine can, which destinations have new deliveries.

        Called by the writer's thread; a transaction of its own.
        """
        ...

    def changed_elsewhere(self, writer: Connection) -> RemoteCommits:
        """Tell what others have changed since the last call with this connection. Called by the writer's thread."""
        ...

    def moved(self, writer: Connection | None) -> str | None:
        """Return the name of an open file whose path names another file by now, or none. Called by the writer's thread.

        Asked before and after each commit: costs microseconds.
        """
        ...

    def tidy(self, writer: Connection) -> None:
        """Do what upkeep is due, in a few milliseconds at the most. Called by the writer's thread between groups."""
        ...

    def close(self) -> None:
        """End what runs in the background."""
        ...


def raw(connection: Connection) -> Any:  # noqa: ANN401 - the driver's own type
    """Give the driver's connection below SQLAlchemy's, for the statements of the hot paths."""
    return connection.connection.driver_connection
