"""The hot path into SQLite's tables and out of them, as plain statements of the driver.

SQLAlchemy's execution of a statement costs several times as much as the database's (docs/internals/store.md).

Many events, or many outcomes, are one statement. It inserts into an empty view, whose trigger distributes each row over
the tables. A group is thus written by one call of the driver, which releases the interpreter lock once. With a
statement for each table, the writer's thread and the event loop wait for each other some twenty times per commit
(docs/internals/store.md). The views and triggers are temporary objects of the connection, so migrations do not see
them.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bridge.store.driver import READ_BYTES, raw

ROWS_LIMIT = 64
"""Most rows of one statement. Further rows of a group go into another statement of the same transaction."""
_INFO = "queue_writer"

ACCEPTED = (
    "id",
    "received_at",
    "chatbot",
    "state",
    "type",
    "form",
    "payload",
    "contact",
    "phone",
    "verified_by",
    "deliveries",
)
"""A row of `accept`: an event, and its deliveries as a JSON array of `[route, destination, problem]`."""
SETTLED = (
    "delivery",
    "route",
    "state",
    "due_at",
    "attempts",
    "failures",
    "failing_since",
    "settled_at",
    "reason",
    "detail",
    "warning",
    "remote_id",
    "remote_url",
    "memo",
    "number",
    "started_at",
    "duration",
    "outcome",
    "attempt_reason",
    "status",
    "attempt_detail",
    "lane",
    "fence",
)
"""A row of `settle`: the new state of a delivery, its attempt (`number` is null if there was none), the lease."""

# An event that was erased counts as known (`tombstones`).
_ACCEPT = """
CREATE TEMP TRIGGER accept INSTEAD OF INSERT ON accepted BEGIN
  INSERT INTO events (id, received_at, chatbot, state, type, form, payload, verified_by)
    SELECT NEW.id, NEW.received_at, NEW.chatbot, NEW.state, NEW.type, NEW.form, NEW.payload, NEW.verified_by
    WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = NEW.id)
      AND NOT EXISTS (SELECT 1 FROM contact_tombstones WHERE contact = NEW.contact AND before > NEW.received_at)
      AND NOT EXISTS (SELECT 1 FROM contact_tombstones WHERE contact = NEW.phone AND before > NEW.received_at)
    ON CONFLICT (id) DO NOTHING;
  SELECT leadbridge_known(NEW.id) WHERE changes() = 0;
  INSERT INTO deliveries (event_seq, route, destination, contact, phone, state, due_at, settled_at, reason, detail)
    SELECT last_insert_rowid(), value ->> 0, value ->> 1, NEW.contact, NEW.phone,
      iif(value ->> 2 IS NULL, 'pending', 'dead'),
      iif(value ->> 2 IS NULL, NEW.received_at, NULL),
      iif(value ->> 2 IS NULL, NULL, NEW.received_at),
      iif(value ->> 2 IS NULL, NULL, 'mapping'),
      value ->> 2
    FROM json_each(NEW.deliveries) WHERE changes() = 1;
