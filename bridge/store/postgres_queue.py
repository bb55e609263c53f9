"""The hot path into PostgreSQL's tables: many events, or many outcomes, with one call of a database function.

A function keeps the plan of its statement from call to call. A prepared statement would need the same session, which a
pooler does not keep, and planning anew costs as much as writing twenty events. `migrate` makes the functions. A call
takes all rows of a group as one JSON array, so the driver converts one parameter instead of thousands. A call outside a
transaction is one by itself, which the server ends without waiting for this process. So a process that is stopped at
any moment never leaves a lock behind.

**Order.** A lane reads its queue on from the highest id that it knows, so ids must become visible in order. PostgreSQL
assigns ids before the commit, and of two processes that accept at once, the one with the lower ids may commit later.
Therefore each accept first takes a lock that lasts until its commit (`TURN`). That costs little, since a commit carries
all waiting events. The queries after the lock see everything that was committed while the function waited, because a
volatile function takes a new snapshot for each query (https://www.postgresql.org/docs/current/xfunc-volatility.html).
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, text

from bridge.store.driver import LOCK_NOT_AVAILABLE, raw
from bridge.store.sqlite_queue import ACCEPTED, SETTLED, SettleResult
from bridge.store.transaction import TURN

LOCK_SECONDS = 5
"""Time that a statement waits for another transaction's lock before it fails and the sender gets 503."""
ROW_MILLISECONDS = 250
"""Time that outcomes wait for a locked row. Then the others are written without it."""
SKIP_SECONDS = 5.0
"""Time after such a wait during which no outcome waits for a locked row."""

