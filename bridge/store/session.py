"""A connection to the store that is replaced after any unexpected error.

The writer, the lease keeper and each reader have a session each. A connection may break at any statement, even at the
ROLLBACK after a failure. So every unexpected error closes the connection, and the next use opens a new one.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from bridge.errors import RowLockedError, StoreUnavailableError
from bridge.store.driver import LOCK_NOT_AVAILABLE, Driver

T = TypeVar("T")


class ThreadConnection:
    """A connection for one thread, opened at its first use.

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
