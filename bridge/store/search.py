"""Events and deliveries as people look for them: by person, id, state, cause and time, page by page.

Reads only, on a connection that is open. A page looks at no more than `SPAN` rows, so that it costs the same however
much the store holds; where nothing among them suits, it says from where to look on. A person is found by the keys
that deliveries carry (`person_index`), so no e-mail address and no phone number is kept a second time.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Select, Subquery, exists, func, or_, select, text, true, tuple_

from bridge.event import EventState, decode, text_of
from bridge.identity import Identity
from bridge.store import installation
from bridge.store.encryption import DamagedError, KeyRing, keys_of
from bridge.store.interface import PAGE, DeliveryState
from bridge.store.person_index import SETTLED, PersonKeys, email_keys, is_whole_number, phone_keys, settled
from bridge.store.queries import (
    DeliveryRow,
    EventRow,
    deliveries_in,
    events_in,
    in_state,
    pending_destinations,
    pending_names,
)
from bridge.store.schema import deliveries, events

SPAN = 50_000
"""Rows that one page looks at, at most, where no index leads to those that are asked for: some ten milliseconds."""
READ_SPAN = 5_000
"""Events whose payload one page reads, at most."""
READ_BYTES = 16 * 1024 * 1024
"""Bytes of payloads that one page reads, at most, and one event more: some three times what usual ones have."""
READ_AT_ONCE = 500
"""Events whose payloads are in memory together. With 20, a search on PostgreSQL took half as long again: each part is
asked for by itself."""
LOOK_SPAN = 5_000
"""Deliveries in an indexed state that one page looks at, at most, where more than the state chooses."""
WAITING_SPAN = 50_000
"""Pending deliveries that are looked through for a person, at most, the newest of each destination: the index has the
settled ones."""
FOUND_LIMIT = 500
"""The most events of one person that are considered."""
LEAST_PHONE_DIGITS = 6
LEAST_PART = 3
"""Characters of an address that are looked for, at least."""

_NOT_DIGITS = re.compile(r"\D+", re.ASCII)
_INDEXED = {DeliveryState.PENDING, DeliveryState.DEAD}
"""States whose deliveries an index finds however many others there are."""
_UNDELIVERED = {EventState.TEST, EventState.UNRECOGNISED}
"""States of events that have no deliveries, so that the index by person does not know them."""


@dataclass(frozen=True, slots=True, repr=False)
class EventFilter:
    """Which events are looked for. What is None does not choose."""

    chatbot: str | None = None
    state: EventState | None = None
    email: str | None = None
    email_part: str | None = None
    """Any part of the address, at least `LEAST_PART` characters of it."""
    phone: str | None = None
    """The whole number, or at least `LEAST_PHONE_DIGITS` digits of its end, however they are grouped."""
    since: float | None = None
    until: float | None = None
    before: int | None = None
    """The cursor, as `Found.next` gave it."""
    limit: int = PAGE


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryFilter:
    """Which deliveries are looked for. What is None does not choose."""

    chatbot: str | None = None
    destination: str | None = None
    state: DeliveryState | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = PAGE


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events, newest first."""

    rows: list[EventRow]
    next: int | None
    """From where to look on; None at the end. A page with few rows, or none, may have one."""


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries, newest first."""

    rows: list[DeliveryRow]
    next: int | None


def find_events(connection: Connection, wanted: EventFilter, identity_key: bytes | None = None) -> EventPage:
    """Look for events. `identity_key` is the configuration's own, which the key of a person is made with.

    By e-mail the index leads to all that have deliveries, of those that wait only to the newest `WAITING_SPAN`. The
    others (tests, what no route took) are found among the newest that one page reads, unless their state is asked for.
    By phone all are found by reading on page by page; the first page also shows older ones that the index leads to,
    those of persons without an e-mail address, and reading on shows them again where they stand. By part of an e-mail
    address no index leads: each page reads the payloads of `READ_SPAN` events, and the cursor leads to the rest.
    """
    low, high = _bounds(connection, events.c.seq, wanted.since, wanted.until, wanted.before)
    if wanted.email or wanted.phone:
        identity = installation.known(connection, identity_key)
        return _find_person(connection, wanted, _keys(wanted, identity) if identity else {}, low, high)
    if wanted.email_part:
        return _find_part(connection, wanted, low, high)
    bottom = low if wanted.state is EventState.UNRECOGNISED else max(low, high - SPAN)
    chosen = _chosen_events(wanted).where(events.c.seq >= bottom, events.c.seq < high)
    seqs = list(connection.execute(chosen.order_by(events.c.seq.desc()).limit(wanted.limit)).scalars())
    return EventPage(events_in(connection, seqs), _next(seqs, wanted.limit, bottom, low))


def find_deliveries(connection: Connection, wanted: DeliveryFilter) -> DeliveryPage:
    """Look for deliveries. Their time is that of their event's receipt."""
    low, high = _delivery_bounds(connection, wanted)
    if wanted.state is DeliveryState.PENDING and wanted.destination is None:
        looked, bottom = _pending(connection, wanted, low, high)
    elif wanted.state in _INDEXED:
        looked = _newest(wanted, low, high)
        bottom = _lowest(connection, looked, _looks(wanted), low)
    else:
        bottom = max(low, high - SPAN)
        looked = _span(wanted, bottom, high)
    ids = list(connection.execute(_chosen_deliveries(looked.subquery("looked"), wanted)).scalars())
    return DeliveryPage(deliveries_in(connection, ids), _next(ids, wanted.limit, bottom, low))


