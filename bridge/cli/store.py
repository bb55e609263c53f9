"""The store as the commands use it: beside a running `serve`, without its lock, in short transactions."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bridge.config import Config
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store import rotation, secrets
from bridge.store.driver import Driver
from bridge.store.migrate import HEAD, revision
from bridge.store.sqlite import SqliteDriver
from bridge.store.transaction import transaction
from bridge.store.url import driver_for, spool_driver
from connectors.base import VaultError


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
            raise StoreUnavailableError(f"the store cannot be read: {self._driver.safe_error(error)}") from error

    def writing(self, *, queue: bool = True) -> AbstractContextManager[Connection]:
        """Change something; see `transaction`."""
        return transaction(self._driver, queue=queue)


def driver_of(config: Config) -> Driver:
    """Choose the engine of the configured store. Raises OperatorError if there is no store yet."""
    driver = driver_for(config.store.url, config.store.encryption_keys)
    if isinstance(driver, SqliteDriver) and not driver.path.exists():
        raise OperatorError(f"{driver.path}: there is no store yet; `leadbridge serve` makes it, or run {_MIGRATE}")
    return driver


def all_stores(config: Config) -> Iterator[tuple[Driver, OpenStore]]:
    """Open the store, and the spool that a process on this machine keeps before it. Raises OperatorError."""
    driver = driver_of(config)
    yield driver, open_store(config)
    if not driver.exclusive and Path(config.store.spool).exists():
        spool = spool_driver(config.store.spool, config.store.encryption_keys)
        yield spool, OpenStore(spool)


def open_store(config: Config) -> OpenStore:
    """Open the configured store, which must be there and up to date. Raises OperatorError."""
    driver = driver_of(config)
    found = revision(driver.engine())
    if found is None:
        raise OperatorError(f"the store has no tables yet; `leadbridge serve` makes them, or run {_MIGRATE}")
    if found != HEAD:
        raise OperatorError(f"the store is at revision {found}, and this version works on {HEAD}; run {_MIGRATE}")
    opened = OpenStore(driver)
    with opened.reading() as connection:
        rotation.first_key_listed(connection)
    return opened


def cause(error: Exception) -> str:
    """Give the driver's own words, without what may hold personal data.

    SQLAlchemy adds the statement and its parameters, PostgreSQL further lines that quote values.
    """
    return str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]


_MIGRATE = "`leadbridge db migrate`"


class CommandVault:
    """One destination's place in the store; see `connectors.base.Vault`.

    The store is opened when it is needed. Without one nothing can be kept, so reading fails too: a refresh token that
    is used would be lost with the answer.
    """

    def __init__(self, config: Config, destination: str) -> None:
        self._config = config
        self._destination = destination

    async def read(self, name: str) -> str | None:
        """Give what was last written; see `Vault.read`."""
        try:
            with open_store(self._config).reading() as connection:
                return secrets.kept(connection, self._destination, name)
        except OperatorError as error:
            raise VaultError(str(error)) from error

    async def write(self, name: str, value: str) -> None:
        """Keep it, and return after the commit; see `Vault.write`."""
        try:
            with open_store(self._config).writing() as connection:
                secrets.keep(connection, self._destination, name, value, time.time())
        except OperatorError as error:
            raise VaultError(str(error)) from error
