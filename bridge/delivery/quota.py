"""Where a destination keeps secrets that change while it is in use: in the store, or in memory where there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from connectors.base import Quota, VaultError


@dataclass(frozen=True, slots=True)
class Allowance:
    """Until when which deliveries are held back; times are seconds since the epoch."""

    nothing_until: float = 0.0
    """Nothing at all is sent before."""
    retries_until: float = 0.0
    """Only what has not been tried before is sent before."""

    def after(self, now: float) -> float | None:
        """Give when the next of these times is over, None if both are."""
        return min((each for each in (self.nothing_until, self.retries_until) if each > now), default=None)


def allowance(quotas: Sequence[Quota]) -> Allowance:
    """Say what the quotas allow: the strictest of them counts."""
    return Allowance(
        max((each.until for each in quotas if each.remaining <= 0), default=0.0),
        max((each.until for each in quotas if each.remaining <= each.reserve), default=0.0),
    )


class StoreVault:
    """One destination's place in the store; see `connectors.base.Vault`."""

    def __init__(self, store: Store, destination: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._destination = destination
        self._clock = clock

    async def read(self, name: str) -> str | None:
        """Give what was last written; see `Vault.read`."""
        try:
            return await self._store.kept_secret(self._destination, name)
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error

    async def write(self, name: str, value: str) -> None:
        """Keep it, and return after the commit; see `Vault.write`."""
        try:
            await self._store.keep_secret(self._destination, name, value, self._clock())
        except StoreUnavailableError as error:
            raise VaultError(str(error)) from error
