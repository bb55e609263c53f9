"""The two hot ways into PostgreSQL's tables: many events, or many outcomes, with one call of a function of ours each.

A function keeps its statement's plan from call to call, where a prepared statement would need the session to be the
same one (behind a pooler it is not); parsing and planning anew cost as much as writing twenty events. `migrate` makes
the functions. A call takes all rows of a group as one JSON array: the driver then converts one parameter instead of
thousands. Where it is not inside a transaction it is one by itself, which the server ends without waiting for this
process; so a process that is stopped at any moment never leaves a lock behind.

**Order.** A lane reads its queue on from the highest id that it knows, so ids must become visible in their order.
PostgreSQL gives them out before the commit, and of two processes that accept at once the one with the lower ids may
commit later. So whoever accepts takes its turn first, by a lock that lasts until its commit (`TURN`). That costs
little, since a commit carries all that waits. What follows it in the function sees what was committed while it waited,
the numbers of shards too, which are changed in such a turn
(https://www.postgresql.org/docs/current/xfunc-volatility.html: volatile functions obtain a fresh snapshot at the start
of each query they execute).
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from bridge.store.driver import raw
from bridge.store.inlets import ACCEPTED, SETTLED
from bridge.store.sharding import TURN, mark_text

LOCK_SECONDS = 5
"""How long a statement waits for what another transaction holds before the sender is told to come again."""

_ROWS_LIMIT = 4_096
_NUL = b"\\u0000"
_REPLACED = b"\\ufffd"

_ACCEPT = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM ROWS FROM (
    json_to_recordset(group_of_rows) AS (id text, received_at float8, chatbot text, state text, type text, form text,
      contact bigint, deliveries json),
    unnest(payloads)
  ) WITH ORDINALITY AS g(id, received_at, chatbot, state, type, form, contact, deliveries, payload, place)
), split AS MATERIALIZED (
  SELECT name, shards FROM lanes WHERE shards > 1
), added AS (
  INSERT INTO events (id, received_at, chatbot, state, type, form, payload)
    SELECT decode(g.id, 'hex'), g.received_at, g.chatbot, g.state, g.type, g.form, g.payload
    FROM given g ORDER BY g.place
    ON CONFLICT (id) DO NOTHING
    RETURNING seq, id
), queued AS (
  INSERT INTO deliveries (event_seq, route, destination, contact, shard, state, due_at, settled_at, reason, detail)
    SELECT added.seq, d.value ->> 0, d.value ->> 1, g.contact,
      {mark_text("s.shards", "g.contact")},
      CASE WHEN d.value ->> 2 IS NULL THEN 'pending' ELSE 'dead' END,
      CASE WHEN d.value ->> 2 IS NULL THEN g.received_at END,
      CASE WHEN d.value ->> 2 IS NOT NULL THEN g.received_at END,
      CASE WHEN d.value ->> 2 IS NOT NULL THEN 'mapping' END,
      d.value ->> 2
    FROM added JOIN given g ON decode(g.id, 'hex') = added.id
      CROSS JOIN LATERAL json_array_elements(g.deliveries) WITH ORDINALITY AS d(value, place)
      LEFT JOIN split s ON s.name = d.value ->> 1
    ORDER BY added.seq, d.place
)
SELECT added.id FROM added"""  # noqa: S608 - our own words

