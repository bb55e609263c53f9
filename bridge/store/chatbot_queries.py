"""Chatbots and causes of trouble: last events, days with leads, and what waits or was given up. Reads only.

Each query examines a bounded number of rows, or the tally, so its cost does not grow with the store.
"""

from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Subquery, case, cast, func, select, true

from bridge.event import EventState, Form
from bridge.store.interface import DeliveryState
from bridge.store.key_range import key_ends
from bridge.store.queries import in_state, pending_destinations
from bridge.store.schema import deliveries, events, proofs, tally
from bridge.store.search import newest_of_each
from bridge.store.tally import sql_day
from bridge.store.transaction import read_once

NEWEST: Final = 3_000
"""Most events, dead letters and warnings that are examined: the newest of each. A row takes up to 40 µs."""
NEWEST_OWN: Final = 10_000
"""Most dead letters, warnings and unrecognised events among which those of some chatbots are found."""
NEWEST_WAITING: Final = 10_000
"""Most waiting deliveries that are examined, in equal shares of the destinations."""


class LastEvents(NamedTuple):
    """Times of a chatbot's last events among the newest."""

    lead_at: float | None
    signed_at: float | None
    """Receipt of the last event whose signature held."""


class DeliveryGroup(NamedTuple):
    """Deliveries of one chatbot to one destination that have the same trouble."""

    destination: str
    reason: str | None
    chatbot: str | None
    number: int
    first_at: float
    last_at: float
    last_seq: int
    """Number of the newest event."""


class WaitingDay(NamedTuple):
    """Waiting deliveries of one chatbot whose leads were received on one day."""

    day: int
    """Days since the epoch, UTC."""
    chatbot: str | None
    number: int


class EventGroup(NamedTuple):
    """Events of one chatbot that were not recognised."""

    chatbot: str | None
    number: int
    first_at: float
    last_at: float
    last_seq: int


def last_events(connection: Connection) -> dict[str, LastEvents]:
    """Return the times of the last events of each chatbot with any among the newest."""
    low = key_ends(connection, events.c.seq)[1] - NEWEST
    lead_at = func.max(case((events.c.state == EventState.ACCEPTED.value, events.c.received_at)))
    signed_at = func.max(case((events.c.form != Form.UNSIGNED.value, events.c.received_at)))
    query = select(events.c.chatbot, lead_at, signed_at).where(events.c.seq >= low, events.c.chatbot.is_not(None))
    return {row[0]: LastEvents(row[1], row[2]) for row in connection.execute(query.group_by(events.c.chatbot))}


def proof_times(connection: Connection) -> dict[str, float]:
    """Return when the keys that verified a chatbot's last event did so for the first time, by chatbot."""
    return {row.chatbot: row.proved_at for row in connection.execute(select(proofs.c.chatbot, proofs.c.proved_at))}


@read_once
def lead_days(connection: Connection, since: int) -> dict[str, dict[int, int]]:
    """Return the numbers of leads of the days with any from a day on, by chatbot and by days since the epoch."""
    counted = tally.c.destination == "", tally.c.state == EventState.ACCEPTED.value
    leads = cast(func.sum(tally.c["count"]), tally.c["count"].type)
    query = (
        select(tally.c.chatbot, tally.c.day, leads)
        .where(tally.c.day >= since, *counted)
        .group_by(tally.c.chatbot, tally.c.day)
        .having(func.sum(tally.c["count"]) > 0)
        .order_by(tally.c.chatbot, tally.c.day)
    )
    found: dict[str, dict[int, int]] = {}
    for chatbot, day, count in connection.execute(query):
        found.setdefault(chatbot, {})[day] = count
    return found


@read_once
def dead_groups(connection: Connection, only: AbstractSet[str] | None = None) -> list[DeliveryGroup]:
    """Group the newest dead letters by destination, reason and chatbot; with `only`, those of these chatbots."""
    return _groups(connection, in_state(deliveries.c.state, DeliveryState.DEAD.value), only)


