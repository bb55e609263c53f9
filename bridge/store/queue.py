"""Changes that are committed in groups. A group is written with one statement for each kind of change."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import orjson
import structlog
from sqlalchemy import Connection, literal_column, or_, select

from bridge.errors import LeaseLostError
from bridge.store.encryption import DamagedError, KeyRing, keys_of
from bridge.store.interface import Attempt, Delivery, DeliveryState, Lease, NewDelivery, RoutedEvent, Settlement
from bridge.store.postgres_queue import PostgresQueueWriter
from bridge.store.schema import deliveries as queue
from bridge.store.schema import events
from bridge.store.sqlite_queue import SqliteQueueWriter
from bridge.store.tally import bucket_of, day_of
from connectors.base import WrittenRecord

log = structlog.get_logger()

T = TypeVar("T")

_QueueWriter: TypeAlias = SqliteQueueWriter | PostgresQueueWriter


class Accept(NamedTuple):
    """Stores events with their deliveries. The result is a list: True for each new event."""

    routed: Sequence[RoutedEvent]


class Settle(NamedTuple):
    """Writes outcomes of deliveries. The result is the ids of the locked deliveries, or LeaseLostError."""

    lease: Lease
    settlements: Sequence[Settlement]


@dataclass(frozen=True, slots=True)
class CustomChange:
    """Any other change: a function that is called with the connection in the group's transaction."""

    function: Callable[[Connection], object]


Change = Accept | Settle | CustomChange


def write(connection: Connection, changes: Sequence[Change]) -> list[object]:
    """Write a group of changes in the open transaction, and return their results in order."""
    writer, keys = _queue_writer(connection), keys_of(connection)
    accepted = iter(_accept(writer, keys, [change for change in changes if isinstance(change, Accept)]))
    settled = iter(_settle(writer, keys, [change for change in changes if isinstance(change, Settle)]))
    results: list[object] = []
    for change in changes:
        if isinstance(change, Accept):
            results.append(next(accepted))
        elif isinstance(change, Settle):
            results.append(next(settled))
        else:
            results.append(change.function(connection))
    return results


def is_one_statement(connection: Connection, changes: Sequence[Change]) -> bool:
    """Return True if `write` writes the group with one statement, which is then a transaction by itself."""
    kinds = {type(change) for change in changes}
    limit = _queue_writer(connection).rows_limit
    if kinds == {Accept}:
        return sum(len(change.routed) for change in changes if isinstance(change, Accept)) <= limit
    return kinds == {Settle} and sum(len(c.settlements) for c in changes if isinstance(c, Settle)) <= limit


def delivery_of(keys: KeyRing, row: Sequence[Any]) -> Delivery:
    """Decrypt a row of `QueueReader.read` and return its delivery."""
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


def written_records(connection: Connection, deliveries: Sequence[int]) -> dict[int, WrittenRecord]:
    """Read what the last settled delivery of the same contact to the same destination has left there, by delivery.

    A dead letter counts too: it may have created the person before its lead was refused.
    """
    earlier, latest = queue.alias("earlier"), queue.alias("latest")
    last = (
        select(latest.c.id)
        .where(
            latest.c.contact == queue.c.contact,
            # A literal, so that the engine can use the partial index.
            latest.c.state != literal_column("'pending'"),
            latest.c.destination == queue.c.destination,
            or_(latest.c.remote_id.is_not(None), latest.c.memo.is_not(None)),
        )
        .order_by(latest.c.event_seq.desc(), latest.c.id.desc())
        .limit(1)
        .correlate(queue)
        .scalar_subquery()
    )
    query = (
        select(queue.c.id, events.c.id.label("event_id"), earlier.c.route, earlier.c.remote_id, earlier.c.memo)
        .select_from(queue.join(earlier, earlier.c.id == last).join(events, events.c.seq == earlier.c.event_seq))
        .where(queue.c.id.in_(deliveries))
    )
    keys, found = keys_of(connection), dict[int, WrittenRecord]()
    for row in connection.execute(query):
        try:
            remote_id = keys.open_text(row.remote_id, "deliveries.remote_id", row.event_id, row.route)
            memo = keys.open_text(row.memo, "deliveries.memo", row.event_id, row.route)
        except DamagedError as error:
            # The connector searches then, as for a new contact.
            log.error("row_damaged", delivery=row.id, error=str(error))  # noqa: TRY400 - the traceback tells nothing
            continue
        found[row.id] = WrittenRecord(remote_id, orjson.loads(memo) if memo else {})
    return found


def _queue_writer(connection: Connection) -> _QueueWriter:
    return (
        PostgresQueueWriter(connection) if connection.dialect.name == "postgresql" else SqliteQueueWriter.of(connection)
    )


