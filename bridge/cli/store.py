"""The store as the commands use it: beside a running `serve`, without its lock, in short transactions."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from bridge.config import Config
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.driver import Driver, raw
from bridge.store.migrate import HEAD, revision
from bridge.store.opening import driver_for
from bridge.store.sqlite import SqliteDriver

BEGINNINGS = 5
"""How often a change tries to begin; each time the engine itself waits a while for a lock that another holds."""


class OpenStore:
    """A store whose tables are those that this version works on."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._engine = driver.engine()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read, all from one moment. Raises StoreUnavailableError."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except self._driver.errors as error:
            raise StoreUnavailableError(f"the store cannot be read: {cause(error)}") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Change something: commits at the end, changes nothing if anything is raised. Raises StoreUnavailableError."""
        connection = self._driver.connect()
        try:
            self._begin(connection)
            yield connection
            raw(connection).execute("COMMIT")
        except self._driver.errors as error:
            raise StoreUnavailableError(
                f"the store cannot be changed: {cause(error)}; nothing of this change was kept"
            ) from error
        finally:
            # Rolls back what is not committed.
            connection.close()

    def _begin(self, connection: Connection) -> None:
        try:
            Retrying(
                stop=stop_after_attempt(BEGINNINGS), retry=retry_if_exception_type(self._driver.errors), reraise=True
            )(raw(connection).execute, self._driver.begin)
        except self._driver.errors as error:
            raise StoreUnavailableError(
                f"the store does not let a change begin: {cause(error)}; nothing was changed. See what else uses it "
                "(a backup, a shell), then try again"
            ) from error


def driver_of(config: Config) -> Driver:
    """Choose the engine of the configured store. Raises OperatorError if there is no store yet."""
    driver = driver_for(config.store.url)
    if isinstance(driver, SqliteDriver) and not driver.path.exists():
        raise OperatorError(f"{driver.path}: there is no store yet; `leadbridge serve` makes it, or run {_MIGRATE}")
    return driver


def open_store(config: Config) -> OpenStore:
    """Open the configured store, which must be there and up to date. Raises OperatorError."""
    driver = driver_of(config)
    found = revision(driver.engine())
    if found is None:
        raise OperatorError(f"the store has no tables yet; `leadbridge serve` makes them, or run {_MIGRATE}")
    if found != HEAD:
        raise OperatorError(f"the store is at revision {found}, and this version works on {HEAD}; run {_MIGRATE}")
    return OpenStore(driver)


def cause(error: Exception) -> str:
    """Give the driver's own words, without what may hold personal data.

    SQLAlchemy adds the statement and its parameters, PostgreSQL further lines that quote values.
    """
    return str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]


_MIGRATE = "`leadbridge db migrate`"