# The lock on the lane's row has a process that takes the lane over wait for this commit, and this statement for its;
# what it then reads of the row is the newest. The UPDATE leaves alone what an operator has ended meanwhile; the
# attempt was made all the same. Of a delivery that has been erased, or moved to another route, nothing is kept: it is
# tried there as if it had not been. An attempt that is there already was written by this same settlement, when the
# answer to its commit was lost.
_SETTLE = """
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(group_of_rows) AS g(
    delivery bigint, route text, state text, due_at float8, attempts int, failures int, failing_since float8,
    settled_at float8, reason text, detail text, warning text, remote_id text, remote_url text, memo text, number int,
    started_at float8, duration float8, outcome text, attempt_reason text, status int, attempt_detail text,
    lane text, fence int)
), held AS MATERIALIZED (
  SELECT name, fence FROM lanes WHERE name = ANY(of_lanes) ORDER BY name FOR SHARE
), mine AS MATERIALIZED (
  SELECT g.* FROM given g JOIN held ON held.name = g.lane AND held.fence = g.fence
), written AS (
  UPDATE deliveries SET
    state = m.state, due_at = m.due_at, attempts = m.attempts, failures = m.failures,
    failing_since = m.failing_since, settled_at = m.settled_at, reason = m.reason, detail = m.detail,
    warning = m.warning, remote_id = m.remote_id, remote_url = m.remote_url, memo = m.memo
  FROM mine m WHERE deliveries.id = m.delivery AND deliveries.route = m.route AND deliveries.state = 'pending'
), tried AS (
  INSERT INTO attempts (delivery_id, number, started_at, duration, outcome, reason, status, detail)
    SELECT m.delivery, m.number, m.started_at, m.duration, m.outcome, m.attempt_reason, m.status, m.attempt_detail
    FROM mine m JOIN deliveries ON deliveries.id = m.delivery AND deliveries.route = m.route
    WHERE m.number IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM attempts a
      WHERE a.delivery_id = m.delivery AND a.number = m.number AND a.started_at = m.started_at)
)
SELECT DISTINCT g.lane, g.fence FROM given g
WHERE NOT EXISTS (SELECT 1 FROM held WHERE held.name = g.lane AND held.fence = g.fence)"""


FUNCTIONS: Final = (
    f"""
CREATE OR REPLACE FUNCTION leadbridge_accept(group_of_rows json, payloads bytea[]) RETURNS SETOF bytea
LANGUAGE plpgsql SET lock_timeout = '{LOCK_SECONDS}s' AS $$
BEGIN
PERFORM {TURN};
RETURN QUERY {_ACCEPT};
END $$""",
    # The plan is kept while the tables grow under it, so it may not be one that suits an empty table.
    f"""
CREATE OR REPLACE FUNCTION leadbridge_settle(group_of_rows json, of_lanes text[])
RETURNS TABLE (lost_lane text, lost_fence int)
LANGUAGE plpgsql SET lock_timeout = '{LOCK_SECONDS}s'
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
RETURN QUERY {_SETTLE};
END $$""",
)
"""What makes the functions, or puts the present ones in the place of earlier ones."""


class PostgresInlets:
    """Those of one connection; the counterpart of `bridge.store.inlets.Inlets`."""

    rows_limit = _ROWS_LIMIT

    def __init__(self, connection: Connection) -> None:
        self._driver = raw(connection)

    def accept(self, rows: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Write rows of `ACCEPTED` with different ids; give the ids of known events, which stay as they are."""
        payloads = [row[_PAYLOAD] for row in rows]
        given = _json([_event(row) for row in rows])
        new = self._driver.execute(_CALL_ACCEPT, (given, payloads), binary=True).fetchall()
        added = {event_id for (event_id,) in new}
        return [row[0] for row in rows if row[0] not in added]

    def settle(self, rows: Sequence[tuple[Any, ...]]) -> set[tuple[str, int]]:
        """Write rows of `SETTLED`; give the leases (lane and fence) that are lost: nothing came of their rows."""
        lanes = list({row[_LANE] for row in rows})
        given = _json([dict(zip(SETTLED, row, strict=True)) for row in rows])
        return set(self._driver.execute(_CALL_SETTLE, (given, lanes)).fetchall())


_CALL_ACCEPT = "SELECT leadbridge_accept(%s::json, %b::bytea[])"
_CALL_SETTLE = "SELECT lost_lane, lost_fence FROM leadbridge_settle(%s::json, %s::text[])"
_PAYLOAD = ACCEPTED.index("payload")
_LANE = SETTLED.index("lane")


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    event_id, received_at, chatbot, state, kind, form, _, contact, deliveries = row
    return {
        "id": event_id.hex(),
        "received_at": received_at,
        "chatbot": chatbot,
        "state": state,
        "type": kind,
        "form": form,
        "contact": contact,
        "deliveries": orjson.Fragment(deliveries),
    }


def _json(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows as JSON. PostgreSQL's text cannot hold the character NUL, so U+FFFD stands in its place."""
    return orjson.dumps(rows).replace(_NUL, _REPLACED).decode()