def seq_at(connection: Connection, moment: float) -> int:
    """Give the `seq` of the first event that was received at a time or later; one beyond the last if there is none.

    Events stand in the order of their receipt, so it is found by halving. The few that were routed again later stand
    where they were put then.
    """
    low, high = _ends(connection, events.c.seq)
    while low < high:
        middle = (low + high) // 2
        asked = select(events.c.seq, events.c.received_at).where(events.c.seq >= middle).order_by(events.c.seq).limit(1)
        found = connection.execute(asked).first()
        if found is None or found.received_at >= moment:
            high = middle
        else:
            low = found.seq + 1
    return low


def first_delivery(connection: Connection, seq: int) -> int | None:
    """Give the id of the first delivery of the events from a `seq` on; None if they have none."""
    asked = select(deliveries.c.id).where(deliveries.c.event_seq >= seq)
    return connection.execute(asked.order_by(deliveries.c.event_seq, deliveries.c.id).limit(1)).scalar()


def _chosen_events(wanted: EventFilter) -> Select[int]:
    chosen = select(events.c.seq)
    if wanted.state is not None:
        chosen = chosen.where(in_state(events.c.state, wanted.state.value))
    if wanted.chatbot is not None:
        chosen = chosen.where(events.c.chatbot == wanted.chatbot)
    if wanted.since is not None:
        chosen = chosen.where(events.c.received_at >= wanted.since)
    if wanted.until is not None:
        chosen = chosen.where(events.c.received_at < wanted.until)
    return chosen


def _ends(connection: Connection, key: Column[int]) -> tuple[int, int]:
    """Give the first key, and the one after the last.

    Asked one by one: SQLite takes the end of an index for a single minimum or maximum only, else it reads all of it
    (https://www.sqlite.org/optoverview.html#the_min_max_optimization).
    """
    first = connection.execute(select(func.min(key))).scalar()
    last = connection.execute(select(func.max(key))).scalar()
    return first or 1, (last or 0) + 1


def _bounds(
    connection: Connection, key: Column[int], since: float | None, until: float | None, before: int | None
) -> tuple[int, int]:
    """Give the first key, and the one after the last, of what is asked for."""
    low, high = _ends(connection, key)
    if since is not None:
        low = max(low, seq_at(connection, since))
    if until is not None:
        high = min(high, seq_at(connection, until))
    if before is not None:
        high = min(high, before)
    return low, high


def _delivery_bounds(connection: Connection, wanted: DeliveryFilter) -> tuple[int, int]:
    low, high = _bounds(connection, deliveries.c.id, None, None, wanted.before)
    if wanted.since is not None:
        first = first_delivery(connection, seq_at(connection, wanted.since))
        low = high if first is None else max(low, first)
    if wanted.until is not None:
        end = first_delivery(connection, seq_at(connection, wanted.until))
        high = high if end is None else min(high, end)
    return low, high


def _chosen_deliveries(looked: Subquery, wanted: DeliveryFilter) -> Select[int]:
    """Select the ids of those that are wanted among what is looked at: only that is read, whatever the engine plans."""
    chosen = select(looked.c.id).order_by(looked.c.id.desc()).limit(wanted.limit)
    if wanted.chatbot is not None:
        of_event = events.c.seq == looked.c.event_seq
        chosen = chosen.select_from(looked.join(events, of_event)).where(events.c.chatbot == wanted.chatbot)
    if wanted.destination is not None:
        chosen = chosen.where(looked.c.destination == wanted.destination)
    if wanted.reason is not None:
        chosen = chosen.where(looked.c.reason == wanted.reason)
    return chosen


