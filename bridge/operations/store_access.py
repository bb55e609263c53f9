"""Access to the store beside a running `serve`: without its lock, in short transactions."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection

from bridge.config import Config, StoreSettings
from bridge.errors import OperatorError
from bridge.operations.audit import Entry
from bridge.store import audit_log, rotation, secrets
from bridge.store.config_texts import read_config_texts
from bridge.store.driver import Driver
from bridge.store.preparation import HEAD, driver_for, revision, spool_driver
from bridge.store.sqlite import SqliteDriver
from bridge.store.transaction import reading_errors, transaction
from connectors.base import VaultError


class OpenStore:
    """A store at the revision that this version works on."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._engine = driver.engine()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read, all from one moment. Raises StoreUnavailableError."""
        with reading_errors(self._driver), self._engine.connect() as connection:
            yield connection

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


def good_texts(settings: StoreSettings) -> dict[str, bytes]:
    """Read the last good texts of the configuration; see `bridge.config.reload.GoodTexts`."""
    driver = driver_for(settings.url, settings.encryption_keys)
    if (isinstance(driver, SqliteDriver) and not driver.path.exists()) or revision(driver.engine()) != HEAD:
        return {}
    with OpenStore(driver).reading() as connection:
        return read_config_texts(connection)


class AuditCount:
    """An audit entry whose count grows with each step of an action, also with steps in another store."""

    def __init__(self, store: OpenStore, entry: Entry, now: float, *, queue: bool = True) -> None:
        """Write the entry before the first step; see `bridge.store.transaction` for `queue`."""
        self.total = 0
        self._store = store
        self._queue = queue
        with store.writing(queue=queue) as connection:
            self._entry = audit_log.add_entry(connection, entry, now)

    def add(self, store: OpenStore, connection: Connection, count: int) -> None:
        """Count a step in its own transaction; a step in another store, such as the spool, is counted before it."""
        self.total += count
        if store is self._store:
            audit_log.add(connection, self._entry, count)
            return
        with self._store.writing(queue=self._queue) as own:
            audit_log.add(own, self._entry, count)


_MIGRATE = "`leadbridge db migrate`"


class CommandVault:
    """Secrets of one destination in the store; see `connectors.base.Vault`.

    The store is opened when it is needed. Without a store reading fails too, because a refresh token that is used
    could not be replaced by the new one.
    """

    def __init__(self, config: Config, destination: str) -> None:
        self._config = config
        self._destination = destination

    async def read(self, name: str) -> str | None:
        """Return the last value; see `Vault.read`."""
        try:
            with open_store(self._config).reading() as connection:
                return secrets.read_secret(connection, self._destination, name)
        except OperatorError as error:
            raise VaultError(str(error)) from error

    async def write(self, name: str, value: str) -> None:
        """Write a value, and return after the commit; see `Vault.write`."""
        try:
            with open_store(self._config).writing() as connection:
                secrets.write_secret(connection, self._destination, name, value, time.time())
        except OperatorError as error:
            raise VaultError(str(error)) from error
