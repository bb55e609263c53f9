"""The statements of the hot paths: written with the tables, compiled once, given to the driver as text.

SQLAlchemy's own execution of a multi-row insert costs several times what the database does
(docs/architecture.md, "Hot paths"). So each statement is compiled here from the same tables that the migrations
build, and its row of values is repeated as often as a group has rows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Column, Dialect, Integer, Table, bindparam, column, select, text, update, values
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.sql.elements import ClauseElement

from bridge.store.schema import attempts, deliveries, events, lanes

EVENT_COLUMNS: Sequence[Column[Any]] = (
    events.c.id,
    events.c.received_at,
    events.c.chatbot,
    events.c.state,
    events.c.type,
    events.c.form,
    events.c.payload,
)
DELIVERY_COLUMNS: Sequence[Column[Any]] = (
    deliveries.c.event_seq,
    deliveries.c.route,
    deliveries.c.destination,
    deliveries.c.contact,
    deliveries.c.state,
    deliveries.c.due_at,
    deliveries.c.settled_at,
    deliveries.c.reason,
    deliveries.c.detail,
)
SETTLE_COLUMNS: Sequence[Column[Any]] = (
    deliveries.c.id,
    deliveries.c.state,
    deliveries.c.due_at,
    deliveries.c.attempts,
    deliveries.c.failures,
    deliveries.c.failing_since,
    deliveries.c.settled_at,
    deliveries.c.reason,
    deliveries.c.detail,
    deliveries.c.warning,
    deliveries.c.remote_id,
    deliveries.c.remote_url,
    deliveries.c.memo,
)
ATTEMPT_COLUMNS: Sequence[Column[Any]] = tuple(attempts.c)
READ_COLUMNS: Sequence[Column[Any]] = (
    deliveries.c.id,
    events.c.id,
    events.c.chatbot,
    events.c.payload,
    events.c.received_at,
    deliveries.c.route,
    deliveries.c.attempts,
    deliveries.c.failures,
    deliveries.c.failing_since,
    deliveries.c.memo,
)


class Repeated:
    """A statement with one row of parameters in it, that can be had for any number of rows."""

    def __init__(self, statement: ClauseElement, dialect: Dialect, columns: int) -> None:
        """Compile it. `columns` is the number of parameters in the row."""
        row = f"({', '.join('?' * columns)})"
        compiled = str(statement.compile(dialect=dialect))
        head, found, tail = compiled.partition(row)
        if not found or "?" in head + tail:
            raise AssertionError(f"expected {row} once, and no other parameter, in: {compiled}")
        self._head, self._row, self._tail = head, row, tail
        self._texts: dict[int, str] = {}

    def rows(self, count: int) -> str:
        """Give the text for `count` rows."""
        known = self._texts.get(count)
        if known is None:
            known = self._head + ", ".join([self._row] * count) + self._tail
            self._texts[count] = known
        return known


class Statements:
    """All hot statements, for one dialect. Thread-safe once made, but for harmless double work."""

    def __init__(self, dialect: Dialect) -> None:
        """Compile them all: some milliseconds, once per process."""
        wanted = _rows("wanted", [events.c.id])
        self.known_events = Repeated(select(events.c.id).join(wanted, events.c.id == wanted.c.id), dialect, 1)
        self.accept_events = Repeated(_insert(events, EVENT_COLUMNS), dialect, len(EVENT_COLUMNS))
        self.accept_deliveries = Repeated(_insert(deliveries, DELIVERY_COLUMNS), dialect, len(DELIVERY_COLUMNS))
        self.settle_deliveries = Repeated(_settle(), dialect, len(SETTLE_COLUMNS))
        self.settle_attempts = Repeated(_insert(attempts, ATTEMPT_COLUMNS), dialect, len(ATTEMPT_COLUMNS))
        wanted = _rows("wanted", [lanes.c.name])
        self.fences = Repeated(
            select(lanes.c.name, lanes.c.fence).join(wanted, lanes.c.name == wanted.c.name), dialect, 1
        )
        wanted = _rows("wanted", [deliveries.c.id])
        self.read = Repeated(
            select(*READ_COLUMNS)
            .join(wanted, deliveries.c.id == wanted.c.id)
            .join(events, events.c.seq == deliveries.c.event_seq)
            .where(PENDING)
            .order_by(deliveries.c.id),
            dialect,
            1,
        )
        self.due = str(
            select(deliveries.c.id, deliveries.c.contact, deliveries.c.due_at, deliveries.c.failures)
            .where(deliveries.c.destination == bindparam("destination"), PENDING, deliveries.c.id > bindparam("after"))
            .order_by(deliveries.c.id)
            .limit(bindparam("count", type_=Integer))
            .compile(dialect=dialect)
        )


PENDING = text("deliveries.state = 'pending'")
"""Literal, not a parameter, so that the planner sees that the partial index answers it."""


def _insert(table: Table, columns: Sequence[Column[Any]]) -> Insert:
    return insert(table).values({column.name: bindparam(column.name) for column in columns})


def _settle() -> ClauseElement:
    """Give the update of many deliveries by a list of rows; the WHERE keeps what an operator has ended meanwhile."""
    settled = _rows("settled", SETTLE_COLUMNS)
    changes = {column.name: settled.c[column.name] for column in SETTLE_COLUMNS if column is not deliveries.c.id}
    return update(deliveries).values(changes).where(deliveries.c.id == settled.c.id, PENDING)


def _rows(name: str, columns: Sequence[Column[Any]]) -> CTE:
    """Give a list of rows as a table to join with, in the form that both engines read."""
    names = [column(each.name, each.type) for each in columns]
    return values(*names, name=name).data([tuple(bindparam(f"{each.name}_") for each in columns)]).cte(name)
