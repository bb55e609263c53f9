"""Leads as people see them: the person, what became of the lead at each destination, and why. Reads only.

A spreadsheet computes a cell of a CSV file that begins like a formula. Such a cell gets an apostrophe in front, which
spreadsheets show as the mark of a text. Spreadsheets skip blanks before a formula, read full-width signs as signs, and
may split a cell at semicolons, tabs or lines; each of these beginnings gets one too.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Connection

from bridge.event import EventState, decode, text_of, timestamp
from bridge.operations import events
from bridge.operations.masking import Audience, masked_text
from bridge.store import queries
from bridge.store.filter import DeliveryFilter, EventFilter, Scope
from bridge.store.interface import PAGE, DeliveryState
from bridge.store.queries import DeliveryRow, EventRow
from bridge.store.search import find_deliveries

UNKNOWN = "Somebody without a name"
"""Stands for a person whose event has neither a name nor an address nor a phone number."""


class LeadState(StrEnum):
    """States that leads are selected by: those of their deliveries, and those of events without deliveries."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"
    WARNING = "warning"
    TEST = "test"
    UNRECOGNISED = "unrecognised"


Criteria: TypeAlias = Sequence[EventFilter] | DeliveryFilter
"""Filters of events, of which the first that finds any is used; or a filter of deliveries, whose events are read."""


@dataclass(frozen=True, slots=True)
class LeadQuery:
    """A selection of leads. A field that is None matches every lead."""

    state: LeadState | None = None
    chatbot: str | None = None
    destination: str | None = None
    since: float | None = None
    until: float | None = None


class Person(NamedTuple):
    """A person as an audience may see them; empty texts for what the event does not have."""

    first_name: str
    last_name: str
    email: str
    phone: str

    def __repr__(self) -> str:
        """Hide the person from logs and errors."""
        return "Person()"


@dataclass(frozen=True, slots=True, repr=False)
class Lead:
    """A row of a list of leads."""

    event: EventRow
    person: str
    """Label of the person, masked for the audience."""
    deliveries: Sequence[DeliveryRow]


@dataclass(frozen=True, slots=True, repr=False)
class LeadPage:
    """A page of leads, newest first."""

    leads: Sequence[Lead]
    next: int | None
    """Cursor of the next page; None on the last."""


def lead_criteria(query: LeadQuery, scope: Scope, before: int | None = None, limit: int = PAGE) -> Criteria:
    """Return the criteria of a page: of deliveries, if the query has a destination or one of their states. Pure.

    Args:
        query: Selection of leads.
        scope: Chatbots that the reader sees.
        before: Cursor of the page.
        limit: Most leads of the page.
    """
    kind = EventState(query.state) if query.state in {LeadState.TEST, LeadState.UNRECOGNISED} else None
    if kind or (query.state is None and query.destination is None):
        chosen = EventFilter(query.chatbot, kind, before=before, limit=limit, scope=scope)
        return [replace(chosen, since=query.since, until=query.until)]
    warned = query.state is LeadState.WARNING
    return DeliveryFilter(
        query.chatbot,
        query.destination,
        None if query.state is None or warned else DeliveryState(query.state),
        since=query.since,
        until=query.until,
        before=before,
        limit=limit,
        warning=True if warned else None,
        scope=scope,
    )


def list_leads(
    connection: Connection, criteria: Criteria, audience: Audience, identity_key: bytes | None = None
) -> LeadPage:
    """Read a page of leads.

    Args:
        connection: Connection to the store.
        criteria: Criteria of the page.
        audience: Reader of the list.
        identity_key: The configuration's own; it finds the events of a person.
    """
    rows, following = found_events(connection, criteria, identity_key)
    return LeadPage(_leads(connection, rows, audience), following)


def list_shown(connection: Connection, seqs: Sequence[int], audience: Audience, scope: Scope) -> LeadPage:
    """Read the leads that somebody looks at already, by the numbers of their events, as far as the reader sees them."""
    rows = [row for row in queries.events_in(connection, seqs) if scope.sees(row.chatbot)]
    return LeadPage(_leads(connection, rows, audience), None)


def count_new(connection: Connection, criteria: Criteria, shown: AbstractSet[int]) -> int:
    """Count the leads of the first page that are new to somebody who looks at those shown."""
    rows, following = found_events(connection, criteria)
    oldest = 0 if following is None else min(shown, default=0)
    return sum(row.seq > oldest and row.seq not in shown for row in rows)


def found_events(
    connection: Connection, criteria: Criteria, identity_key: bytes | None = None
) -> tuple[Sequence[EventRow], int | None]:
    """Read the events of a page of leads, newest first, and the cursor of the next page."""
    if isinstance(criteria, DeliveryFilter):
        found = find_deliveries(connection, criteria)
        seqs = queries.event_seqs(connection, [each.id for each in found.rows])
        return queries.events_in(connection, seqs), found.next
    page = events.search(connection, criteria, identity_key)
    return page.rows, page.next


