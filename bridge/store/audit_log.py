"""The audit log in the store: what is written, read and, when its time is over, removed.

An entry is written inside the transaction of what it tells of, so that there is neither without the other; what
changes nothing in the store has its entry committed before it is done. Entries are never changed but for their count,
which grows with each step of an action that is done in several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from bridge.operations.audit import Action, Entry
from bridge.store.interface import PAGE
from bridge.store.schema import audit

STEP = 500
"""Entries that one transaction removes, at most: a few milliseconds."""


# Built once: the writer's thread runs it while senders wait for the interpreter, and building took most of its time.
_KEEP = insert(audit).returning(audit.c.id)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry as it is kept. What an older or newer version has written may hold other words."""

    id: int
    at: float
    action: str
    role: str
    means: str
    session: str | None
    address: str | None
    subject: str | None
    subject_id: str | None
    count: int | None
    facts: Mapping[str, str | int]


def keep(connection: Connection, entry: Entry, now: float) -> int:
    """Write an entry, inside the transaction that is open; gives its id, for `add`."""
    values = {
        "at": now,
        "action": entry.action.value,
        "role": entry.who.role,
        "means": entry.who.means.value,
        "session": entry.who.session,
        "address": entry.who.address,
        "subject": entry.subject.value if entry.subject else None,
        "subject_id": entry.subject_id,
        "count": entry.count,
        "facts": orjson.dumps(dict(entry.facts)).decode() if entry.facts else None,
    }
    return int(connection.execute(_KEEP, values).scalar_one())


def add(connection: Connection, entry: int, count: int) -> None:
    """Write that a further step has done so many, in the step's own transaction. The entry must have a count."""
    connection.execute(update(audit).where(audit.c.id == entry).values(count=audit.c.count + count))


def page(
    connection: Connection, action: Action | None = None, before: int | None = None, limit: int = PAGE
) -> Sequence[AuditRow]:
    """Read a page of entries, newest first; `before` is the id of the last one of the page before."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if action is not None:
        query = query.where(audit.c.action == action.value)
    if before is not None:
        query = query.where(audit.c.id < before)
    found = connection.execute(query).mappings()
    return [AuditRow(**{**row, "facts": orjson.loads(row["facts"] or "{}")}) for row in found]


def prune(connection: Connection, before: float) -> bool:
    """Delete the oldest entries that were written before a time; says whether there may be more of them.

    Entries stand in the order of their writing; where clocks differ, one that is too old goes when it is the oldest.
    """
    oldest = select(audit.c.id, audit.c.at).order_by(audit.c.id).limit(STEP)
    rows = connection.execute(oldest).all()
    old = [row.id for row in rows if row.at < before]
    if old:
        connection.execute(delete(audit).where(audit.c.id.in_(old)))
    return len(old) == STEP
