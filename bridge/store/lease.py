"""Leases and pauses of lanes, and the members that serve the store.

The functions are statements for a transaction of the caller. `LeaseKeeper` runs them for one process, and keeps its
leases even while the store is busy or another transaction has locked a lane's row.

A process sends heartbeats (`members`), claims the lanes of its share (`lanes`), and releases them when it stops. The
fence of a lane rises with each new owner.
"""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
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
    extended: MutableMapping[str, float] | None = None,
) -> dict[str, Lease]:
    """Take lanes that are free or whose lease has expired, renew the owner's own, and return all that it holds now.

    Taking a lane raises its fence; a renewal does not. A lane without a row gets one. The rows are locked in one order
    until the commit, so processes that claim at once see each other's leases.

    The lease of a process that still sends heartbeats expires only while somebody else locks the lane's row. Then that
    process could not write its outcomes either, and they would be lost with its fence. So its lease is extended once,
    by half of `ttl`, before the lane is taken.

    Args:
        connection: In a transaction.
        owner: The process.
        names: The lanes to hold.
        now: By the clock that leases are measured by.
        ttl: Seconds that the leases last.
        skip: Only renew the owner's lanes, and leave those whose rows are locked by another transaction.
        alone: Leave all lanes but `names` as they are.
        extended: By lane, the end of the lease that this process extended last; the claim adds to it.
    """
    # Thousands of lanes are renewed every two seconds, so the statements do not name each of them.
    held = (lanes.c.owner == owner) & (lanes.c.lease_until > now)
    if alone:
        held &= lanes.c.name.in_(names)
    own = frozenset(connection.execute(select(lanes.c.name).where(held)).scalars())
    rest = [name for name in names if name not in own and not skip]
    add_lanes(connection, frozenset(rest))
    rows = _locked(connection, or_(held, lanes.c.name.in_(rest)), skip=skip)
    # The rows are locked, so their owners cannot change until the commit.
    locked = {name: rows[name] for name in names if name in rows}
    kept = {n: Lease(n, row.fence) for n, row in locked.items() if row.owner == owner and row.lease_until > now}
    if kept:
        left = own - (rows.keys() & set(names))
        renewed = held & lanes.c.name.not_in(left) if left else held
        connection.execute(update(lanes).where(renewed).values(lease_until=now + ttl))
    spared = _extend(connection, owner, [rows[name] for name in rest if name in rows], now, now + ttl / 2, extended)
    return kept | _taken(connection, owner, [name for name in rest if name not in spared], rows, now, now + ttl)


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


def _extend(
    connection: Connection,
    owner: str,
    rows: Sequence[Row[*tuple[Any, ...]]],
    now: float,
    until: float,
    extended: MutableMapping[str, float] | None,
) -> frozenset[str]:
    """Extend expired leases of other processes that are alive, once each. Returns their lanes."""
    done = {} if extended is None else extended
    expired = [row for row in rows if row.owner not in {None, owner} and row.lease_until <= now]
    expired = [row for row in expired if done.get(row.name) != row.lease_until]
    if not expired:
        return frozenset()
    alive = set(connection.execute(select(members.c.name).where(members.c.until > now)).scalars())
    spared = frozenset(row.name for row in expired if row.owner in alive)
    if spared:
        connection.execute(update(lanes).where(lanes.c.name.in_(spared)).values(lease_until=until))
        done.update(dict.fromkeys(spared, until))
    return spared


def _taken(
    connection: Connection, owner: str, names: Sequence[str], rows: _Rows, now: float, until: float
) -> dict[str, Lease]:
    known = {name: rows[name] for name in names if name in rows}
    own = [name for name, row in known.items() if row.owner == owner]
    free = [name for name, row in known.items() if row.owner is None or (row.owner != owner and row.lease_until <= now)]
    values = {"owner": owner, "lease_until": until}
    if own:
        connection.execute(update(lanes).where(lanes.c.name.in_(own)).values(values))
    if free:
        connection.execute(update(lanes).where(lanes.c.name.in_(free)).values(values | {"fence": lanes.c.fence + 1}))
    taken = {name: Lease(name, known[name].fence + 1) for name in free}
    return {name: Lease(name, known[name].fence) for name in own} | taken


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
        self._extended: dict[str, float] = {}

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
                return claim(c, owner, some, clock, ttl, skip=skip, alone=alone, extended=self._extended)

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
