"""Tombstones: marks of what was erased, so that a captured request or another machine's spool cannot bring it back.

An erased event leaves its id, and a refused request the digest of its body. The person leaves the key of the contact
(`bridge.event.Event.contact`), which stops events that were received before the erasure and arrive after it. `accept`
looks at both (`inlets`, `postgres_inlets`): an event that one of them stops is treated as known, so nothing of it is
kept and the sender hears success.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, select, text, update

from bridge.store.schema import contact_tombstones, tombstones
from bridge.store.sharding import TURN
from bridge.store.transaction import insert_missing

STEP: Final = 500
"""Rows that one transaction removes, at most: a few milliseconds."""
RETRY_SECONDS: Final = 300.0
"""How long the vendor sends a request again: after about one and three minutes."""
SPOOL_SECONDS: Final = 7 * 86_400.0
"""How long an event of before the erasure may wait in the spool of another machine."""


def until(now: float, tolerances: Iterable[float], *, shared: bool) -> float | None:
    """Compute how long a tombstone stands; None for without end.

    `tolerances` are those of the signatures, 0 where any age is good: then a captured request can be sent again at any
    time. A signature may lie that much in the future, too, so it is good for twice as long. With `shared`, other
    machines may serve the same store.
    """
    known = list(tolerances)
    if not all(known):
        return None
    replayable = now + 2 * max(known, default=0.0) + RETRY_SECONDS
    return max(replayable, now + SPOOL_SECONDS) if shared else replayable


def keep(connection: Connection, ids: Iterable[bytes], until: float | None) -> None:
    """Keep the ids of erased events, or the digests of refused requests; one that stands longer stays so."""
    _in_turn(connection)
    for each in sorted(ids):
        insert_missing(connection, tombstones, [{"id": each, "until": until}])
        mine = update(tombstones).where(tombstones.c.id == each, _shorter(tombstones, until))
        connection.execute(mine.values(until=until))


def keep_contacts(connection: Connection, contacts: Iterable[int], before: float, until: float | None) -> None:
    """Stop events of these contacts that were received before a time."""
    _in_turn(connection)
    for each in sorted(contacts):
        row = {"contact": each, "before": before, "until": until}
        insert_missing(connection, contact_tombstones, [row])
        mine = update(contact_tombstones).where(contact_tombstones.c.contact == each)
        connection.execute(mine.where(contact_tombstones.c.before < before).values(before=before))
        connection.execute(mine.where(_shorter(contact_tombstones, until)).values(until=until))


def stops(connection: Connection, digest: bytes) -> bool:
    """Tell whether a refused request with this digest was erased."""
    return connection.execute(select(tombstones.c.id).where(tombstones.c.id == digest)).first() is not None


def prune(connection: Connection, now: float) -> bool:
    """Delete the next tombstones that are over; say whether there may be more of them."""
    keys: tuple[tuple[Table, Column[bytes] | Column[int]], ...] = (
        (tombstones, tombstones.c.id),
        (contact_tombstones, contact_tombstones.c.contact),
    )
    more = False
    for table, key in keys:
        over = connection.execute(select(key).where(table.c.until < now).limit(STEP)).scalars().all()
        if over:
            connection.execute(delete(table).where(key.in_(over)))
        more = more or len(over) == STEP
    return more


def _shorter(table: Table, until: float | None) -> ColumnElement[bool]:
    return table.c.until.is_not(None) if until is None else table.c.until < until


def _in_turn(connection: Connection) -> None:
    """Wait for accepts under way, and have later ones wait: each sees the tombstone, or its event is seen."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT {TURN}"))
