"""Leases and pauses of lanes, and the members that serve the store.

The functions are statements for a transaction of the caller. `LeaseKeeper` runs them for one process, and keeps its
leases even while the store is busy or another transaction has locked a lane's row.

A process sends heartbeats (`members`), claims the lanes of its share (`lanes`), and releases them when it stops. The
fence of a lane rises with each new owner.
"""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import orjson
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from bridge.errors import LeaseLostError, RowLockedError
from bridge.store.driver import Driver
from bridge.store.encryption import keys_of
from bridge.store.interface import Lease, Membership, Pause
from bridge.store.lane_queries import keep_pause, pause_of
from bridge.store.queue import CustomChange
from bridge.store.schema import lanes, members
from bridge.store.transaction import add_lanes

_Rows = dict[str, Row[*tuple[Any, ...]]]

LOCKED_SECONDS = 1.0
"""Time that a claim spends on lanes whose rows are locked. Leases are renewed every two seconds."""

T = TypeVar("T")


def heartbeat(connection: Connection, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
    """Register the process as a member until `ttl` seconds from `now`, delete expired members, and read the others.

    The row of a crashed process is deleted by the others. Its name is never used again.
    """
    connection.execute(delete(members).where(members.c.name == owner))
    # Locked rows are skipped: the process that is deleting them may be stopped in the middle of that.
    expired = select(members.c.name).where(members.c.until <= now).order_by(members.c.name)
    gone = connection.execute(expired.with_for_update(skip_locked=True)).scalars().all()
    if gone:
        connection.execute(delete(members).where(members.c.name.in_(gone)))
    row = {"name": owner, "lanes": orjson.dumps(sorted(names)).decode(), "until": now + ttl}
    connection.execute(insert(members).values(row))
    current = connection.execute(select(members).where(members.c.until > now)).all()
    expiry = min((each.until for each in current if each.name != owner), default=math.inf)
    candidates = {each.name: frozenset(orjson.loads(each.lanes)) for each in current}
    return _membership(connection, owner, candidates, now, expiry)


def sole_membership(connection: Connection, owner: str, names: Sequence[str], now: float) -> Membership:
    """Return the membership of the only process that may serve the store. It needs no row in `members`."""
    return _membership(connection, owner, {owner: frozenset(names)}, now)


def claim(
    connection: Connection,
    owner: str,
    names: Sequence[str],
    now: float,
    ttl: float,
    *,
    skip: bool = False,
    alone: bool = False,
) -> dict[str, Lease]:
    """Take lanes that are free or whose lease has expired, renew the owner's own, and return all that it holds now.

    Taking a lane raises its fence; a renewal does not. A lane without a row gets one. The rows are locked in one order
    until the commit, so processes that claim at once see each other's leases.

    An expired lease of a process that still sends heartbeats is not taken: it expired because somebody else locks the
    lane's row, and its outcomes, which wait for the same lock, would be lost with its fence. A process gives up such a
    lease itself when it no longer claims the lane.

    Args:
        connection: In a transaction.
        owner: The process.
        names: The lanes to hold.
        now: By the clock that leases are measured by.
        ttl: Seconds that the leases last.
        skip: Only renew the owner's lanes, and leave those whose rows are locked by another transaction.
        alone: Leave all lanes but `names` as they are.
    """
    # Thousands of lanes are renewed every two seconds, so the statements do not name each of them.
    mine = lanes.c.owner == owner
    if alone:
        mine &= lanes.c.name.in_(names)
    own = frozenset(connection.execute(select(lanes.c.name).where(mine)).scalars())
    rest = [name for name in names if name not in own and not skip]
    add_lanes(connection, frozenset(rest))
    # The rows are locked, so their owners cannot change until the commit.
    rows = _locked(connection, or_(mine, lanes.c.name.in_(rest)), skip=skip)
    claimed = {name: rows[name] for name in names if name in rows}
    renewed = {name: Lease(name, row.fence) for name, row in claimed.items() if row.owner == owner}
    others = {name: row for name, row in claimed.items() if name not in renewed}
    expired = {row.owner for row in others.values() if row.owner is not None and row.lease_until <= now}
    dead = expired - _living(connection, now) if expired else expired
    free = {n: row for n, row in others.items() if row.owner is None or (row.owner in dead and row.lease_until <= now)}
    left = own - renewed.keys()
    if renewed:
        held = mine & lanes.c.name.not_in(left) if left else mine
        connection.execute(update(lanes).where(held).values(lease_until=now + ttl))
    if over := [name for name in left & rows.keys() if rows[name].owner == owner and rows[name].lease_until <= now]:
        connection.execute(update(lanes).where(lanes.c.name.in_(over)).values(owner=None, lease_until=None))
    if free:
        values = {"owner": owner, "lease_until": now + ttl, "fence": lanes.c.fence + 1}
        connection.execute(update(lanes).where(lanes.c.name.in_(free)).values(values))
    return renewed | {name: Lease(name, row.fence + 1) for name, row in free.items()}


def lasting(connection: Connection, owner: str, now: float, seconds: float) -> dict[str, Lease]:
    """Return the leases of an owner that last for so many seconds more, even if their rows are locked."""
    query = select(lanes).where(lanes.c.owner == owner, lanes.c.lease_until > now + seconds)
    return {row.name: Lease(row.name, row.fence) for row in connection.execute(query)}


def release_lanes(
    connection: Connection, owner: str | None, names: Sequence[str] | None, *, skip: bool = False
) -> None:
    """Release lanes of the owner, or of all owners, so that the next owner need not wait for the leases to expire.

    With `skip`, lanes whose rows are locked by another transaction are left.
    """
    held = lanes.c.owner.is_not(None) if owner is None else lanes.c.owner == owner
    if names is None:
        connection.execute(delete(members).where(members.c.name == owner) if owner else delete(members))
    else:
        held &= lanes.c.name.in_(names)
    rows = _locked(connection, held, skip=skip)
    if skip:
        held &= lanes.c.name.in_(rows)
    connection.execute(update(lanes).where(held).values(owner=None, lease_until=None))


def write_pause(connection: Connection, lease: Lease, pause: Pause | None, now: float) -> None:
    """Write the lane's own pause, or its end at a time. An operator's pause stays. Raises LeaseLostError."""
    query = select(lanes.c.fence).where(lanes.c.name == lease.lane).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None or row.fence != lease.fence:
        raise LeaseLostError(f"lane {lease.lane}: another process has taken it over")
    if pause is None:
        keep_pause(connection, lease.lane, now, by="lane")
    connection.execute(
        update(lanes)
        .where(lanes.c.name == lease.lane, or_(lanes.c.paused_by.is_(None), lanes.c.paused_by != "operator"))
        .values(
            paused_by=pause.by if pause else None,
            pause_reason=keys_of(connection).seal_text(
                pause.reason if pause else None, "lanes.pause_reason", lease.lane
            ),
            # A destination's text may contain NUL, which PostgreSQL cannot store.
            pause_detail=keys_of(connection).seal_text(
                pause.detail.replace("\0", "\ufffd") if pause and pause.detail else None,
                "lanes.pause_detail",
                lease.lane,
            ),
            paused_until=pause.until if pause else None,
            paused_since=pause.since if pause else None,
        )
    )


def read_pause(connection: Connection, name: str) -> Pause | None:
    """Read why a lane is paused; None if it is not, or is not known."""
    row = connection.execute(select(lanes).where(lanes.c.name == name, lanes.c.paused_by.is_not(None))).one_or_none()
    return pause_of(keys_of(connection), row) if row else None


def _membership(
    connection: Connection, owner: str, candidates: Mapping[str, frozenset[str]], now: float, expiry: float = math.inf
) -> Membership:
    """Read the holders of the lanes. `expiry` is the earliest time at which another member expires.

    Leases count too: a process that dies between its heartbeat and its claim is a member for longer than its leases
    last.
    """
    held = select(lanes.c.name, lanes.c.owner, lanes.c.lease_until).where(
        lanes.c.owner.is_not(None), lanes.c.lease_until > now
    )
    leased = connection.execute(held).all()
    return Membership(
        candidates,
        holders={row.name: row.owner for row in leased},
        now=now,
        next_expiry=min((expiry, *(row.lease_until for row in leased if row.owner != owner))) - now,
    )


def _living(connection: Connection, now: float) -> frozenset[str]:
    """Return the processes that send heartbeats."""
    return frozenset(connection.execute(select(members.c.name).where(members.c.until > now)).scalars())


def _locked(connection: Connection, which: ColumnElement[bool], *, skip: bool) -> _Rows:
    """Lock rows of lanes against other claims and against settlements.

    Every transaction that locks several lanes does so in the order of their names. Otherwise two transactions could
    wait for each other, until the server ends one of them after a second.
    """
    query = select(lanes).where(which).order_by(lanes.c.name)
    return {row.name: row for row in connection.execute(query.with_for_update(key_share=True, skip_locked=skip))}


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

    async def heartbeat(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
        """Send a heartbeat and read the other members; see `Store.heartbeat`."""
        if self._driver.exclusive:
            return await self._do(lambda c: sole_membership(c, owner, names, now))
        return await self._do(lambda c: heartbeat(c, owner, names, self._driver.clock(c, now), ttl))

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew lanes; see `Store.claim`."""

        def take(some: Sequence[str], *, skip: bool = False, alone: bool = False) -> Awaitable[dict[str, Lease]]:
            def taken(c: Connection) -> dict[str, Lease]:
                clock = self._driver.clock(c, now)
                return claim(c, owner, some, clock, ttl, skip=skip, alone=alone)

            return self._do(taken)

        try:
            return await take(names)
        except RowLockedError:
            # A lane's row is locked. The leases of the other lanes must not be lost because of it.
            leases = await take(names, skip=True)
        end = time.monotonic() + LOCKED_SECONDS
        for name in names:
            if name not in leases and time.monotonic() < end:
                with contextlib.suppress(RowLockedError):
                    leases |= await take([name], alone=True)
        # Leases that could not be renewed still count while half of their time is left: enough for the next renewal.
        left = await self._do(lambda c: lasting(c, owner, self._driver.clock(c, now), ttl / 2))
        return {name: each for name, each in left.items() if name in names} | leases

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Release the owner's lanes; see `Store.release`."""
        try:
            await self._do(lambda c: release_lanes(c, owner, names))
        except RowLockedError:
            await self._do(lambda c: release_lanes(c, owner, names, skip=True))

    async def pause(self, held: Lease, pause: Pause | None, now: float) -> None:
        """Write a lane's own pause; see `Store.pause`."""
        await self._do(lambda c: write_pause(c, held, pause, now))

    async def _do(self, function: Callable[[Connection], T]) -> T:
        return cast("T", await self._submit(CustomChange(function)))
