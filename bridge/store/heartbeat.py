"""The leases of a process, kept even while the store is busy or another transaction has locked a lane's row."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from bridge.errors import RowLockedError
from bridge.store import lease
from bridge.store.driver import Driver
from bridge.store.interface import Lease, Membership, Pause
from bridge.store.queue import CustomChange

LOCKED_SECONDS = 1.0
"""Time that a claim spends on lanes whose rows are locked. Leases are renewed every two seconds."""

T = TypeVar("T")


class LeaseKeeper:
    """Heartbeats, claims, renewals and releases of one process.

    Args:
        driver: The engine.
        submit: Runs a call in its own transaction. If processes share the store, it has its own connection, so it never
            waits for other changes.
    """

    def __init__(self, driver: Driver, submit: Callable[[CustomChange], Awaitable[Any]]) -> None:
        self._driver = driver
        self._submit = submit
        self._extended: dict[str, float] = {}

    async def heartbeat(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
        """Send a heartbeat and read the other members; see `Store.heartbeat`."""
        if self._driver.exclusive:
            return await self._do(lambda c: lease.sole_membership(c, owner, names, now))
        return await self._do(lambda c: lease.heartbeat(c, owner, names, self._driver.clock(c, now), ttl))

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew lanes; see `Store.claim`."""

        def claim(some: Sequence[str], *, skip: bool = False, alone: bool = False) -> Awaitable[dict[str, Lease]]:
            def taken(c: Connection) -> dict[str, Lease]:
                clock = self._driver.clock(c, now)
                return lease.claim(c, owner, some, clock, ttl, skip=skip, alone=alone, extended=self._extended)

            return self._do(taken)

        try:
            return await claim(names)
        except RowLockedError:
            # A lane's row is locked. The leases of the other lanes must not be lost because of it.
            leases = await claim(names, skip=True)
        end = time.monotonic() + LOCKED_SECONDS
        for name in names:
            if name not in leases and time.monotonic() < end:
                with contextlib.suppress(RowLockedError):
                    leases |= await claim([name], alone=True)
        # Leases that could not be renewed still count while half of their time is left: enough for the next renewal.
        left = await self._do(lambda c: lease.lasting(c, owner, self._driver.clock(c, now), ttl / 2))
        return {name: each for name, each in left.items() if name in names} | leases

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Release the owner's lanes; see `Store.release`."""
        try:
            await self._do(lambda c: lease.release_lanes(c, owner, names))
        except RowLockedError:
            await self._do(lambda c: lease.release_lanes(c, owner, names, skip=True))

    async def pause(self, held: Lease, pause: Pause | None) -> None:
        """Write a lane's own pause; see `Store.pause`."""
        await self._do(lambda c: lease.pause(c, held, pause))

    async def _do(self, function: Callable[[Connection], T]) -> T:
        return cast("T", await self._submit(CustomChange(function)))
