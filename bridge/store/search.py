"""Search of events and deliveries: by person, id, state, cause and time, page by page. Reads only.

A page examines at most `SPAN` rows, so its cost does not grow with the store. If none of them match, the page is empty
and has a cursor to continue from. A person is found by the keyed hashes of the deliveries (`person_index`), so the
store keeps no second copy of an e-mail address or phone number.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Select, Subquery, exists, func, or_, select, text, true, tuple_

from bridge.event import EventState, decode, email_of, name_and_email, text_of
from bridge.identity import Identity
from bridge.store import installation
from bridge.store.encryption import DamagedError, KeyRing, keys_of
from bridge.store.filter import EVERYTHING, DeliveryFilter, EventFilter, Scope, in_state
from bridge.store.interface import DeliveryState
from bridge.store.key_range import first_delivery, key_ends, key_range, seq_at
from bridge.store.person_index import (
    LEAST_SEARCH_DIGITS,
    SETTLED,
    PersonKeys,
    email_keys,
    is_searchable,
    is_whole_number,
    phone_keys,
    settled,
)
from bridge.store.queries import DeliveryRow, EventRow, deliveries_in, events_in
from bridge.store.schema import deliveries, events
from bridge.store.transaction import read_once

SPAN = 50_000
"""Most rows that one page examines without an index: about ten milliseconds."""
READ_SPAN = 5_000
"""Most events whose payload one page reads."""
READ_BYTES = 16 * 1024 * 1024
"""Bytes of payloads after which a page reads no further event: about three times the usual size of a page."""
READ_AT_ONCE = 500
"""Events whose payloads are in memory together. Smaller parts cost more round trips to PostgreSQL."""
LOOK_SPAN = 5_000
"""Most deliveries in an indexed state that one page examines if the filter has more than the state."""
WAITING_SPAN = 50_000
"""Most pending deliveries that are searched for a person, the newest of each destination. The index by contact holds
settled deliveries only."""
AT_ONCE = 100
"""Most delivered records of one page, which become one call to a destination."""
FOUND_LIMIT = 500
"""Most events of one person that are considered."""

_NOT_DIGITS = re.compile(r"\D+", re.ASCII)
_INDEXED = {DeliveryState.PENDING, DeliveryState.DEAD}
"""States that have an index of their own."""
_UNDELIVERED = {EventState.TEST, EventState.UNRECOGNISED}
"""States of events without deliveries. The index by contact does not hold them."""


@dataclass(frozen=True, slots=True)
class EventMatches:
    """A page of events, newest first. `next` is the cursor of the next page, which even an empty page may have."""

    rows: list[EventRow]
    next: int | None


@dataclass(frozen=True, slots=True)
class DeliveryMatches:
    """A page of deliveries, newest first."""

    rows: list[DeliveryRow]
    next: int | None


def find_events(connection: Connection, criteria: EventFilter, identity_key: bytes | None = None) -> EventMatches:
    """Find a page of events. `identity_key` is `store.identity_key`, with which the key of a contact is computed.

    By e-mail address or whole phone number: the index finds all events with settled deliveries, and the newest
    `WAITING_SPAN` pending deliveries are searched too. Events without deliveries (tests, or no route matched) are found
    among the newest that one page reads, or by state, page by page.

    By the end of a phone number: reading on page by page finds all. The first page also shows older events that the
    index finds, and later pages show these again in their place.

    By a part of a name or an e-mail address: no index helps. Each page reads the payloads of `READ_SPAN` events.
    """
    low, high = key_range(connection, events.c.seq, criteria.since, criteria.until, criteria.before)
    if criteria.email or criteria.phone:
        identity = installation.known(connection, identity_key)
        return _find_person(connection, criteria, _keys(criteria, identity) if identity else {}, low, high)
    if criteria.email_part or criteria.person_part:
        return _find_part(connection, criteria, low, high)
    bottom = low if criteria.state is EventState.UNRECOGNISED else max(low, high - SPAN)
    chosen = criteria.narrow(select(events.c.seq)).where(events.c.seq >= bottom, events.c.seq < high)
    seqs = list(connection.execute(chosen.order_by(events.c.seq.desc()).limit(criteria.limit)).scalars())
    return EventMatches(events_in(connection, seqs), _next(seqs, criteria.limit, bottom, low))


def find_deliveries(connection: Connection, criteria: DeliveryFilter) -> DeliveryMatches:
    """Find a page of deliveries. The time of a delivery is the receipt of its event."""
    if criteria.warning and criteria.state not in {None, DeliveryState.DELIVERED}:
        # Only a delivered record has a warning. The index would be read to its end for nothing.
        return DeliveryMatches([], None)
    low, high = _delivery_bounds(connection, criteria)
    if criteria.state is DeliveryState.PENDING and criteria.destination is None:
        examined, bottom = _pending(connection, criteria, low, high)
    elif criteria.state in _INDEXED or criteria.warning:
        examined = _newest(criteria, low, high)
        bottom = _lowest(connection, examined, _looks(criteria), low)
    else:
        bottom = max(low, high - SPAN)
        examined = _span(criteria, bottom, high)
    looked = examined.subquery("looked")
    # The engine cannot read more than the examined rows.
    chosen = criteria.narrow(select(looked.c.id), looked).order_by(looked.c.id.desc()).limit(criteria.limit)
    ids = list(connection.execute(chosen).scalars())
    return DeliveryMatches(deliveries_in(connection, ids), _next(ids, criteria.limit, bottom, low))


def _delivery_bounds(connection: Connection, criteria: DeliveryFilter) -> tuple[int, int]:
    low, high = key_range(connection, deliveries.c.id, None, None, criteria.before)
    if criteria.since is not None:
        first = first_delivery(connection, seq_at(connection, criteria.since))
        low = high if first is None else max(low, first)
    if criteria.until is not None:
        end = first_delivery(connection, seq_at(connection, criteria.until))
        high = high if end is None else min(high, end)
    return low, high


def _columns(criteria: DeliveryFilter) -> list[Column[Any]]:
    """Return the columns that the filter needs. With no others, an index alone can answer."""
    asked = {
        "event_seq": criteria.is_of_chatbots,
        "destination": criteria.destination is not None,
        "reason": criteria.reason is not None,
    }
    return [deliveries.c.id, *(deliveries.c[name] for name, needed in asked.items() if needed)]


def _span(criteria: DeliveryFilter, bottom: int, high: int) -> Select[Any]:
    """Select the deliveries between two ids."""
    between = select(*_columns(criteria)).where(deliveries.c.id >= bottom, deliveries.c.id < high)
    if criteria.warning is not None:
        warning = deliveries.c.warning
        between = between.where(warning.is_not(None) if criteria.warning else warning.is_(None))
    if criteria.state is None or criteria.warning:
        return between
    return between.where(in_state(deliveries.c.state, criteria.state.value))


def _looks(criteria: DeliveryFilter) -> int:
    """Return how many deliveries in an indexed state to examine: no more than the page shows for a state alone."""
    has_more = criteria.is_of_chatbots or criteria.reason is not None or criteria.destination is not None
    return LOOK_SPAN if has_more else criteria.limit


def _newest(criteria: DeliveryFilter, low: int, high: int) -> Select[Any]:
    """Select the newest deliveries in a state from its partial index.

    It stays a part of the query, so that thousands of ids need not travel.
    """
    newest = _span(criteria, low, high).order_by(deliveries.c.id.desc()).limit(_looks(criteria))
    return newest if criteria.destination is None else newest.where(deliveries.c.destination == criteria.destination)


def _pending(connection: Connection, criteria: DeliveryFilter, low: int, high: int) -> tuple[Select[Any], int]:
    """Select the newest pending deliveries of all destinations, and return the id down to which they are complete.

    The index leads to the newest of each destination. Each destination gets an equal share, so that all together are no
    more than a page examines. The result is complete down to the oldest row of the first destination that fills its
    share.
    """
    names = len(pending_destinations(connection)) or 1
    share = max(1, max(_looks(criteria), min(SPAN, names * criteria.limit)) // names)
    each = newest_of_each(connection, share, high).subquery("each")
    full = select(func.min(each.c.id)).group_by(each.c.destination).having(func.count() == share)
    bottom = max([low, *connection.execute(full).scalars()])
    return select(each).where(each.c.id >= bottom), bottom


@read_once
def pending_destinations(connection: Connection) -> Sequence[str]:
    """Return the destinations with pending deliveries. It takes one step in the index for each destination."""
    return connection.execute(select(pending_names())).scalars().all()


def pending_names() -> Subquery:
    """Return `pending_destinations` as a subquery with the column `name`.

    It is recursive, because both engines read the whole index for a DISTINCT.
    """
    pending = in_state(deliveries.c.state, DeliveryState.PENDING.value)
    first = select(func.min(deliveries.c.destination).label("name")).where(pending)
    found = first.cte("found", recursive=True)
    following = select(func.min(deliveries.c.destination)).where(pending, deliveries.c.destination > found.c.name)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None)).subquery("names")


def newest_of_each(connection: Connection, share: int, below: int) -> Select[Any]:
    """Select the newest pending deliveries of each destination, `share` of each. The engine reads no others."""
    names = pending_names()
    name, at, key = names.c.name, deliveries.c.destination, deliveries.c.id
    pending = in_state(deliveries.c.state, DeliveryState.PENDING.value)
    columns = (key, deliveries.c.event_seq, deliveries.c.contact, deliveries.c.phone, at, deliveries.c.reason)
    if connection.dialect.name == "postgresql":
        # The order and the row comparison force the index of pending deliveries. Otherwise the planner may read all
        # deliveries by id and skip those that are not pending.
        theirs = select(*columns).where(pending, at >= name, tuple_(at, key) < tuple_(name, below))
        each = theirs.order_by(at.desc(), key.desc()).limit(share).lateral("theirs")
        return select(each).select_from(names.join(each, true()))
    # SQLite has no LATERAL, but uses that index anyway.
    theirs = select(key).where(pending, at == name, key < below).order_by(key.desc())
    oldest = func.coalesce(theirs.limit(1).offset(share - 1).scalar_subquery(), 0)
    shares = select(name, oldest.label("oldest")).subquery("shares")
    return select(*columns).where(pending, at == shares.c.name, key >= shares.c.oldest, key < below)


def _lowest(connection: Connection, examined: Select[Any], limit: int, low: int) -> int:
    """Return the lowest id that is examined; `low` if there are no others."""
    found = examined.subquery()
    count, lowest = connection.execute(select(func.count(), func.min(found.c.id))).one()
    return lowest if count >= limit else low


def _next(keys: list[int], limit: int, bottom: int, low: int) -> int | None:
    if len(keys) == limit:
        return keys[-1] if keys[-1] > low else None
    return bottom if bottom > low else None


def _keys(criteria: EventFilter, identity: Identity) -> PersonKeys:
    return email_keys(identity, criteria.email) if criteria.email else phone_keys(identity, criteria.phone or "")


def _is_part(criteria: EventFilter) -> bool:
    """Return True if the filter has only the end of a phone number, which the index does not hold."""
    return not criteria.email and not is_whole_number(criteria.phone or "")


def _find_person(connection: Connection, criteria: EventFilter, keys: PersonKeys, low: int, high: int) -> EventMatches:
    undelivered = criteria.state in _UNDELIVERED
    known = [] if undelivered or not keys else _known(connection, keys, low, high)
    named, bottom = _named(connection, criteria, max(low, high - READ_SPAN), high, READ_SPAN)
    found = _among(connection, criteria, {*named, *known})
    near = [seq for seq in found if seq >= bottom]
    if _is_part(criteria):
        shown = (near if criteria.before or len(near) >= criteria.limit else found)[: criteria.limit]
        return EventMatches(events_in(connection, shown), _next(near[: criteria.limit], criteria.limit, bottom, low))
    end = bottom if undelivered else known[-1] if len(known) == FOUND_LIMIT else low
    shown = found[: criteria.limit]
    return EventMatches(events_in(connection, shown), _next(shown, criteria.limit, end, low))


def _find_part(connection: Connection, criteria: EventFilter, low: int, high: int) -> EventMatches:
    named, bottom = _named(connection, criteria, max(low, high - READ_SPAN), high, criteria.limit)
    return EventMatches(events_in(connection, named), _next(named, criteria.limit, bottom, low))


def _known(connection: Connection, keys: PersonKeys, low: int, high: int) -> list[int]:
    """Return a person's events from the index, newest first; at most the newest `FOUND_LIMIT`."""
    found = settled(connection, keys, low, high, FOUND_LIMIT)
    found.update(_waiting(connection, keys, low, high))
    return sorted(found, reverse=True)[:FOUND_LIMIT]