def _accept(writer: _QueueWriter, keys: KeyRing, accepts: Sequence[Accept]) -> list[list[bool]]:
    routed: dict[str, RoutedEvent] = {}
    for accept in accepts:
        for each in accept.routed:
            # If the group holds an event twice, the first one is new.
            routed.setdefault(each.event.id, each)
    for part in _chunks(list(routed.values()), writer.rows_limit):
        for known in writer.accept([_event_row(keys, each) for each in part]):
            del routed[known.hex()]
    return [[routed.pop(each.event.id, None) is each for each in accept.routed] for accept in accepts]


def _event_row(keys: KeyRing, routed: RoutedEvent) -> tuple[Any, ...]:
    event, (deliveries, failed) = routed.event, _as_json(routed.deliveries)
    event_id = bytes.fromhex(event.id)
    if failed:
        deliveries, _ = _as_json(_sealed(keys, event_id, routed.deliveries))
    return (
        event_id,
        event.received_at,
        event.chatbot,
        str(event.state),
        event.type,
        str(event.form),
        keys.seal(event.payload, "events.payload", event_id),
        event.contact,
        event.phone,
        " ".join(event.verified_by),
        deliveries,
        failed,
    )


def _sealed(keys: KeyRing, event_id: bytes, deliveries: tuple[NewDelivery, ...]) -> tuple[NewDelivery, ...]:
    """Encrypt the problems of deliveries that cannot be made."""
    return tuple(
        each._replace(problem=keys.seal_text(each.problem, "deliveries.detail", event_id, each.route))
        for each in deliveries
    )


@lru_cache(maxsize=1_024)
def _as_json(deliveries: tuple[NewDelivery, ...]) -> tuple[str, bool]:
    """Return the deliveries as the queue writers take them, and whether one has a problem.

    Nearly all events of a chatbot have the same.
    """
    return orjson.dumps([tuple(each) for each in deliveries]).decode(), any(each.problem for each in deliveries)


def _settle(writer: _QueueWriter, keys: KeyRing, settles: Sequence[Settle]) -> list[frozenset[int] | LeaseLostError]:
    lost: set[tuple[str, int]] = set()
    locked: set[int] = set()
    rows = [_settlement_row(keys, settle.lease, each) for settle in settles for each in settle.settlements]
    for part in _chunks(rows, writer.rows_limit):
        settled = writer.settle(part)
        lost |= settled.lost
        locked |= settled.locked
    return [
        LeaseLostError(f"lane {settle.lease.lane}: another process has taken it over")
        if (settle.lease.lane, settle.lease.fence) in lost
        else _NONE_LOCKED
        if not locked
        else frozenset(each.delivery for each in settle.settlements if each.delivery in locked)
        for settle in settles
    ]


_NONE_LOCKED = frozenset[int]()


def _settlement_row(keys: KeyRing, lease: Lease, each: Settlement) -> tuple[Any, ...]:
    attempt = each.attempt
    row = (bytes.fromhex(each.event_id), each.route) if keys else ()
    memo = orjson.dumps(dict(each.memo)).decode() if each.memo else None
    return (
        each.delivery,
        each.route,
        each.state.value,
        each.due_at,
        each.attempts,
        each.failures,
        each.failing_since,
        each.settled_at,
        each.reason.value if each.reason else None,
        keys.seal_text(each.detail, "deliveries.detail", *row),
        keys.seal_text(each.warning, "deliveries.warning", *row),
        keys.seal_text(each.remote_id, "deliveries.remote_id", *row),
        keys.seal_text(each.remote_url, "deliveries.remote_url", *row),
        keys.seal_text(memo, "deliveries.memo", *row),
        *(_NO_ATTEMPT if attempt is None else _attempt_values(keys, row[:1], attempt)),
        lease.lane,
        lease.fence,
        *_place(each),
    )


def _place(each: Settlement) -> tuple[int | None, str, int]:
    """Return the day, the chatbot and the bucket of a settlement in the tally; no day if the delivery goes on."""
    if each.settled_at is None:
        return None, each.chatbot, 0
    delivered = each.state is DeliveryState.DELIVERED
    bucket = bucket_of(each.received_at, each.settled_at) if delivered else 0
    return day_of(each.settled_at), each.chatbot, bucket


_NO_ATTEMPT = (None,) * 8


def _attempt_values(keys: KeyRing, event_id: tuple[bytes, ...], attempt: Attempt) -> tuple[Any, ...]:
    return (
        attempt.number,
        attempt.started_at,
        attempt.duration,
        attempt.outcome,
        attempt.reason.value if attempt.reason else None,
        attempt.status,
        # Not bound to the route: a delivery that is moved to another route keeps its attempts.
        keys.seal_text(attempt.detail, "attempts.detail", *event_id, attempt.number, attempt.started_at),
        keys.seal_text(attempt.exchange, "exchanges.content", *event_id, attempt.number, attempt.started_at),
    )


def _chunks(rows: Sequence[T], limit: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), limit):
        yield rows[start : start + limit]
