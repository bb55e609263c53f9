"""The changes that are committed in groups, and how a group is written: one statement for each kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import orjson
from sqlalchemy import Connection

from bridge.errors import LeaseLostError
from bridge.store.encryption import KeyRing, keys_of
from bridge.store.interface import Attempt, Lease, NewDelivery, RoutedEvent, Settlement
from bridge.store.postgres_queue import PostgresInlets
from bridge.store.sqlite_queue import Inlets

T = TypeVar("T")


class Accept(NamedTuple):
    """Keep events with their deliveries. Result: for each whether it is new."""

    routed: Sequence[RoutedEvent]


@dataclass(frozen=True, slots=True)
class Settle:
    """Write what became of deliveries. Result: the ids of those that are locked, or LeaseLostError."""

    lease: Lease
    settlements: Sequence[Settlement]


@dataclass(frozen=True, slots=True)
class Call:
    """Anything else, as a function of the connection, inside the group's transaction. Result: what it returns."""

    function: Callable[[Connection], object]


Change = Accept | Settle | Call


def write(connection: Connection, changes: Sequence[Change]) -> list[object]:
    """Write a group of changes inside the transaction that is open, and give each one's result, in their order."""
    inlets, keys = _inlets(connection), keys_of(connection)
    accepted = iter(_accept(inlets, keys, [change for change in changes if isinstance(change, Accept)]))
    settled = iter(_settle(inlets, keys, [change for change in changes if isinstance(change, Settle)]))
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
    """Tell whether `write` writes the group with one statement: then that is a transaction by itself."""
    kinds = {type(change) for change in changes}
    limit = _inlets(connection).rows_limit
    if kinds == {Accept}:
        return sum(len(change.routed) for change in changes if isinstance(change, Accept)) <= limit
    return kinds == {Settle} and sum(len(c.settlements) for c in changes if isinstance(c, Settle)) <= limit


def _inlets(connection: Connection) -> Inlets | PostgresInlets:
    return PostgresInlets(connection) if connection.dialect.name == "postgresql" else Inlets.of(connection)


def _accept(inlets: Inlets | PostgresInlets, keys: KeyRing, accepts: Sequence[Accept]) -> list[list[bool]]:
    asked = [[(bytes.fromhex(each.event.id), each) for each in accept.routed] for accept in accepts]
    routed: dict[bytes, RoutedEvent] = {}
    for pairs in asked:
        for event_id, each in pairs:
            # Of an event that stands in the group twice, the first is the new one.
            routed.setdefault(event_id, each)
    for part in _chunks(list(routed.items()), inlets.rows_limit):
        for known in inlets.accept([_event_row(keys, event_id, each) for event_id, each in part]):
            del routed[known]
    return [[routed.pop(event_id, None) is each for event_id, each in pairs] for pairs in asked]


def _event_row(keys: KeyRing, event_id: bytes, routed: RoutedEvent) -> tuple[Any, ...]:
    event = routed.event
    return (
        event_id,
        event.received_at,
        event.chatbot,
        event.state.value,
        event.type,
        event.form.value,
        keys.seal(event.payload, "events.payload", event_id),
        event.contact,
        event.phone,
        " ".join(event.verified_by),
        _as_json(_sealed(keys, event_id, routed.deliveries)),
    )


def _sealed(keys: KeyRing, event_id: bytes, deliveries: tuple[NewDelivery, ...]) -> tuple[NewDelivery, ...]:
    """Encrypt why a delivery cannot be made, where one of them cannot."""
    if not any(each.problem for each in deliveries):
        return deliveries
    return tuple(
        each._replace(problem=keys.seal_text(each.problem, "deliveries.detail", event_id, each.route))
        for each in deliveries
    )


@lru_cache(maxsize=1_024)
def _as_json(deliveries: tuple[NewDelivery, ...]) -> str:
    """Give the deliveries as `inlets` takes them; nearly every event of a chatbot has the same."""
    return orjson.dumps([tuple(each) for each in deliveries]).decode()


def _settle(
    inlets: Inlets | PostgresInlets, keys: KeyRing, settles: Sequence[Settle]
) -> list[frozenset[int] | LeaseLostError]:
    lost: set[tuple[str, int]] = set()
    locked: set[int] = set()
    rows = [_settlement_row(keys, settle.lease, each) for settle in settles for each in settle.settlements]
    for part in _chunks(rows, inlets.rows_limit):
        settled = inlets.settle(part)
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
    )


_NO_ATTEMPT = (None,) * 7


def _attempt_values(keys: KeyRing, event_id: tuple[bytes, ...], attempt: Attempt) -> tuple[Any, ...]:
    return (
        attempt.number,
        attempt.started_at,
        attempt.duration,
        attempt.outcome,
        attempt.reason.value if attempt.reason else None,
        attempt.status,
        # Not its route: a delivery that is moved to another one keeps its attempts.
        keys.seal_text(attempt.detail, "attempts.detail", *event_id, attempt.number, attempt.started_at),
    )


def _chunks(rows: Sequence[T], limit: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), limit):
        yield rows[start : start + limit]
