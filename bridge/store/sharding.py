"""Into how many shards a destination is split: the statements about it, run inside the writer's transaction.

The number in force stands in the destination's row of `lanes`; `accept`, and what an operator puts back, mark each
delivery by it (`mark`), so a process's own configuration never decides where a delivery goes. It changes in two steps:

1. `agree` changes the number, once nobody works or would work by the old one. What is accepted from then on is marked
   by the new one.
2. `divide` marks what was pending before, a step at a time. Leases are given when it is through. A crash leaves it at
   its last step.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, or_, select, text, update

from bridge.delivery.sharding import MARK_FACTOR, lanes_of, shard
from bridge.store.interface import DeliveryState
from bridge.store.schema import deliveries, lanes
from bridge.store.transaction import add_lanes, insert_missing

DIVIDE_ROWS = 1_000
"""Deliveries that one call of `divide` looks at: bounds how long an accept waits for it."""

TURN: Final = f"pg_advisory_xact_lock({0x6C65616462726461})"
"""PostgreSQL: waits for whoever accepts at this moment, and keeps the others from it until the commit."""

Wanted = Mapping[str, frozenset[str]]
"""By process: the lanes that it would work."""


def mark(destination: ColumnElement[str] | str) -> ScalarSelect[int]:
    """Give the SQL of what a delivery to the destination is to be marked with, within a statement on `deliveries`.

    The same as `bridge.delivery.sharding.Shard.mark` of `shard_of`; null where the destination is not split.
    """
    shards = lanes.c.shards
    return (
        select(shards * MARK_FACTOR + 1 + deliveries.c.contact % shards)
        .where(lanes.c.name == destination, shards > 1)
        .scalar_subquery()
    )


def mark_text(shards: str, contact: str) -> str:
    """Give the same as text, for the statements of the hot paths; the arguments are SQL."""
    return f"{shards} * {MARK_FACTOR} + 1 + {contact} % {shards}"


def keep_shards(connection: Connection, destinations: Iterable[str]) -> None:
    """Keep the destinations' numbers of shards from changing before the commit, so that `mark` is right until then.

    For whoever makes deliveries pending but by an accept. It keeps nobody from taking or renewing a lease.
    """
    names = frozenset(destinations)
    add_lanes(connection, names)
    asked = select(lanes.c.name).where(lanes.c.name.in_(names)).order_by(lanes.c.name)
    connection.execute(asked.with_for_update(read=True, key_share=True)).all()


def agree(connection: Connection, names: Iterable[str], now: float, wanted: Callable[[], Wanted]) -> None:
    """Bring into force the numbers of shards that one process's lanes tell of, where nothing speaks against it.

    Args:
        connection: The writer's, in a transaction.
        names: The lanes that the process would work.
        now: By the clock that leases are measured by.
        wanted: Reads which processes there are, this one included.
    """
    asked = {each.destination: each.of for each in map(shard, names)}
    known = select(lanes.c.name, lanes.c.shards).where(lanes.c.shards > 1)
    in_force = dict.fromkeys(asked, 1) | {row.name: row.shards for row in connection.execute(known)}
    differing = sorted(name for name, shards in asked.items() if shards != in_force[name])
    if not differing:
        return
    insert_missing(connection, lanes, [{"name": name} for name in differing])
    # What follows is read under these locks, in statements of their own: whoever claims, or puts a delivery back, has
    # locked a destination's row before it reads the number, and has committed or waits.
    involved = {*differing, *(lane for name in differing for lane in lanes_of(name, in_force[name]))}
    asked_rows = select(lanes).where(lanes.c.name.in_(involved)).order_by(lanes.c.name).with_for_update()
    rows = {row.name: row for row in connection.execute(asked_rows)}
    there = frozenset[str]().union(*wanted().values())
    for name in differing:
        old = lanes_of(name, in_force[name])
        worked = any(lane in rows and rows[lane].owner and rows[lane].lease_until > now for lane in old)
        if rows[name].shards == in_force[name] and not worked and there.isdisjoint(old):
            _change(connection, name, old, asked[name])


def _change(connection: Connection, name: str, old: tuple[str, ...], shards: int) -> None:
    if connection.dialect.name == "postgresql":
        # An accept that has read the old number has committed before this one does.
        connection.execute(text(f"SELECT {TURN}"))
    connection.execute(
        update(lanes).where(lanes.c.name.in_(old)).values(owner=None, lease_until=None, fence=lanes.c.fence + 1)
    )
    connection.execute(
        update(lanes)
        .where(lanes.c.name.in_({name, *old}), lanes.c.paused_by == "lane")
        .values(paused_by=None, pause_reason=None, pause_detail=None, paused_until=None)
    )
    divided_to = 0 if shards > 1 else None
    connection.execute(update(lanes).where(lanes.c.name == name).values(shards=shards, divided_to=divided_to))


def divide(connection: Connection, destination: str) -> bool:
    """Mark the next deliveries; see `Store.divide`."""
    row = select(lanes.c.divided_to).where(lanes.c.name == destination, lanes.c.divided_to.is_not(None))
    divided_to = connection.execute(row.with_for_update(key_share=True)).scalar()
    if divided_to is None:
        return False
    pending = (
        deliveries.c.destination == destination,
        text(f"deliveries.state = '{DeliveryState.PENDING.value}'"),
        deliveries.c.id > divided_to,
    )
    step = select(deliveries.c.id).where(*pending).order_by(deliveries.c.id).limit(DIVIDE_ROWS).subquery("step")
    last, count = connection.execute(select(func.max(step.c.id), func.count()).select_from(step)).one()
    if count:
        wrong = or_(deliveries.c.shard.is_(None), deliveries.c.shard != mark(destination))
        connection.execute(
            update(deliveries).where(*pending, deliveries.c.id <= last, wrong).values(shard=mark(destination))
        )
    more = count == DIVIDE_ROWS
    connection.execute(update(lanes).where(lanes.c.name == destination).values(divided_to=last if more else None))
    return bool(more)