def _leads(connection: Connection, rows: Sequence[EventRow], audience: Audience) -> Sequence[Lead]:
    seqs = [row.seq for row in rows]
    payloads, deliveries = queries.payloads(connection, seqs), queries.deliveries_of_events(connection, seqs)
    return [Lead(row, person_label(payloads[row.seq], audience), deliveries.get(row.seq, ())) for row in rows]


def person_labels(connection: Connection, seqs: Sequence[int], audience: Audience) -> dict[str, str]:
    """Return the label of the person of each event, by the event's id."""
    labels: dict[str, str] = {}
    for start in range(0, len(seqs), PAGE):
        part = seqs[start : start + PAGE]
        payloads = queries.payloads(connection, part)
        labels |= {row.id: person_label(payloads[row.seq], audience) for row in queries.events_in(connection, part)}
    return labels


def person_label(payload: bytes, audience: Audience) -> str:
    """Return the name and address of an event's person in one line.

    A viewer sees no more than a first character of each. An operator recognises the person, and sees everything once
    personal data is revealed.
    """
    person = person_of(payload, audience)
    name = f"{person.first_name} {person.last_name}" if audience.operator else person.first_name or person.last_name
    parts = [name.strip(), person.email or person.phone]
    return " · ".join(each[:80] for each in parts if each) or UNKNOWN


def person_of(payload: bytes, audience: Audience) -> Person:
    """Return the person of an event, masked for the audience as `person_label` says."""
    try:
        document = decode(payload)
    except ValueError:
        return Person("", "", "", "")
    fields = [text_of(document, name).strip() for name in ("FirstName", "LastName", "Email", "PhoneNumber")]
    if audience.reveal:
        return Person(*fields)
    if not audience.operator:
        return Person(*(masked_text(each) if each else "" for each in fields))
    first, last, email, phone = fields
    return Person(first, f"{last[:1]}." if last else "", _shortened(email), _shortened(phone))


def _shortened(contact: str) -> str:
    """Return an address or a number that somebody who knows it recognises: `d…@example.com`, `…23 45`."""
    local, at, domain = contact.rpartition("@")
    if at:
        return f"{local[:1]}…@{domain}"
    return f"…{contact[-4:]}" if contact else ""


EXPORT_LIMIT: Final = 50_000
"""Most leads of one file, the newest."""
CELL_LIMIT: Final = 1_000
"""Most characters of a cell."""
COLUMNS: Final = (
    "id",
    "received_at",
    "chatbot",
    "type",
    "state",
    "first_name",
    "last_name",
    "email",
    "phone",
    "delivered",
    "waiting",
    "not_delivered",
    "discarded",
)
"""Names of the columns. The last four hold the destinations where the lead is in that state."""
CUT: Final = f"The file ends here, after {EXPORT_LIMIT} leads. Choose fewer days to get the older ones."
"""First cell of the last line if there are more leads."""
_STATES: Final = (DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEAD, DeliveryState.DISCARDED)
_SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_BEGINNING: Final = re.compile(rf'[\t\r\n]|[\s\0\u200b\ufeff"]*[{_SIGNS}]')
"""The beginning of a cell that may be a formula."""
_PART: Final = re.compile(rf'(?<=[;\t\r\n])(?=(?:[^\S\t\r\n]|[\0\u200b\ufeff"])*[{_SIGNS}])')
"""A place in a cell where a formula begins if the spreadsheet splits the cell there."""


@dataclass(frozen=True, slots=True, repr=False)
class ExportPage:
    """Lines of some leads."""

    lines: bytes
    seqs: Sequence[int]
    """Numbers of their events."""
    next: int | None
    """Cursor of the next page; None on the last."""


def export_page(
    connection: Connection,
    criteria: Criteria,
    audience: Audience,
    identity_key: bytes | None,
    known: AbstractSet[int] = frozenset(),
) -> ExportPage:
    """Read a page of leads as `list_leads` does, except the leads that are `known` from pages before."""
    found, following = found_events(connection, criteria, identity_key)
    rows = [row for row in found if row.seq not in known]
    seqs = [row.seq for row in rows]
    payloads, deliveries = queries.payloads(connection, seqs), queries.deliveries_of_events(connection, seqs)
    lines = (_cells(row, payloads[row.seq], deliveries.get(row.seq, ()), audience) for row in rows)
    return ExportPage(csv_lines(lines), seqs, following)


def csv_lines(lines: Iterable[Sequence[str]]) -> bytes:
    """Write lines of cells."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_safe(cell) for cell in line] for line in lines)
    return text.getvalue().encode("utf-8", "replace")


def _cells(event: EventRow, payload: bytes, deliveries: Sequence[DeliveryRow], audience: Audience) -> Sequence[str]:
    places = ["; ".join(each.destination for each in deliveries if each.state is state) for state in _STATES]
    received = timestamp(event.received_at)
    facts = (event.id, received, event.chatbot or "", event.type or "", event.state.value)
    return (*facts, *person_of(payload, audience), *places)


def _safe(cell: str) -> str:
    text = cell[:CELL_LIMIT]
    blank = len(text) - len(text.lstrip())
    safe = text[:blank] + _PART.sub("'", text[blank:])
    return f"'{safe}" if _BEGINNING.match(text) else safe
