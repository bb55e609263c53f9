"""Events: search for them, find one by the beginning of its id, and show it with its payload and deliveries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from bridge.errors import NotFoundError, OperatorError
from bridge.store import queries
from bridge.store.queries import DeliveryDetails, DeliveryRow, EventRow
from bridge.store.search import EventFilter, EventMatches, find_events

LEAST_DIGITS = 6
"""Fewest digits of an event's id that a person may write."""

_BEGINNING = re.compile(f"[0-9a-f]{{{LEAST_DIGITS},{queries.ID_DIGITS}}}")


@dataclass(frozen=True, slots=True, repr=False)
class EventDetails:
    """An event with its payload and its deliveries, in the order of its routes."""

    row: EventRow
    payload: bytes
    deliveries: Sequence[DeliveryRow]


def find_event(connection: Connection, beginning: str) -> EventRow:
    """Return the only event whose id begins with these digits, in upper or lower case.

    Raises NotFoundError, or OperatorError for a text that cannot be the beginning of an id.
    """
    if not _BEGINNING.fullmatch(beginning.lower()):
        raise OperatorError(
            f"{beginning}: not the id of an event, which is {queries.ID_DIGITS} hexadecimal digits, or its first "
            f"{LEAST_DIGITS} or more"
        )
    matches = queries.events_like(connection, beginning.lower())
    if not matches:
        raise NotFoundError(f"{beginning}: no event has this id", "events")
    if len(matches) > 1:
        raise NotFoundError(f"{beginning}: several events have an id that begins so; write more digits of it")
    return matches[0]


def search(connection: Connection, filters: Sequence[EventFilter], identity_key: bytes | None = None) -> EventMatches:
    """Return a page of events for the first filter that has any, or may have some on a later page.

    `identity_key` is the configuration's own; it finds the events of a person.
    """
    found = find_events(connection, filters[0], identity_key)
    for each in filters[1:]:
        if not found.rows and found.next is None:
            found = find_events(connection, each, identity_key)
    return found


def list_events(connection: Connection, criteria: EventFilter) -> Sequence[EventRow]:
    """Return up to `limit` events, newest first, from as many pages as that takes."""
    rows, page = list[EventRow](), search(connection, [criteria])
    while True:
        rows += page.rows
        if page.next is None or len(rows) >= criteria.limit:
            return rows[: criteria.limit]
        page = search(connection, [replace(criteria, before=page.next)])


def show(connection: Connection, beginning: str) -> EventDetails:
    """Read an event with its payload and its deliveries. Raises what `find_event` raises."""
    event = find_event(connection, beginning)
    return EventDetails(event, queries.payload(connection, event.seq), queries.deliveries_of(connection, event.seq))


def show_lead(connection: Connection, beginning: str) -> tuple[EventDetails, Sequence[DeliveryDetails]]:
    """Read an event as `show` does, and the attempts of its deliveries."""
    event = show(connection, beginning)
    stories = [queries.delivery_details(connection, each.id) for each in event.deliveries]
    return event, [each for each in stories if each]