def _waiting(connection: Connection, keys: PersonKeys, low: int, high: int) -> Iterable[int]:
    """Return a person's events with pending deliveries, searched among the newest of each destination."""
    names = len(pending_destinations(connection))
    if not names:
        return []
    beyond = key_ends(connection, deliveries.c.id)[1]
    examined = newest_of_each(connection, max(1, WAITING_SPAN // names), beyond).subquery("looked")
    seq = examined.c.event_seq
    theirs = or_(*(examined.c[column.name].in_(each) for column, each in keys.items()))
    return connection.execute(select(seq).where(theirs, seq >= low, seq < high)).scalars()


def _among(connection: Connection, criteria: EventFilter, seqs: set[int]) -> list[int]:
    """Return the events that match the other fields of the filter too, newest first; examines `FOUND_LIMIT` at most."""
    if not seqs:
        return []
    examined = sorted(seqs, reverse=True)[:FOUND_LIMIT]
    query = criteria.narrow(select(events.c.seq)).where(events.c.seq.in_(examined)).order_by(events.c.seq.desc())
    return list(connection.execute(query).scalars())


def _named(connection: Connection, criteria: EventFilter, bottom: int, high: int, most: int) -> tuple[list[int], int]:
    """Read payloads, newest first, and return the events that name the person and the `seq` down to which it read."""
    query = criteria.narrow(select(events.c.seq, events.c.id, events.c.payload)).where(
        events.c.seq >= bottom, events.c.seq < high
    )
    if not _is_part(criteria):
        # The index has found the others. The span is repeated for an engine that reads the deliveries first.
        theirs = deliveries.c.event_seq
        indexed = exists().where(text(SETTLED), theirs == events.c.seq, theirs >= bottom, theirs < high)
        # Deliveries from before the column `phone` are not in the index of phone numbers.
        query = query.where(~(indexed if criteria.email else indexed.where(deliveries.c.phone.is_not(None))))
    reader, names = _test_of(criteria)
    keys = keys_of(connection)
    found: list[int] = []
    size = 0
    # A server-side cursor, because all payloads of a page together can be gigabytes.
    options = {"yield_per": READ_AT_ONCE}
    with connection.execute(query.order_by(events.c.seq.desc()), execution_options=options) as rows:
        for seq, event_id, payload in rows:
            if names(_text(keys, event_id, payload, reader)):
                found.append(seq)
            size += len(payload)
            if len(found) == most or size > READ_BYTES:
                return found, seq
    return found, bottom


def _text(keys: KeyRing, event_id: bytes, payload: bytes, reader: Callable[[object], str]) -> str:
    try:
        return reader(decode(keys.open(bytes(payload), "events.payload", event_id)))
    except (ValueError, DamagedError):
        return ""


def _test_of(criteria: EventFilter) -> tuple[Callable[[object], str], Callable[[str], bool]]:
    """Return the reader of the text that identifies a person, and the test of that text."""
    if criteria.email:
        email = criteria.email.strip().casefold()
        return email_of, lambda found: found.strip().casefold() == email
    if part := criteria.email_part or criteria.person_part:
        part = " ".join(part.casefold().split())
        reader = email_of if criteria.email_part else name_and_email
        return reader, lambda found: is_searchable(part) and part in found.casefold()
    digits = _NOT_DIGITS.sub("", criteria.phone or "")
    return (
        lambda document: text_of(document, "PhoneNumber"),
        lambda found: len(digits) >= LEAST_SEARCH_DIGITS and _NOT_DIGITS.sub("", found).endswith(digits),
    )


@dataclass(frozen=True, slots=True, repr=False)
class DeliveredRecord:
    """A delivered delivery and its record."""

    id: int
    event_id: str
    chatbot: str
    route: str
    remote_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveredPage:
    """Delivered deliveries, newest first, at most `AT_ONCE`."""

    rows: Sequence[DeliveredRecord]
    next: int | None
    """Position of the next page; None at the end. A page with few rows, or without rows, may have one."""


def delivered_page(
    connection: Connection, destination: str, first: int, before: int | None, scope: Scope = EVERYTHING
) -> DeliveredPage:
    """Read a page of delivered deliveries of the events with numbers from `first` on; see `count_events`.

    A page examines at most `SPAN` deliveries. `before` is the cursor of the page before.
    """
    low = first_delivery(connection, first)
    if low is None:
        return DeliveredPage((), None)
    high = before or (connection.execute(select(func.max(deliveries.c.id))).scalar() or 0) + 1
    bottom = max(low, high - SPAN)
    query = (
        select(deliveries.c.id, events.c.id.label("event_id"), events.c.chatbot)
        .add_columns(deliveries.c.route, deliveries.c.remote_id)
        .select_from(deliveries.join(events))
        .where(
            scope.of(events.c.chatbot),
            deliveries.c.id >= bottom,
            deliveries.c.id < high,
            deliveries.c.event_seq >= first,
            deliveries.c.destination == destination,
            in_state(deliveries.c.state, DeliveryState.DELIVERED.value),
        )
        .order_by(deliveries.c.id.desc())
        .limit(AT_ONCE)
    )
    keys = keys_of(connection)
    rows = [
        DeliveredRecord(
            row.id,
            row.event_id.hex(),
            row.chatbot,
            row.route,
            keys.open_text(row.remote_id, "deliveries.remote_id", row.event_id, row.route),
        )
        for row in connection.execute(query)
    ]
    end = rows[-1].id if len(rows) == AT_ONCE else bottom
    return DeliveredPage(rows, end if end > low else None)
