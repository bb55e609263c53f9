"""Events: search for them, find one by the beginning of its id, show it, and discard unrecognised ones.

A function that changes something runs inside the caller's transaction and writes its audit entry there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from bridge.errors import ConflictError, NotFoundError, OperatorError
from bridge.event import EventState
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.store import audit_log, commands, queries
from bridge.store.filter import EventFilter
from bridge.store.queries import DeliveryDetails, DeliveryRow, EventRow
from bridge.store.search import EventMatches, find_events

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


def discard(connection: Connection, who: Who, beginning: str, now: float) -> ActionResult:
    """Delete an unrecognised event for good. Raises what `find_event` raises, or ConflictError for another event."""
    event = find_event(connection, beginning)
    if not commands.discard_unrecognised(connection, [event.seq]):
        raise ConflictError(
            f"event {event.id}: is {event.state.value}; only unrecognised events are discarded. Discard its deliveries "
            "instead, or erase the person"
        )
    entry = Entry(who, Action.DISCARD, Subject.EVENT, event.id, facts={"was": event.state.value})
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"event {event.id}: was {event.state.value}, is deleted",), (entry,))


def unrecognised(connection: Connection, chatbot: str | None) -> list[int]:
    """Return the numbers of the newest unrecognised events, at most those of one transaction."""
    criteria = EventFilter(chatbot, EventState.UNRECOGNISED, limit=commands.IDS_LIMIT)
    return [row.seq for row in list_events(connection, criteria)]


def discard_step(connection: Connection, who: Who, seqs: Sequence[int], entry: int | None, now: float) -> int:
    """Delete the next unrecognised events, and return the id of the audit entry, whose count grows with each step."""
    if entry is None:
        facts = {"state": EventState.UNRECOGNISED.value}
        entry = audit_log.add_entry(connection, Entry(who, Action.DISCARD_ALL, count=0, facts=facts), now)
    audit_log.add(connection, entry, commands.discard_unrecognised(connection, seqs))
    return entry


def show(connection: Connection, beginning: str) -> EventDetails:
    """Read an event with its payload and its deliveries. Raises what `find_event` raises."""
    event = find_event(connection, beginning)
    return EventDetails(event, queries.payload(connection, event.seq), queries.deliveries_of(connection, event.seq))


def show_lead(
    connection: Connection, beginning: str, *, exchanges: bool = False
) -> tuple[EventDetails, Sequence[DeliveryDetails]]:
    """Read an event as `show` does, and the attempts of its deliveries, with requests and answers if asked for."""
    event = show(connection, beginning)
    stories = [queries.delivery_details(connection, each.id, exchanges=exchanges) for each in event.deliveries]
    return event, [each for each in stories if each]