END"""
# The UPDATE skips a delivery that an operator has ended meanwhile; its attempt was made and is written all the same.
# Nothing is written for a delivery that was erased or moved to another route: it is tried there from the beginning.
_SETTLE = """
CREATE TEMP TRIGGER settle INSTEAD OF INSERT ON settled BEGIN
  SELECT leadbridge_lost(NEW.lane, NEW.fence) WHERE NOT EXISTS
    (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
  UPDATE deliveries SET
    state = NEW.state, due_at = NEW.due_at, attempts = NEW.attempts, failures = NEW.failures,
    failing_since = NEW.failing_since, settled_at = NEW.settled_at, reason = NEW.reason, detail = NEW.detail,
    warning = NEW.warning, remote_id = NEW.remote_id, remote_url = NEW.remote_url, memo = NEW.memo
    WHERE id = NEW.delivery AND route = NEW.route AND state = 'pending'
      AND EXISTS (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
  INSERT INTO attempts (delivery_id, number, started_at, duration, outcome, reason, status, detail)
    SELECT id, NEW.number, NEW.started_at, NEW.duration, NEW.outcome, NEW.attempt_reason, NEW.status,
      NEW.attempt_detail
    FROM deliveries WHERE id = NEW.delivery AND route = NEW.route AND NEW.number IS NOT NULL
      AND EXISTS (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
END"""


class SettleResult(NamedTuple):
    """The result of writing rows of `SETTLED`."""

    lost: AbstractSet[tuple[str, int]]
    """Lost leases (lane and fence). None of their rows was written."""
    locked: frozenset[int] = frozenset()
    """Deliveries that were not written, because another transaction has locked a row that they need."""


class SqliteQueueWriter:
    """The views and triggers of one connection. Used by the connection's thread, inside a transaction or alone."""

    rows_limit = ROWS_LIMIT

    def __init__(self, connection: Connection) -> None:
        self._driver = raw(connection)
        self._known: list[bytes] = []
        self._lost: list[tuple[str, int]] = []
        # A trigger reports rare rows only, since each such call takes the interpreter lock.
        self._driver.create_function("leadbridge_known", 1, self._known.append)
        self._driver.create_function("leadbridge_lost", 2, lambda *lease: self._lost.append(lease))
        for view, columns in (("accepted", ACCEPTED), ("settled", SETTLED)):
            nothing = ", ".join(f"NULL AS {name}" for name in columns)
            self._driver.execute(f"CREATE TEMP VIEW {view} AS SELECT {nothing} WHERE 0")
        self._driver.execute(_ACCEPT)
        self._driver.execute(_SETTLE)
        self._accept = _Insert("accepted", len(ACCEPTED))
        self._settle = _Insert("settled", len(SETTLED))

    @classmethod
    def of(cls, connection: Connection) -> "SqliteQueueWriter":
        """Return the writer of a connection, made at its first use."""
        writer: SqliteQueueWriter | None = connection.info.get(_INFO)
        if writer is None:
            writer = connection.info[_INFO] = cls(connection)
        return writer

    def accept(self, rows: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Write rows of `ACCEPTED` with different ids. Returns the ids of known events, which stay as they are."""
        self._known.clear()
        self._driver.execute(self._accept.rows(len(rows)), [value for row in rows for value in row])
        return list(self._known)

    def settle(self, rows: Sequence[tuple[Any, ...]]) -> SettleResult:
        """Write rows of `SETTLED`, except those of lost leases."""
        self._lost.clear()
        self._driver.execute(self._settle.rows(len(rows)), [value for row in rows for value in row])
        return SettleResult(set(self._lost))


class _Insert:
    """The text of a multi-row insert, for any number of rows."""

    def __init__(self, view: str, columns: int) -> None:
        self._head = f"INSERT INTO {view} VALUES "  # noqa: S608 - one of our own two names
        self._row = f"({', '.join('?' * columns)})"
        self._texts: dict[int, str] = {}

    def rows(self, count: int) -> str:
        text = self._texts.get(count)
        if text is None:
            text = self._texts[count] = self._head + ", ".join([self._row] * count)
        return text


# The state is a literal, not a parameter, so that the planner can use the partial index.
DUE = """
SELECT id, contact, due_at, failures, attempts FROM deliveries
WHERE destination = ? AND state = 'pending' AND id > ? ORDER BY id LIMIT ?"""
_READ = """
SELECT d.id, e.id, e.chatbot, e.payload, e.received_at, e.verified_by, d.route, d.attempts, d.failures,
  d.failing_since, d.memo, d.destination
FROM deliveries d JOIN events e ON e.seq = d.event_seq
WHERE d.id IN ({}) AND d.state = 'pending' ORDER BY d.id"""
_PAYLOAD = 3
"""Position of the payload in a row of it."""


class SqliteQueueReader:
    """The hot queries; see `bridge.store.driver.QueueReader`."""

    def due(self, connection: Connection, lane: str, after: int, limit: int) -> Sequence[Sequence[Any]]:
        """Read due deliveries; see `QueueReader.due`."""
        rows: Sequence[Sequence[Any]] = raw(connection).execute(DUE, (lane, after, limit)).fetchall()
        return rows

    def read(self, connection: Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        """Read deliveries; see `QueueReader.read`."""
        rows: list[Sequence[Any]] = []
        size = 0
        cursor = raw(connection).execute(_READ.format(", ".join("?" * len(ids))), list(ids))
        for row in cursor:
            rows.append(row)
            size += len(row[_PAYLOAD])
            if size >= READ_BYTES:
                cursor.close()
                break
        return rows