def warned_groups(connection: Connection, since: float, only: AbstractSet[str] | None = None) -> list[DeliveryGroup]:
    """Group the newest deliveries that had a warning since a time; with `only`, those of these chatbots."""
    found = _groups(connection, deliveries.c.warning.is_not(None), only, since)
    return [each._replace(reason=None) for each in found]


@read_once
def waiting_groups(connection: Connection, only: AbstractSet[str] | None = None) -> list[DeliveryGroup]:
    """Group the newest waiting deliveries of each destination; the times are those of their receipt.

    With `only`, those of these chatbots.
    """
    newest = _newest_waiting(connection)
    if newest is None:
        return []
    received_at = events.c.received_at
    query = (
        select(
            newest.c.destination,
            events.c.chatbot,
            func.count(),
            func.min(received_at),
            func.max(received_at),
            func.max(newest.c.event_seq),
        )
        .select_from(newest.join(events, events.c.seq == newest.c.event_seq))
        .where(_of(only))
        .group_by(newest.c.destination, events.c.chatbot)
    )
    return [DeliveryGroup(row[0], None, *row[1:]) for row in connection.execute(query)]


def waiting_days(connection: Connection, only: AbstractSet[str] | None = None) -> list[WaitingDay]:
    """Count the newest waiting deliveries by the day of their receipt and by chatbot, or `only` of these chatbots."""
    newest = _newest_waiting(connection)
    if newest is None:
        return []
    day = sql_day(events.c.received_at, floor=connection.dialect.name == "postgresql").label("day")
    query = (
        select(day, events.c.chatbot, func.count())
        .select_from(newest.join(events, events.c.seq == newest.c.event_seq))
        .where(_of(only))
        .group_by("day", events.c.chatbot)
    )
    return [WaitingDay(*row) for row in connection.execute(query)]


def unrecognised_groups(connection: Connection, only: AbstractSet[str] | None = None) -> list[EventGroup]:
    """Group the newest unrecognised events by chatbot; with `only`, those of these chatbots."""
    newest = (
        select(events.c.seq, events.c.chatbot, events.c.received_at)
        .where(in_state(events.c.state, EventState.UNRECOGNISED.value))
        .order_by(events.c.seq.desc())
        .limit(NEWEST if only is None else NEWEST_OWN)
        .subquery("newest")
    )
    at = newest.c.received_at
    query = select(newest.c.chatbot, func.count(), func.min(at), func.max(at), func.max(newest.c.seq))
    if only is not None:
        query = query.where(newest.c.chatbot.in_(only))
    return [EventGroup(*row) for row in connection.execute(query.group_by(newest.c.chatbot))]


def _newest_waiting(connection: Connection) -> Subquery | None:
    """Return the newest waiting deliveries of each destination; None if nothing waits."""
    names = len(pending_destinations(connection))
    beyond = key_ends(connection, deliveries.c.id)[1]
    return newest_of_each(connection, max(1, NEWEST_WAITING // names), beyond).subquery("newest") if names else None


def _groups(
    connection: Connection, chosen: ColumnElement[bool], only: AbstractSet[str] | None, since: float = 0.0
) -> list[DeliveryGroup]:
    """Group the newest settled deliveries that a condition selects, by destination, reason and chatbot."""
    columns = deliveries.c
    # An index holds these columns, so the rows of other chatbots' deliveries are not read.
    newest = (
        select(columns.id, columns.event_seq)
        .where(chosen)
        .order_by(columns.id.desc())
        .limit(NEWEST if only is None else NEWEST_OWN)
        .subquery("newest")
    )
    at = columns.settled_at
    query = (
        select(
            columns.destination,
            columns.reason,
            events.c.chatbot,
            func.count(),
            func.min(at),
            func.max(at),
            func.max(newest.c.event_seq),
        )
        .select_from(
            newest.join(events, events.c.seq == newest.c.event_seq).join(deliveries, columns.id == newest.c.id)
        )
        .where(_of(only), at >= since)
        .group_by(columns.destination, columns.reason, events.c.chatbot)
    )
    return [DeliveryGroup(*row) for row in connection.execute(query)]


def _of(only: AbstractSet[str] | None) -> ColumnElement[bool]:
    return true() if only is None else events.c.chatbot.in_(only)