_ROWS_LIMIT = 4_096
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""The character NUL in JSON; not the six characters of its escape, which a text may hold too."""

# An erased event is not kept again (`tombstones`). These scalar subqueries use the indexes of the keys; with NOT EXISTS
# the planner may read the whole table for each call.
_ACCEPT = """
WITH given AS MATERIALIZED (
  SELECT * FROM ROWS FROM (
    json_to_recordset(group_of_rows) AS (id text, received_at float8, chatbot text, state text, type text, form text,
      contact bigint, phone bigint, verified_by text, deliveries json),
    unnest(payloads)
  ) WITH ORDINALITY AS g(id, received_at, chatbot, state, type, form, contact, phone, verified_by, deliveries, payload,
    place)
), added AS (
  INSERT INTO events (id, received_at, chatbot, state, type, form, payload, verified_by)
    SELECT decode(g.id, 'hex'), g.received_at, g.chatbot, g.state, g.type, g.form, g.payload, g.verified_by
    FROM given g
    WHERE (SELECT true FROM tombstones t WHERE t.id = decode(g.id, 'hex')) IS NULL
      AND (SELECT true FROM contact_tombstones c WHERE c.contact IN (g.contact, g.phone)
        AND c.before > g.received_at LIMIT 1) IS NULL
    ORDER BY g.place
    ON CONFLICT (id) DO NOTHING
    RETURNING seq, id, received_at, chatbot, state
), queued AS (
  INSERT INTO deliveries (event_seq, route, destination, contact, phone, state, due_at, settled_at, reason, detail)
    SELECT added.seq, d.value ->> 0, d.value ->> 1, g.contact, g.phone,
      CASE WHEN d.value ->> 2 IS NULL THEN 'pending' ELSE 'dead' END,
      CASE WHEN d.value ->> 2 IS NULL THEN g.received_at END,
      CASE WHEN d.value ->> 2 IS NOT NULL THEN g.received_at END,
      CASE WHEN d.value ->> 2 IS NOT NULL THEN 'mapping' END,
      d.value ->> 2
    FROM added JOIN given g ON decode(g.id, 'hex') = added.id
      CROSS JOIN LATERAL json_array_elements(g.deliveries) WITH ORDINALITY AS d(value, place)
    ORDER BY added.seq, d.place
    RETURNING event_seq, destination, state
), counts AS (
  SELECT floor(a.received_at / 86400)::int AS day, coalesce(a.chatbot, '') AS chatbot, '' AS destination, a.state
    FROM added a
  UNION ALL
  SELECT floor(a.received_at / 86400)::int, coalesce(a.chatbot, ''), q.destination, q.state
    FROM queued q JOIN added a ON a.seq = q.event_seq WHERE q.state = 'dead'
), counted AS (
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count)
    SELECT c.day, c.chatbot, c.destination, c.state, 0, 'accept', count(*) FROM counts c
    GROUP BY c.day, c.chatbot, c.destination, c.state ORDER BY c.day, c.chatbot, c.destination, c.state
    ON CONFLICT (day, chatbot, destination, state, bucket, writer)
    DO UPDATE SET count = tally.count + excluded.count
)
SELECT added.id FROM added"""

# The lock on the lane's row makes a process that takes the lane over wait for this commit, and this statement wait for
# that process's. It then reads the newest row. The UPDATE skips a delivery that an operator has ended meanwhile; its
# attempt was made and is written all the same. Nothing is written for a delivery that was erased or moved to another
# route: it is tried there from the beginning. An attempt that exists already was written by this same settlement, when
# the answer to its commit was lost.
_SETTLE = """
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(group_of_rows) AS g(
    delivery bigint, route text, state text, due_at float8, attempts int, failures int, failing_since float8,
    settled_at float8, reason text, detail text, warning text, remote_id text, remote_url text, memo text, number int,
    started_at float8, duration float8, outcome text, attempt_reason text, status int, attempt_detail text,
    exchange text,    lane text, fence int, day int, chatbot text, bucket int)
), held AS MATERIALIZED (
  SELECT name, fence FROM lanes WHERE name = ANY(of_lanes) ORDER BY name FOR SHARE{skip}
), {free}mine AS MATERIALIZED (
  SELECT g.* FROM given g JOIN held ON held.name = g.lane AND held.fence = g.fence{is_free}
), written AS (
  UPDATE deliveries SET
    state = m.state, due_at = m.due_at, attempts = m.attempts, failures = m.failures,
    failing_since = m.failing_since, settled_at = m.settled_at, reason = m.reason, detail = m.detail,
    warning = m.warning, remote_id = m.remote_id, remote_url = m.remote_url, memo = m.memo
  FROM mine m WHERE deliveries.id = m.delivery AND deliveries.route = m.route AND deliveries.state = 'pending'
  RETURNING m.day, m.chatbot, m.lane, CASE WHEN m.warning IS NULL THEN m.state ELSE 'warned' END AS state, m.bucket
), counted AS (
  INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count)
    SELECT w.day, w.chatbot, w.lane, w.state, w.bucket, 'settle', count(*) FROM written w WHERE w.day IS NOT NULL
    GROUP BY w.day, w.chatbot, w.lane, w.state, w.bucket ORDER BY w.day, w.chatbot, w.lane, w.state, w.bucket
    ON CONFLICT (day, chatbot, destination, state, bucket, writer)
    DO UPDATE SET count = tally.count + excluded.count
), tried AS (
  INSERT INTO attempts (delivery_id, number, started_at, duration, outcome, reason, status, detail)
    SELECT m.delivery, m.number, m.started_at, m.duration, m.outcome, m.attempt_reason, m.status, m.attempt_detail
    FROM mine m JOIN deliveries ON deliveries.id = m.delivery AND deliveries.route = m.route
    WHERE m.number IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM attempts a
      WHERE a.delivery_id = m.delivery AND a.number = m.number AND a.started_at = m.started_at)
  RETURNING delivery_id, number
), kept AS (
  INSERT INTO exchanges (delivery_id, number, at, content)
    SELECT m.delivery, m.number, m.started_at, m.exchange
    FROM tried t JOIN mine m ON m.delivery = t.delivery_id AND m.number = t.number WHERE m.exchange IS NOT NULL
)
{result}"""

# A lane whose row is locked is neither lost nor held.
_FREE = """free AS MATERIALIZED (
  SELECT d.id FROM deliveries d WHERE d.id IN (SELECT g.delivery FROM given g) ORDER BY d.id
  FOR NO KEY UPDATE OF d SKIP LOCKED
), """
_IS_FREE = """
  WHERE g.delivery IN (SELECT free.id FROM free) OR NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = g.delivery)"""
_LOST = """SELECT DISTINCT g.lane, g.fence FROM given g
WHERE NOT EXISTS (SELECT 1 FROM held WHERE held.name = g.lane AND held.fence = g.fence)"""
_LOST_OR_LOCKED = """SELECT g.lane, g.fence, NULL::bigint FROM given g
WHERE EXISTS (SELECT 1 FROM held WHERE held.name = g.lane AND held.fence <> g.fence)
  OR NOT EXISTS (SELECT 1 FROM lanes l WHERE l.name = g.lane)
UNION
SELECT NULL, NULL, g.delivery FROM given g
WHERE EXISTS (SELECT 1 FROM lanes l WHERE l.name = g.lane)
  AND NOT EXISTS (SELECT 1 FROM held WHERE held.name = g.lane AND held.fence <> g.fence)
  AND NOT EXISTS (SELECT 1 FROM mine WHERE mine.delivery = g.delivery)"""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the program keeps in the database."""

    name: str
    signature: str
    """Its arguments and its result."""
    settings: Mapping[str, str]
    body: str

    @property
    def statement(self) -> str:
        """SQL that creates or replaces the function."""
        settings = " ".join(f"SET {name} = '{value}'" for name, value in self.settings.items())
        return f"CREATE OR REPLACE FUNCTION {self.name}{self.signature}\nLANGUAGE plpgsql {settings} AS $${self.body}$$"


