"""Who works a lane, and whether it is paused: the statements on `lanes`, run inside the writer's transaction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from bridge.errors import LeaseLostError
from bridge.store.encryption import keys_of
from bridge.store.interface import Lease, Meeting, Pause
from bridge.store.lane_queries import pause_of
from bridge.store.schema import lanes, members
from bridge.store.transaction import add_lanes

_Rows = dict[str, Row[*tuple[Any, ...]]]


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
    """Take the lanes that are free or whose lease is over, renew the owner's own; give those that it holds now.

    Taking a lane raises its fence, renewing does not. A lane that has no row yet gets one. Of several processes that
    claim at once, each sees what the one before has taken: the rows are locked in one order until the commit, all that
    it takes and all that it renews by one statement.

    With `skip` only the owner's lanes are renewed, and those whose rows another transaction holds are left as they are.
    With `alone` all lanes but `names` are left as they are.
    """
    # Thousands of lanes are renewed every two seconds, so the statements do not name each.
    held = (lanes.c.owner == owner) & (lanes.c.lease_until > now)
    if alone:
        held &= lanes.c.name.in_(names)
    own = frozenset(connection.execute(select(lanes.c.name).where(held)).scalars())
    rest = [name for name in names if name not in own and not skip]
    add_lanes(connection, frozenset(rest))
    rows = _locked(connection, or_(held, lanes.c.name.in_(rest)), skip=skip)
    # Nobody can have changed what they are of.
    asked = {name: rows[name] for name in names if name in rows}
    kept = {n: Lease(n, row.fence) for n, row in asked.items() if row.owner == owner and row.lease_until > now}
    if kept:
        left = own - (rows.keys() & set(names))
        renewed = held & lanes.c.name.not_in(left) if left else held
        connection.execute(update(lanes).where(renewed).values(lease_until=now + ttl))
    return kept | _taken(connection, owner, rest, rows, now, now + ttl)


def lasting(connection: Connection, owner: str, now: float, seconds: float) -> dict[str, Lease]:
    """Return the leases of an owner that last for so many seconds more, whoever has locked their rows."""
    asked = select(lanes).where(lanes.c.owner == owner, lanes.c.lease_until > now + seconds)
    return {row.name: Lease(row.name, row.fence) for row in connection.execute(asked)}


def _taken(
    connection: Connection, owner: str, names: Sequence[str], rows: _Rows, now: float, until: float
) -> dict[str, Lease]:
    given = {name: rows[name] for name in names if name in rows}
    own = [name for name, row in given.items() if row.owner == owner]
    free = [name for name, row in given.items() if row.owner is None or (row.owner != owner and row.lease_until <= now)]
    values = {"owner": owner, "lease_until": until}
    if own:
        connection.execute(update(lanes).where(lanes.c.name.in_(own)).values(values))
    if free:
        connection.execute(update(lanes).where(lanes.c.name.in_(free)).values(values | {"fence": lanes.c.fence + 1}))
    taken = {name: Lease(name, given[name].fence + 1) for name in free}
    return {name: Lease(name, given[name].fence) for name in own} | taken


def release(connection: Connection, owner: str | None, names: Sequence[str] | None, *, skip: bool = False) -> None:
    """Give up lanes of the owner, or of everybody: the next one need not wait for the leases to end.

    With `skip` all but those whose rows another transaction holds.
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


def _locked(connection: Connection, which: ColumnElement[bool], *, skip: bool) -> _Rows:
    """Lock rows against each other's claims, and against settlements.

    The rows are locked in the order of their names, as by all others that lock several. Otherwise two transactions
    could wait for each other, until the server ends one of them after a second.
    """
    asked = select(lanes).where(which).order_by(lanes.c.name)
    return {row.name: row for row in connection.execute(asked.with_for_update(key_share=True, skip_locked=skip))}


def pause(connection: Connection, lease: Lease, pause: Pause | None) -> None:
    """Write the lane's own pause, or its end; an operator's stays. Raises LeaseLostError."""
    asked = select(lanes.c.fence).where(lanes.c.name == lease.lane).with_for_update()
    row = connection.execute(asked).one_or_none()
    if row is None or row.fence != lease.fence:
        raise LeaseLostError(f"lane {lease.lane}: another process has taken it over")
    connection.execute(
        update(lanes)
        .where(lanes.c.name == lease.lane, or_(lanes.c.paused_by.is_(None), lanes.c.paused_by != "operator"))
        .values(
            paused_by=pause.by if pause else None,
            pause_reason=keys_of(connection).seal_text(
                pause.reason if pause else None, "lanes.pause_reason", lease.lane
            ),
            # PostgreSQL's text cannot hold NUL, and a destination's words may.
            pause_detail=keys_of(connection).seal_text(
                pause.detail.replace("\0", "\ufffd") if pause and pause.detail else None,
                "lanes.pause_detail",
                lease.lane,
            ),
            paused_until=pause.until if pause else None,
        )
    )


def paused(connection: Connection, name: str) -> Pause | None:
    """Read why a lane is paused; None if it is not, or is not known."""
    row = connection.execute(select(lanes).where(lanes.c.name == name, lanes.c.paused_by.is_not(None))).one_or_none()
    return pause_of(keys_of(connection), row) if row else None


def meet(connection: Connection, owner: str, names: Sequence[str], now: float, ttl: float) -> Meeting:
    """Note that the process is there until `ttl` seconds from `now`, forget who is there no longer, and read the rest.

    A process that has crashed leaves a row that others forget; its name never comes again.
    """
    connection.execute(delete(members).where(members.c.name == owner))
    # Not one that another process is just forgetting, which may be stopped in the middle of that.
    over = select(members.c.name).where(members.c.until <= now).order_by(members.c.name)
    gone = connection.execute(over.with_for_update(skip_locked=True)).scalars().all()
    if gone:
        connection.execute(delete(members).where(members.c.name.in_(gone)))
    row = {"name": owner, "lanes": orjson.dumps(sorted(names)).decode(), "until": now + ttl}
    connection.execute(insert(members).values(row))
    there = connection.execute(select(members).where(members.c.until > now)).all()
    ends = min((each.until for each in there if each.name != owner), default=math.inf)
    wanted = {each.name: frozenset(orjson.loads(each.lanes)) for each in there}
    return _meeting(connection, owner, wanted, now, ends)


def alone(connection: Connection, owner: str, names: Sequence[str], now: float) -> Meeting:
    """Do the same for the one process that may serve the store: there is nobody to be known to."""
    return _meeting(connection, owner, {owner: frozenset(names)}, now)


def _meeting(
    connection: Connection, owner: str, wanted: Mapping[str, frozenset[str]], now: float, ends: float = math.inf
) -> Meeting:
    """Read the rest. `ends` is when the first of the other processes is there no longer, if it says no more.

    One that has died between its last meeting and its claim is known for longer than its leases last.
    """
    held = select(lanes.c.name, lanes.c.owner, lanes.c.lease_until).where(
        lanes.c.owner.is_not(None), lanes.c.lease_until > now
    )
    leased = connection.execute(held).all()
    return Meeting(
        wanted,
        holders={row.name: row.owner for row in leased},
        soonest=min((ends, *(row.lease_until for row in leased if row.owner != owner))) - now,
    )
