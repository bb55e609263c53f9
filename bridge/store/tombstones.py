"""Tombstones of erased events, requests and contacts.

A tombstone keeps a captured request, or another machine's spool, from bringing an erased person back. An erased event
leaves its id, and a refused request the digest of its body. The person leaves the key of the contact
(`bridge.event.Event.contact`), which stops events that were received before the erasure and arrive after it. `accept`
checks both (`sqlite_queue`, `postgres_queue`): an event that has a tombstone counts as known, so nothing of it is kept
and the sender gets success.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, select, text, update

from bridge.store.schema import contact_tombstones, tombstones
from bridge.store.transaction import TURN, insert_missing

STEP: Final = 500
"""Most rows that one transaction deletes. It takes a few milliseconds."""
RETRY_SECONDS: Final = 300.0
"""Time within which the vendor repeats a request: it does so after about one and three minutes."""
SPOOL_SECONDS: Final = 7 * 86_400.0
"""Time for which an event may wait in the spool of another machine."""


def until(now: float, tolerances: Iterable[float], *, shared: bool) -> float | None:
    """Compute when a tombstone expires; None for never.

    Args:
        now: The time of the erasure.
        tolerances: Each chatbot's `signature_tolerance`; 0 if a signature of any age is valid. Then a captured request
            can be replayed at any time. A signature may also lie in the future, so it is valid for twice the tolerance.
        shared: True if other machines may serve the same store.
    """
    known = list(tolerances)
    if not all(known):
        return None
    replayable = now + 2 * max(known, default=0.0) + RETRY_SECONDS
    return max(replayable, now + SPOOL_SECONDS) if shared else replayable


def add_tombstones(connection: Connection, ids: Iterable[bytes], until: float | None) -> None:
    """Keep the ids of erased events, or the digests of refused requests. A later expiry is not shortened."""
    _in_turn(connection)
    for each in sorted(ids):
        insert_missing(connection, tombstones, [{"id": each, "until": until}])
        mine = update(tombstones).where(tombstones.c.id == each, _shorter(tombstones, until))
        connection.execute(mine.values(until=until))


def keep_contacts(connection: Connection, contacts: Iterable[int], before: float, until: float | None) -> None:
    """Stop events of these contacts that were received before a time. A later expiry is not shortened."""
    _in_turn(connection)
    for each in sorted(contacts):
        row = {"contact": each, "before": before, "until": until}
        insert_missing(connection, contact_tombstones, [row])
        mine = update(contact_tombstones).where(contact_tombstones.c.contact == each)
        connection.execute(mine.where(contact_tombstones.c.before < before).values(before=before))
        connection.execute(mine.where(_shorter(contact_tombstones, until)).values(until=until))


def stops(connection: Connection, digest: bytes) -> bool:
    """Return True if a refused request with this digest was erased."""
    return connection.execute(select(tombstones.c.id).where(tombstones.c.id == digest)).first() is not None


def prune_tombstones(connection: Connection, now: float) -> bool:
    """Delete the next expired tombstones. Returns True if there may be more."""
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
    """Wait for accepts in progress and block later ones, so that each accept sees the tombstone or is seen here."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT {TURN}"))
