"""Which processes serve the store together: the statements on `members`, run inside the writer's transaction."""

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, delete, insert, select

from bridge.store.base import Meeting
from bridge.store.schema import lanes, members


def meet(connection: Connection, owner: str, names: Sequence[str], now: float, ttl: float) -> Meeting:
    """Note that the process is there until `ttl` seconds from `now`, forget who is there no longer, and read the rest.

    A process that has crashed leaves a row that others forget; its name never comes again.
    """
    connection.execute(delete(members).where((members.c.until <= now) | (members.c.name == owner)))
    row = {"name": owner, "lanes": orjson.dumps(sorted(names)).decode(), "until": now + ttl}
    connection.execute(insert(members).values(row))
    wanted = {row.name: frozenset(orjson.loads(row.lanes)) for row in connection.execute(select(members))}
    held = select(lanes.c.name, lanes.c.owner).where(lanes.c.owner.is_not(None), lanes.c.lease_until > now)
    return Meeting(wanted, {row.name: row.owner for row in connection.execute(held)})
