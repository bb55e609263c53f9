"""What the SQL store needs of an engine beyond SQL: connections, a lock, its errors, and its upkeep."""

from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Engine


class Driver(Protocol):
    """One engine."""

    dialect: Dialect
    begin: str
    """The statement that begins a transaction that will write."""
    errors: tuple[type[Exception], ...]
    """What the driver raises, by itself and through SQLAlchemy."""
    refusals: tuple[type[Exception], ...]
    """Those of them that mean the change itself breaks a rule, not that the store is in trouble."""

    name: str
    """What an operator knows the store by, without a secret."""
    exclusive: bool
    """Whether `lock` keeps every other process from serving the store."""

    def lock(self) -> None:
        """Make sure that this process may serve the store. Raises OperatorError."""
        ...

    def unlock(self) -> None:
        """Give that right back."""
        ...

    def connect(self) -> Connection:
        """Open a connection in autocommit mode, for one thread: who uses it writes BEGIN and COMMIT.

        Raises StoreUnavailableError.
        """
        ...

    def engine(self) -> Engine:
        """Make an SQLAlchemy engine whose transactions are real, for migrations and for an operator's commands."""
        ...

    def changed_elsewhere(self, writer: Connection) -> bool:
        """Tell whether another process has changed something since the last call. Called by the writer's thread."""
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
