"""The hot path into SQLite's tables and out of them, as plain statements of the driver.

SQLAlchemy's execution of a statement costs several times as much as the database's (docs/internals/store.md).

Many events, or many outcomes, are one statement. It inserts into an empty view, whose trigger distributes each row over
the tables. A group is thus written by one call of the driver, which releases the interpreter lock once. With a
statement for each table, the writer's thread and the event loop wait for each other some twenty times per commit
(docs/internals/store.md). The views and triggers are temporary objects of the connection, so migrations do not see
them.
"""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bridge.store.driver import READ_BYTES, raw
from bridge.store.tally import day_of

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
    "failed",
)
"""A row of `accept`: an event, its deliveries as a JSON array of `[route, destination, problem]`, and whether one of
them has a problem."""
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
    "exchange",
    "lane",
    "fence",
    "day",
    "chatbot",
    "bucket",
)
"""A row of `settle`: the new state of a delivery, its attempt (`number` is null if there was none), the lease, and for
one that ends its place in the tally (otherwise `day` is null)."""

# The counts of all rows are added beforehand; a row that is not written takes its own away. Most rows are written.
_ADD = """ON CONFLICT (day, chatbot, destination, state, bucket, writer) DO UPDATE SET count = count + excluded.count"""
# An event that was erased counts as known (`tombstones`).
_ACCEPT_EVENT = """
  INSERT INTO events (id, received_at, chatbot, state, type, form, payload, verified_by)
    SELECT NEW.id, NEW.received_at, NEW.chatbot, NEW.state, NEW.type, NEW.form, NEW.payload, NEW.verified_by
    WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = NEW.id)
      AND NOT EXISTS (SELECT 1 FROM contact_tombstones WHERE contact = NEW.contact AND before > NEW.received_at)
      AND NOT EXISTS (SELECT 1 FROM contact_tombstones WHERE contact = NEW.phone AND before > NEW.received_at)
    ON CONFLICT (id) DO NOTHING;
  SELECT leadbridge_known(NEW.id) WHERE changes() = 0;
"""
_QUEUE_DELIVERIES = """
  INSERT INTO deliveries (event_seq, route, destination, contact, phone, state, due_at, settled_at, reason, detail)
    SELECT last_insert_rowid(), value ->> 0, value ->> 1, NEW.contact, NEW.phone,
      iif(value ->> 2 IS NULL, 'pending', 'dead'),
      iif(value ->> 2 IS NULL, NEW.received_at, NULL),
      iif(value ->> 2 IS NULL, NULL, NEW.received_at),
      iif(value ->> 2 IS NULL, NULL, 'mapping'),
      value ->> 2
    FROM json_each(NEW.deliveries) WHERE changes() = 1;
"""
# `changes()` is the number of rows that the statement before has added: none of a known event.
_TAKE_AWAY = """
    SELECT CAST(NEW.received_at / 86400 AS INTEGER), ifnull(NEW.chatbot, ''), '', NEW.state, 0, 'accept', -1
    WHERE changes() = 0"""