def _columns(wanted: DeliveryFilter) -> list[Column[Any]]:
    """Give what `_chosen_deliveries` needs: where that is no more, an index alone has it."""
    asked = {"event_seq": wanted.chatbot, "destination": wanted.destination, "reason": wanted.reason}
    return [deliveries.c.id, *(deliveries.c[name] for name, value in asked.items() if value is not None)]


def _span(wanted: DeliveryFilter, bottom: int, high: int) -> Select[Any]:
    """Select what stands between two ids."""
    between = select(*_columns(wanted)).where(deliveries.c.id >= bottom, deliveries.c.id < high)
    return between if wanted.state is None else between.where(in_state(deliveries.c.state, wanted.state.value))


def _looks(wanted: DeliveryFilter) -> int:
    """Give how many of those in an indexed state are looked at: where nothing else chooses, no more than are shown."""
    others = (wanted.chatbot, wanted.reason, wanted.destination)
    return wanted.limit if others == (None, None, None) else LOOK_SPAN


def _newest(wanted: DeliveryFilter, low: int, high: int) -> Select[Any]:
    """Select the newest in a state, straight from its partial index.

    It stays a part of the question: thousands of ids need not travel.
    """
    newest = _span(wanted, low, high).order_by(deliveries.c.id.desc()).limit(_looks(wanted))
    return newest if wanted.destination is None else newest.where(deliveries.c.destination == wanted.destination)


