"""The leases of a process, kept whatever else the store is busy with, and whoever has locked a lane's row."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from bridge.errors import RowLockedError
from bridge.store import lease
from bridge.store.driver import Driver
from bridge.store.interface import Lease, Meeting, Pause
from bridge.store.queue import Call

LOCKED_SECONDS = 1.0
"""How long a claim goes on with lanes whose rows somebody holds: a lease is renewed every two seconds."""

T = TypeVar("T")


class LeaseKeeper:
    """Asks for leases, renews them and gives them up.

    Args:
        driver: The engine.
        submit: Has a call done in a transaction of its own; where processes share the store, on a connection that
            waits for nothing else.
    """

    def __init__(self, driver: Driver, submit: Callable[[Call], Awaitable[Any]]) -> None:
        self._driver = driver
        self._submit = submit

    async def meet(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Meeting:
        """Be known to the others, and learn of them; see `Store.meet`."""
        if self._driver.exclusive:
            return await self._do(lambda c: lease.alone(c, owner, names, now))
        return await self._do(lambda c: lease.meet(c, owner, names, self._driver.clock(c, now), ttl))

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew lanes; see `Store.claim`."""

        def claim(some: Sequence[str], *, skip: bool = False, alone: bool = False) -> Awaitable[dict[str, Lease]]:
            return self._do(
                lambda c: lease.claim(c, owner, some, self._driver.clock(c, now), ttl, skip=skip, alone=alone)
            )

        try:
            return await claim(names)
        except RowLockedError:
            # Somebody holds a lane's row. The others must not be lost with it, nor those that are only being settled.
            leases = await claim(names, skip=True)
        end = time.monotonic() + LOCKED_SECONDS
        for name in names:
            if name not in leases and time.monotonic() < end:
                with contextlib.suppress(RowLockedError):
                    leases |= await claim([name], alone=True)
        # The others are its own still; half of the time is enough for the next renewal.
        left = await self._do(lambda c: lease.lasting(c, owner, self._driver.clock(c, now), ttl / 2))
        return {name: each for name, each in left.items() if name in names} | leases

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Give up the owner's lanes; see `Store.release`."""
        try:
            await self._do(lambda c: lease.release(c, owner, names))
        except RowLockedError:
            await self._do(lambda c: lease.release(c, owner, names, skip=True))

    async def pause(self, held: Lease, pause: Pause | None) -> None:
        """Write a lane's own pause; see `Store.pause`."""
        await self._do(lambda c: lease.pause(c, held, pause))

    async def _do(self, function: Callable[[Connection], T]) -> T:
        return cast("T", await self._submit(Call(function)))
