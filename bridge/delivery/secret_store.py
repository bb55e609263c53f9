"""Secrets of destinations that change in use, such as rotated refresh tokens, kept in the store."""

from collections.abc import Callable

from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from connectors.base import VaultError


class StoreVault:
    """Secrets of one destination; see `connectors.base.Vault`."""

    def __init__(self, store: Store, destination: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._destination = destination
        self._clock = clock

    async def read(self, name: str) -> str | None:
        """Return the value that was written last; see `Vault.read`."""
        try:
            return await self._store.read_secret(self._destination, name)
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error

    async def write(self, name: str, value: str) -> None:
        """Write a value, and return after the commit; see `Vault.write`."""
        try:
            await self._store.keep_secret(self._destination, name, value, self._clock())
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error
