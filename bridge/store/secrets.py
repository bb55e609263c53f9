"""Secrets of destinations that change in use, such as refresh tokens."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection, select, update

from bridge.errors import StoreUnavailableError
from bridge.store.encryption import keys_of
from bridge.store.interface import Store
from bridge.store.schema import secrets
from bridge.store.transaction import insert_missing
from connectors.base import VaultError


def write_secret(connection: Connection, destination: str, name: str, value: str, now: float) -> None:
    """Write a value, and replace the one with this name."""
    sealed = keys_of(connection).seal_text(value, "secrets.value", destination, name)
    row = {"destination": destination, "name": name, "value": sealed, "kept_at": now}
    insert_missing(connection, secrets, [row])
    where = (secrets.c.destination == destination) & (secrets.c.name == name)
    connection.execute(update(secrets).where(where).values(value=sealed, kept_at=now))


def read_secret(connection: Connection, destination: str, name: str) -> str | None:
    """Read a value; None if there is none."""
    where = (secrets.c.destination == destination) & (secrets.c.name == name)
    found: str | None = connection.execute(select(secrets.c.value).where(where)).scalar_one_or_none()
    return keys_of(connection).open_text(found, "secrets.value", destination, name)


class StoreVault:
    """Secrets of one destination; see `connectors.base.Vault`."""

    def __init__(self, store: Store, destination: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._destination = destination
        self._clock = clock

    async def read(self, name: str) -> str | None:
        """Return the value that was written last; see `Vault.read`."""
        try:
            return await self._store.query(partial(read_secret, destination=self._destination, name=name))
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error

    async def write(self, name: str, value: str) -> None:
        """Write a value, and return after the commit; see `Vault.write`."""
        try:
            write = partial(write_secret, destination=self._destination, name=name, value=value, now=self._clock())
            await self._store.change(write)
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error