_ACCEPT = f"""
CREATE TEMP TRIGGER accept INSTEAD OF INSERT ON accepted WHEN NEW.deliveries <> '[]' AND NOT NEW.failed BEGIN
{_ACCEPT_EVENT}{_QUEUE_DELIVERIES}
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count) {_TAKE_AWAY} {_ADD};
END"""
_ACCEPT_FAILED = f"""
CREATE TEMP TRIGGER accept_failed INSTEAD OF INSERT ON accepted WHEN NEW.failed BEGIN
{_ACCEPT_EVENT}{_QUEUE_DELIVERIES}
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count) {_TAKE_AWAY}
    UNION ALL
    SELECT CAST(NEW.received_at / 86400 AS INTEGER), ifnull(NEW.chatbot, ''), value ->> 1, 'dead', 0, 'accept', 1
    FROM json_each(NEW.deliveries) WHERE changes() > 0 AND value ->> 2 IS NOT NULL
    {_ADD};
END"""  # noqa: S608 - only our own texts
_ACCEPT_ALONE = f"""
CREATE TEMP TRIGGER accept_alone INSTEAD OF INSERT ON accepted WHEN NEW.deliveries = '[]' BEGIN
{_ACCEPT_EVENT}
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count) {_TAKE_AWAY} {_ADD};
END"""
_COUNT_ACCEPTED = f"""
CREATE TEMP TRIGGER count_accepted INSTEAD OF INSERT ON accepted WHEN NEW.id IS NULL BEGIN
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count)
    SELECT NEW.received_at, NEW.chatbot, '', NEW.state, 0, 'accept', NEW.contact WHERE true {_ADD};
END"""
# The UPDATE skips a delivery that an operator has ended meanwhile; its attempt was made and is written all the same.
# Nothing is written for a delivery that was erased or moved to another route: it is tried there from the beginning.
_SETTLE = f"""
CREATE TEMP TRIGGER settle INSTEAD OF INSERT ON settled WHEN NEW.delivery IS NOT NULL BEGIN
  SELECT leadbridge_lost(NEW.lane, NEW.fence) WHERE NOT EXISTS
    (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
  UPDATE deliveries SET
    state = NEW.state, due_at = NEW.due_at, attempts = NEW.attempts, failures = NEW.failures,
    failing_since = NEW.failing_since, settled_at = NEW.settled_at, reason = NEW.reason, detail = NEW.detail,
    warning = NEW.warning, remote_id = NEW.remote_id, remote_url = NEW.remote_url, memo = NEW.memo
    WHERE id = NEW.delivery AND route = NEW.route AND state = 'pending'
      AND EXISTS (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count)
    SELECT NEW.day, NEW.chatbot, NEW.lane, iif(NEW.warning IS NULL, NEW.state, 'warned'), NEW.bucket, 'settle', -1
    WHERE changes() = 0 AND NEW.day IS NOT NULL {_ADD};
  INSERT INTO attempts (delivery_id, number, started_at, duration, outcome, reason, status, detail)
    SELECT id, NEW.number, NEW.started_at, NEW.duration, NEW.outcome, NEW.attempt_reason, NEW.status,
      NEW.attempt_detail
    FROM deliveries WHERE id = NEW.delivery AND route = NEW.route AND NEW.number IS NOT NULL
      AND EXISTS (SELECT 1 FROM lanes WHERE name = NEW.lane AND fence = NEW.fence);
  INSERT INTO exchanges (delivery_id, number, at, content)
    SELECT NEW.delivery, NEW.number, NEW.started_at, NEW.exchange WHERE changes() = 1 AND NEW.exchange IS NOT NULL;
END"""  # noqa: S608 - only our own texts

_COUNT_SETTLED = f"""
CREATE TEMP TRIGGER count_settled INSTEAD OF INSERT ON settled WHEN NEW.delivery IS NULL BEGIN
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count)
    SELECT NEW.day, NEW.chatbot, NEW.lane, NEW.state, NEW.bucket, 'settle', NEW.attempts WHERE true {_ADD};
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
        for trigger in (_ACCEPT, _ACCEPT_FAILED, _ACCEPT_ALONE, _COUNT_ACCEPTED, _SETTLE, _COUNT_SETTLED):
            self._driver.execute(trigger)
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
        counts = Counter((day_of(row[_RECEIVED]), row[_CHATBOT] or "", row[_STATE]) for row in rows)
        rows = [*rows, *map(_accepted_count, counts.items())]
        self._driver.execute(self._accept.rows(len(rows)), [value for row in rows for value in row])
        return list(self._known)

    def settle(self, rows: Sequence[tuple[Any, ...]]) -> SettleResult:
        """Write rows of `SETTLED`, except those of lost leases."""
        self._lost.clear()
        counts = Counter(
            (row[_LANE:], row[_SETTLED_STATE], row[_WARNING] is None) for row in rows if row[_DAY] is not None
        )
        rows = [*rows, *map(_settled_count, counts.items())]
        self._driver.execute(self._settle.rows(len(rows)), [value for row in rows for value in row])
        return SettleResult(set(self._lost))


_RECEIVED, _CHATBOT, _STATE = (ACCEPTED.index(name) for name in ("received_at", "chatbot", "state"))
_SETTLED_STATE, _WARNING, _LANE, _DAY = (SETTLED.index(name) for name in ("state", "warning", "lane", "day"))


def _accepted_count(counted: tuple[tuple[int, str, str], int]) -> tuple[Any, ...]:
    """Return a row of `ACCEPTED` that counts events."""
    (day, chatbot, state), count = counted
    return (None, day, chatbot, state, None, None, None, count, None, None, None, None)


def _settled_count(counted: tuple[tuple[tuple[Any, ...], str, bool], int]) -> tuple[Any, ...]:
    """Return a row of `SETTLED` that counts deliveries which have ended."""
    (place, state, plain), count = counted
    return (None, None, state if plain else "warned", None, count, *(None,) * (_LANE - 5), *place)


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
