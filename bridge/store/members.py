"""Which processes serve the store together: the statements on `members`, run inside the writer's transaction."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, insert, or_, select

from bridge.store.base import Meeting
from bridge.store.schema import lanes, members
from bridge.store.sharding import Wanted, agree


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
    agree(connection, names, now, lambda: _wanted(_there(connection, now)))
    there = _there(connection, now)
    ends = min((each.until for each in there if each.name != owner), default=math.inf)
    return _meeting(connection, owner, _wanted(there), now, ends)


def alone(connection: Connection, owner: str, names: Sequence[str], now: float) -> Meeting:
    """Do the same for the one process that may serve the store: there is nobody to be known to."""
    wanted = {owner: frozenset(names)}
    agree(connection, names, now, lambda: wanted)
    return _meeting(connection, owner, wanted, now)


def _there(connection: Connection, now: float) -> Sequence[Row[Any]]:
    return connection.execute(select(members).where(members.c.until > now)).all()


def _wanted(there: Iterable[Row[Any]]) -> Wanted:
    return {each.name: frozenset(orjson.loads(each.lanes)) for each in there}


def _meeting(connection: Connection, owner: str, wanted: Wanted, now: float, ends: float = math.inf) -> Meeting:
    """Read the rest. `ends` is when the first of the other processes is there no longer, if it says no more.

    One that has died between its last meeting and its claim is known for longer than its leases last.
    """
    held = lanes.c.owner.is_not(None) & (lanes.c.lease_until > now)
    columns = (lanes.c.name, lanes.c.owner, lanes.c.lease_until, lanes.c.shards, lanes.c.divided_to)
    rows = connection.execute(select(*columns).where(or_(held, lanes.c.shards > 1))).all()
    leased = [row for row in rows if row.owner is not None and row.lease_until > now]
    return Meeting(
        wanted,
        holders={row.name: row.owner for row in leased},
        shards={row.name: row.shards for row in rows if row.shards > 1},
        dividing=frozenset(row.name for row in rows if row.divided_to is not None),
        soonest=min((ends, *(row.lease_until for row in leased if row.owner != owner))) - now,
    )
