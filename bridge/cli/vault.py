"""Where a command's connectors keep secrets that change in use: in the store, where `serve` finds them."""

import time

from bridge.cli.store import open_store
from bridge.config import Config
from bridge.errors import OperatorError
from bridge.store import secrets
from connectors.base import VaultError


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