# The plan is kept while the tables grow, so it must not be one for an empty table.
_PLAN: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
FUNCTIONS: Final = (
    Function(
        "leadbridge_accept",
        "(group_of_rows json, payloads bytea[]) RETURNS SETOF bytea",
        {"lock_timeout": f"{LOCK_SECONDS}s"},
        f"""
BEGIN
PERFORM {TURN};
RETURN QUERY {_ACCEPT};
END """,
    ),
    Function(
        "leadbridge_settle",
        "(group_of_rows json, of_lanes text[]) RETURNS TABLE (lost_lane text, lost_fence int)",
        {"lock_timeout": f"{ROW_MILLISECONDS}ms", **_PLAN},
        f"""
BEGIN
RETURN QUERY {_SETTLE.format(skip="", free="", is_free="", result=_LOST)};
END """,
    ),
    # For a group in which some rows are locked by another transaction: the others are written.
    Function(
        "leadbridge_settle_unlocked",
        "(group_of_rows json, of_lanes text[]) RETURNS TABLE (lost_lane text, lost_fence int, locked bigint)",
        {"lock_timeout": f"{ROW_MILLISECONDS}ms", **_PLAN},
        f"""
BEGIN
RETURN QUERY {_SETTLE.format(skip=" SKIP LOCKED", free=_FREE, is_free=_IS_FREE, result=_LOST_OR_LOCKED)};
END """,
    ),
)
"""All of them."""
_PRESENT: Final = text(
    "SELECT proname, prosrc, proconfig FROM pg_proc "
    "WHERE proname = ANY(:names) AND pronamespace = CAST(current_schema() AS regnamespace)"
)


def functions_differ(connection: Connection) -> bool:
    """Return True if a function in the database is missing or differs from this version's."""
    found = connection.execute(_PRESENT, {"names": [each.name for each in FUNCTIONS]})
    present = {name: (body, sorted(config or ())) for name, body, config in found}
    wanted = {
        each.name: (each.body, sorted(f"{name}={value}" for name, value in each.settings.items())) for each in FUNCTIONS
    }
    return any(present.get(name) != function for name, function in wanted.items())


def make_functions(connection: Connection) -> None:
    """Create or replace the functions."""
    for each in FUNCTIONS:
        connection.execute(text(each.statement))


class PostgresQueueWriter:
    """The functions of one connection; the counterpart of `bridge.store.sqlite_queue.SqliteQueueWriter`."""

    rows_limit = _ROWS_LIMIT

    def __init__(self, connection: Connection) -> None:
        self._driver = raw(connection)
        self._info = connection.info

    def accept(self, rows: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Write rows of `ACCEPTED` with different ids. Returns the ids of known events, which stay as they are."""
        payloads = [row[_PAYLOAD] for row in rows]
        given = _json([_event(row) for row in rows])
        new = self._driver.execute(_CALL_ACCEPT, (given, payloads), binary=True).fetchall()
        added = {event_id for (event_id,) in new}
        return [row[0] for row in rows if row[0] not in added]

    def settle(self, rows: Sequence[tuple[Any, ...]]) -> SettleResult:
        """Write rows of `SETTLED`, except those of lost leases and those that another transaction has locked."""
        lanes = list({row[_LANE] for row in rows})
        given = _json([dict(zip(SETTLED, row, strict=True)) for row in rows])
        if time.monotonic() >= self._info.get(_SKIPS, 0.0):
            try:
                return SettleResult(set(self._driver.execute(_CALL_SETTLE, (given, lanes)).fetchall()))
            except Exception as error:
                if getattr(error, "sqlstate", None) != LOCK_NOT_AVAILABLE or self._driver.info.transaction_status:
                    raise
            self._info[_SKIPS] = time.monotonic() + SKIP_SECONDS
        found = self._driver.execute(_CALL_SETTLE_UNLOCKED, (given, lanes)).fetchall()
        return SettleResult(
            {(lane, fence) for lane, fence, _ in found if lane is not None},
            frozenset(locked for _, _, locked in found if locked is not None),
        )


_CALL_ACCEPT = "SELECT leadbridge_accept(%s::json, %b::bytea[])"
_CALL_SETTLE = "SELECT lost_lane, lost_fence FROM leadbridge_settle(%s::json, %s::text[])"
_CALL_SETTLE_UNLOCKED = "SELECT lost_lane, lost_fence, locked FROM leadbridge_settle_unlocked(%s::json, %s::text[])"
_SKIPS = "rows locked"
"""Key in a connection's `info` for the time until which no outcome waits for a row."""
_PAYLOAD = ACCEPTED.index("payload")
_LANE = SETTLED.index("lane")


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    event_id, received_at, chatbot, state, kind, form, _, contact, phone, verified_by, deliveries, _ = row
    return {
        "id": event_id.hex(),
        "received_at": received_at,
        "chatbot": chatbot,
        "state": state,
        "type": kind,
        "form": form,
        "contact": contact,
        "phone": phone,
        "verified_by": verified_by,
        "deliveries": orjson.Fragment(deliveries),
    }


def _json(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows as JSON. PostgreSQL's text cannot hold the character NUL, so U+FFFD stands in its place."""
    written = orjson.dumps(rows)
    return (_NUL.sub(rb"\1\\ufffd", written) if b"\\u0000" in written else written).decode()
