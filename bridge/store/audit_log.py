"""The audit log in the store: writing, reading and pruning of entries.

An entry is written in the transaction of the action that it records, so neither exists without the other. For an action
that changes nothing in the store, the entry is committed first. Only the count of an entry changes later: it grows with
each step of a bulk action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from bridge.operations.audit import Action, Entry
from bridge.store.interface import PAGE
from bridge.store.schema import audit

STEP = 500
"""Most entries that one transaction deletes. It takes a few milliseconds."""


# Built once, since building took most of the time, and senders wait for the interpreter meanwhile.
_KEEP = insert(audit).returning(audit.c.id)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A stored entry. Another version of the program may have written other words into it."""

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
    user: str | None = None


def add_entry(connection: Connection, entry: Entry, now: float) -> int:
    """Write an entry in the open transaction. Returns its id, for `add`."""
    values = {
        "at": now,
        "action": entry.action.value,
        "role": entry.who.role,
        "user": entry.who.name,
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
    """Add the count of a further step to an entry that has a count, in the transaction of the step."""
    connection.execute(update(audit).where(audit.c.id == entry).values(count=audit.c.count + count))


def list_entries(
    connection: Connection, action: Action | None = None, before: int | None = None, limit: int = PAGE
) -> Sequence[AuditRow]:
    """Read a page of entries, newest first. `before` is the last id of the page before."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if action is not None:
        query = query.where(audit.c.action == action.value)
    if before is not None:
        query = query.where(audit.c.id < before)
    found = connection.execute(query).mappings()
    return [AuditRow(**{**row, "facts": orjson.loads(row["facts"] or "{}")}) for row in found]


def prune_entries(connection: Connection, before: float) -> bool:
    """Delete the oldest entries that were written before a time. Returns True if there may be more.

    Entries are in the order of writing. If clocks differ, an old entry is deleted once it is among the oldest.
    """
    oldest = select(audit.c.id, audit.c.at).order_by(audit.c.id).limit(STEP)
    rows = connection.execute(oldest).all()
    old = [row.id for row in rows if row.at < before]
    if old:
        connection.execute(delete(audit).where(audit.c.id.in_(old)))
    return len(old) == STEP
