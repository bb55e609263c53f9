"""The hot queries of SQLite: built from the tables, compiled once, and passed to the driver as text.

SQLAlchemy's execution of a statement costs several times as much as the database's (docs/internals/store.md).
"""

from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from sqlalchemy import (
    CTE,
    Column,
    Connection,
    Dialect,
    Integer,
    bindparam,
    column,
    select,
    text,
    values,
)
from sqlalchemy.sql.elements import ClauseElement

from bridge.store.driver import READ_BYTES, raw
from bridge.store.encryption import DamagedError, KeyRing
from bridge.store.interface import Delivery
from bridge.store.schema import deliveries, events

log = structlog.get_logger()

READ_COLUMNS: Sequence[Column[Any]] = (
    deliveries.c.id,
    events.c.id,
    events.c.chatbot,
    events.c.payload,
    events.c.received_at,
    events.c.verified_by,
    deliveries.c.route,
    deliveries.c.attempts,
    deliveries.c.failures,
    deliveries.c.failing_since,
    deliveries.c.memo,
    deliveries.c.destination,
)
_PAYLOAD = READ_COLUMNS.index(events.c.payload)


class Repeated:
    """A statement with one row of parameters, repeated for any number of rows."""

    def __init__(self, statement: ClauseElement, dialect: Dialect, columns: int) -> None:
        """Compile the statement. `columns` is the number of parameters in the row."""
        row = f"({', '.join('?' * columns)})"
        compiled = str(statement.compile(dialect=dialect))
        head, found, tail = compiled.partition(row)
        if not found or "?" in head + tail:
            raise AssertionError(f"expected {row} once, and no other parameter, in: {compiled}")
        self._head, self._row, self._tail = head, row, tail
        self._texts: dict[int, str] = {}

    def rows(self, count: int) -> str:
        """Return the text for `count` rows."""
        known = self._texts.get(count)
        if known is None:
            known = self._head + ", ".join([self._row] * count) + self._tail
            self._texts[count] = known
        return known


class SqliteQueueReader:
    """Implementation of `bridge.store.driver.QueueReader`. Thread-safe, at worst with double work."""

    def __init__(self, dialect: Dialect) -> None:
        """Compile all statements: a few milliseconds, once per process."""
        wanted = _rows("wanted", [deliveries.c.id])
        self.read_text = Repeated(
            select(*READ_COLUMNS)
            .join(wanted, deliveries.c.id == wanted.c.id)
            .join(events, events.c.seq == deliveries.c.event_seq)
            .where(PENDING)
            .order_by(deliveries.c.id),
            dialect,
            1,
        )
        self.due_text = str(
            select(
                deliveries.c.id,
                deliveries.c.contact,
                deliveries.c.due_at,
                deliveries.c.failures,
                deliveries.c.attempts,
            )
            .where(deliveries.c.destination == bindparam("destination"), PENDING, deliveries.c.id > bindparam("after"))
            .order_by(deliveries.c.id)
            .limit(bindparam("count", type_=Integer))
            .compile(dialect=dialect)
        )

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        """Read due deliveries; see `QueueReader.due`."""
        # The last parameter is the OFFSET that SQLAlchemy's SQLite dialect adds to a LIMIT.
        rows: Sequence[Sequence[Any]] = raw(connection).execute(self.due_text, (lane, after, limit, 0)).fetchall()
        return rows

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Read deliveries; see `QueueReader.read`."""
        rows: list[Sequence[Any]] = []
        size = 0
        cursor = raw(connection).execute(self.read_text.rows(len(ids)), list(ids))
        for row in cursor:
            rows.append(row)
            size += len(row[_PAYLOAD])
            if size >= READ_BYTES:
                cursor.close()
                break
        return rows


PENDING = text("deliveries.state = 'pending'")
"""A literal, not a parameter, so that the planner can use the partial index."""


def _rows(name: str, columns: Sequence[Column[Any]]) -> CTE:
    """Return a list of rows as a table to join with."""
    names = [column(each.name, each.type) for each in columns]
    return values(*names, name=name).data([tuple(bindparam(f"{each.name}_") for each in columns)]).cte(name)


def delivery_of(keys: KeyRing, row: Sequence[Any]) -> Delivery:
    """Decrypt a row of `READ_COLUMNS` and return its delivery."""
    identity, event_id, chatbot, payload, received_at, verified_by, route, attempts, failures, since, memo, _ = row
    payload = bytes(payload)
    try:
        payload = keys.open(payload, "events.payload", event_id)
        memo = keys.open_text(memo, "deliveries.memo", event_id, route)
    except DamagedError as error:
        # Without a payload the delivery becomes a dead letter, and the lane goes on with the others.
        log.error("row_damaged", delivery=identity, error=str(error))  # noqa: TRY400 - the traceback tells nothing
        payload, memo = b"", None
    return Delivery(
        id=identity,
        event_id=event_id.hex(),
        chatbot=chatbot,
        payload=payload,
        received_at=received_at,
        route=route,
        attempts=attempts,
        failures=failures,
        failing_since=since,
        memo=orjson.loads(memo) if memo else {},
        verified_by=tuple(verified_by.split()),
    )