def _pending(connection: Connection, wanted: DeliveryFilter, low: int, high: int) -> tuple[Select[Any], int]:
    """Select what is pending, whatever its destination, and give the id down to which that is all.

    The index leads to the newest of each destination. So many of each that all together are no more than a page looks
    at: the page goes down to where the first destination has had its share, and there are that many at the least.
    """
    names = len(pending_destinations(connection)) or 1
    share = max(1, max(_looks(wanted), min(SPAN, names * wanted.limit)) // names)
    each = _newest_of_each(connection, share, high).subquery("each")
    full = select(func.min(each.c.id)).group_by(each.c.destination).having(func.count() == share)
    bottom = max([low, *connection.execute(full).scalars()])
    return select(each).where(each.c.id >= bottom), bottom


def _newest_of_each(connection: Connection, share: int, below: int) -> Select[Any]:
    """Select the newest of what is pending at each destination, so many of each; the engine reads no more than them."""
    names = pending_names()
    name, at, key = names.c.name, deliveries.c.destination, deliveries.c.id
    pending = in_state(deliveries.c.state, DeliveryState.PENDING.value)
    columns = (key, deliveries.c.event_seq, deliveries.c.contact, deliveries.c.phone, at, deliveries.c.reason)
    if connection.dialect.name == "postgresql":
        # By this order, and compared as a row, only the index of what is due will do: it would rather go through all
        # deliveries by their id, and pass over those that are not pending.
        theirs = select(*columns).where(pending, at >= name, tuple_(at, key) < tuple_(name, below))
        each = theirs.order_by(at.desc(), key.desc()).limit(share).lateral("theirs")
        return select(each).select_from(names.join(each, true()))
    # SQLite has no LATERAL, but goes by that index anyway.
    theirs = select(key).where(pending, at == name, key < below).order_by(key.desc())
    oldest = func.coalesce(theirs.limit(1).offset(share - 1).scalar_subquery(), 0)
    shares = select(name, oldest.label("oldest")).subquery("shares")
    return select(*columns).where(pending, at == shares.c.name, key >= shares.c.oldest, key < below)


def _lowest(connection: Connection, looked: Select[Any], limit: int, low: int) -> int:
    """Give the lowest of the ids that are looked at; `low` where they are all that there are."""
    found = looked.subquery()
    count, lowest = connection.execute(select(func.count(), func.min(found.c.id))).one()
    return lowest if count >= limit else low


def _next(keys: list[int], limit: int, bottom: int, low: int) -> int | None:
    if len(keys) == limit:
        return keys[-1] if keys[-1] > low else None
    return bottom if bottom > low else None


def _keys(wanted: EventFilter, identity: Identity) -> PersonKeys:
    return email_keys(identity, wanted.email) if wanted.email else phone_keys(identity, wanted.phone or "")


def _is_part(wanted: EventFilter) -> bool:
    """Tell whether only a part of what names the person is given: the index does not know it."""
    return not wanted.email and not is_whole_number(wanted.phone or "")


def _find_person(connection: Connection, wanted: EventFilter, keys: PersonKeys, low: int, high: int) -> EventPage:
    undelivered = wanted.state in _UNDELIVERED
    known = [] if undelivered or not keys else _known(connection, keys, low, high)
    named, bottom = _named(connection, wanted, max(low, high - READ_SPAN), high, READ_SPAN)
    found = _among(connection, wanted, {*named, *known})
    near = [seq for seq in found if seq >= bottom]
    if _is_part(wanted):
        shown = (near if wanted.before or len(near) >= wanted.limit else found)[: wanted.limit]
        return EventPage(events_in(connection, shown), _next(near[: wanted.limit], wanted.limit, bottom, low))
    end = bottom if undelivered else known[-1] if len(known) == FOUND_LIMIT else low
    shown = found[: wanted.limit]
    return EventPage(events_in(connection, shown), _next(shown, wanted.limit, end, low))


def _find_part(connection: Connection, wanted: EventFilter, low: int, high: int) -> EventPage:
    named, bottom = _named(connection, wanted, max(low, high - READ_SPAN), high, wanted.limit)
    return EventPage(events_in(connection, named), _next(named, wanted.limit, bottom, low))


def _known(connection: Connection, keys: PersonKeys, low: int, high: int) -> list[int]:
    """Return the events of a person that the index knows, newest first; of very many the newest."""
    found = settled(connection, keys, low, high, FOUND_LIMIT)
    found.update(_waiting(connection, keys, low, high))
    return sorted(found, reverse=True)[:FOUND_LIMIT]


def _waiting(connection: Connection, keys: PersonKeys, low: int, high: int) -> Iterable[int]:
    """Give the events of a person that wait: of each destination's pending deliveries the newest are looked through."""
    names = len(pending_destinations(connection))
    if not names:
        return []
    beyond = _ends(connection, deliveries.c.id)[1]
    looked = _newest_of_each(connection, max(1, WAITING_SPAN // names), beyond).subquery("looked")
    seq = looked.c.event_seq
    theirs = or_(*(looked.c[column.name].in_(each) for column, each in keys.items()))
    return connection.execute(select(seq).where(theirs, seq >= low, seq < high)).scalars()


def _among(connection: Connection, wanted: EventFilter, seqs: set[int]) -> list[int]:
    """Give those that are wanted for the rest too, newest first; no more than `FOUND_LIMIT` of them are looked at."""
    if not seqs:
        return []
    looked = sorted(seqs, reverse=True)[:FOUND_LIMIT]
    asked = _chosen_events(wanted).where(events.c.seq.in_(looked)).order_by(events.c.seq.desc())
    return list(connection.execute(asked).scalars())


def _named(connection: Connection, wanted: EventFilter, bottom: int, high: int, most: int) -> tuple[list[int], int]:
    """Read payloads, newest first, for those that name the person; give them, and down to where all were read."""
    asked = (
        _chosen_events(wanted)
        .add_columns(events.c.id, events.c.payload)
        .where(events.c.seq >= bottom, events.c.seq < high)
    )
    if not _is_part(wanted):
        # The index knows the others. The span again, for an engine that reads the deliveries first.
        theirs = deliveries.c.event_seq
        indexed = exists().where(text(SETTLED), theirs == events.c.seq, theirs >= bottom, theirs < high)
        # Of a phone number, not the deliveries from before the column.
        asked = asked.where(~(indexed if wanted.email else indexed.where(deliveries.c.phone.is_not(None))))
    field, names = _test_of(wanted)
    keys = keys_of(connection)
    found: list[int] = []
    size = 0
    # As a cursor of the server: all payloads of a page, as large as they may be, are gigabytes.
    options = {"yield_per": READ_AT_ONCE}
    with connection.execute(asked.order_by(events.c.seq.desc()), execution_options=options) as rows:
        for seq, event_id, payload in rows:
            if names(_text(keys, event_id, payload, field)):
                found.append(seq)
            size += len(payload)
            if len(found) == most or size > READ_BYTES:
                return found, seq
    return found, bottom


def _text(keys: KeyRing, event_id: bytes, payload: bytes, field: str) -> str:
    try:
        return text_of(decode(keys.open(bytes(payload), "events.payload", event_id)), field)
    except (ValueError, DamagedError):
        return ""


def _test_of(wanted: EventFilter) -> tuple[str, Callable[[str], bool]]:
    """Give the field by which a person is known, and whether its text is theirs."""
    if wanted.email:
        email = wanted.email.strip().casefold()
        return "Email", lambda found: found.strip().casefold() == email
    if wanted.email_part:
        part = wanted.email_part.strip().casefold()
        return "Email", lambda found: len(part) >= LEAST_PART and part in found.casefold()
    digits = _NOT_DIGITS.sub("", wanted.phone or "")
    return (
        "PhoneNumber",
        lambda found: len(digits) >= LEAST_PHONE_DIGITS and _NOT_DIGITS.sub("", found).endswith(digits),
    )
