"""The changes that are committed in groups, and how a group is written: one statement per table and kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection

from bridge.errors import LeaseLostError
from bridge.store.base import DeliveryState, Lease, NewDelivery, Routed, Settlement
from bridge.store.driver import raw
from bridge.store.statements import Statements
from connectors.base import Reason

ROWS_LIMIT = 64
"""The most rows of one statement: what a group brings beyond it goes into another one of the same transaction."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accept:
    """Keep events with their deliveries. Result: for each whether it is new."""

    routed: Sequence[Routed]


@dataclass(frozen=True, slots=True)
class Settle:
    """Write what became of deliveries. Result: None, or LeaseLostError."""

    lease: Lease
    settlements: Sequence[Settlement]


@dataclass(frozen=True, slots=True)
class Call:
    """Anything else, as a function of the connection, inside the group's transaction. Result: what it returns."""

    function: Callable[[Connection], object]


Change = Accept | Settle | Call


def write(connection: Connection, statements: Statements, changes: Sequence[Change]) -> list[object]:
    """Write a group of changes inside the transaction that is open, and give each one's result, in their order."""
    accepts = [change for change in changes if isinstance(change, Accept)]
    settles = [change for change in changes if isinstance(change, Settle)]
    driver = raw(connection)
    accepted = iter(_accept(driver, statements, accepts))
    settled = iter(_settle(driver, statements, settles))
    results: list[object] = []
    for change in changes:
        if isinstance(change, Accept):
            results.append(next(accepted))
        elif isinstance(change, Settle):
            results.append(next(settled))
        else:
            results.append(change.function(connection))
    return results


def _accept(
    driver: Any,  # noqa: ANN401 - the driver's own type
    statements: Statements,
    accepts: Sequence[Accept],
) -> list[list[bool]]:
    """Write events and deliveries.

    Which events are known is asked first and the rows get consecutive ids, instead of having them returned by the
    insert: sqlite3 gives up and retakes the interpreter lock for each returned row. The write transaction keeps others
    out meanwhile, and the unique index is there all the same.
    """
    if not accepts:
        return []
    routed: dict[bytes, Routed] = {}
    for accept in accepts:
        for each in accept.routed:
            # Of an event that stands in the group twice, the first is the new one.
            routed.setdefault(bytes.fromhex(each.event.id), each)
    for ids in _chunks(list(routed)):
        for (known,) in driver.execute(statements.known_events.rows(len(ids)), ids).fetchall():
            del routed[known]
    deliveries: list[tuple[Any, ...]] = []
    for new in _chunks(list(routed.items())):
        rows = [_event_row(event_id, each) for event_id, each in new]
        last = driver.execute(statements.accept_events.rows(len(rows)), _flat(rows)).lastrowid
        for seq, (_, each) in enumerate(new, last - len(new) + 1):
            deliveries += [_delivery_row(seq, each, delivery) for delivery in each.deliveries]
    for part in _chunks(deliveries):
        driver.execute(statements.accept_deliveries.rows(len(part)), _flat(part))
    return [[routed.pop(bytes.fromhex(each.event.id), None) is each for each in accept.routed] for accept in accepts]


def _event_row(event_id: bytes, routed: Routed) -> tuple[Any, ...]:
    event = routed.event
    return (
        event_id,
        event.received_at,
        event.chatbot,
        event.state.value,
        event.type,
        event.form.value,
        event.payload,
    )


def _delivery_row(seq: int, routed: Routed, delivery: NewDelivery) -> tuple[Any, ...]:
    now = routed.event.received_at
    row = (seq, delivery.route, delivery.destination, routed.event.contact)
    if delivery.problem is None:
        return (*row, DeliveryState.PENDING.value, now, None, None, None)
    return (*row, DeliveryState.DEAD.value, None, now, Reason.MAPPING.value, delivery.problem)


def _settle(
    driver: Any,  # noqa: ANN401 - the driver's own type
    statements: Statements,
    settles: Sequence[Settle],
) -> list[LeaseLostError | None]:
    if not settles:
        return []
    names = sorted({settle.lease.lane for settle in settles})
    fences = dict(driver.execute(statements.fences.rows(len(names)), names).fetchall())
    held = [fences.get(settle.lease.lane) == settle.lease.fence for settle in settles]
    settlements = [each for settle, ours in zip(settles, held, strict=True) if ours for each in settle.settlements]
    for rows in _chunks([_settlement_row(each) for each in settlements]):
        driver.execute(statements.settle_deliveries.rows(len(rows)), _flat(rows))
    for rows in _chunks([_attempt_row(each) for each in settlements if each.attempt]):
        driver.execute(statements.settle_attempts.rows(len(rows)), _flat(rows))
    return [
        None if ours else LeaseLostError(f"lane {settle.lease.lane}: another process has taken it over")
        for settle, ours in zip(settles, held, strict=True)
    ]


def _settlement_row(each: Settlement) -> tuple[Any, ...]:
    return (
        each.delivery,
        each.state.value,
        each.due_at,
        each.attempts,
        each.failures,
        each.failing_since,
        each.settled_at,
        each.reason.value if each.reason else None,
        each.detail,
        each.warning,
        each.remote_id,
        each.remote_url,
        orjson.dumps(dict(each.memo)).decode() if each.memo else None,
    )


def _attempt_row(each: Settlement) -> tuple[Any, ...]:
    attempt = each.attempt
    assert attempt is not None  # noqa: S101 - the caller has just filtered by it
    return (
        each.delivery,
        attempt.number,
        attempt.started_at,
        attempt.duration,
        attempt.outcome,
        attempt.reason.value if attempt.reason else None,
        attempt.status,
        attempt.detail,
    )


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), ROWS_LIMIT):
        yield rows[start : start + ROWS_LIMIT]


def _flat(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]
