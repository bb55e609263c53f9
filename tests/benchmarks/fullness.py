"""A store that holds much, as a month of heavy use leaves it: written in bulk, by the columns of the tables themselves.

The same on both engines, and from run to run but for its times. What it holds is spread as in use: several chatbots
and destinations, persons who come again, dead letters of several causes here and there and in outages, and what waits
among the newest.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Table, insert, text

from bridge.event import EventState, Form, Room, fields_of
from bridge.identity import Identity
from bridge.store.driver import Driver, raw
from bridge.store.installation import adopt
from bridge.store.interface import DeliveryState
from bridge.store.quarantine import BOUNDS
from bridge.store.schema import attempts, deliveries, events, quarantine
from connectors.base import Reason
from tests.benchmarks.program import serial_number

SECONDS: Final = 29.9 * 86_400.0
"""How long ago the oldest event was received: a month, but none is old enough yet to be deleted."""
CHATBOTS: Final[Mapping[str, Sequence[str]]] = {
    "website": ("hubspot", "sheet"),
    "shop": ("hubspot", "mail"),
    "campaign": ("salesforce", "sheet"),
    "clinic-north": ("salesforce", "mail"),
    "clinic-south": ("hubspot", "salesforce"),
    "hotel": ("sheet", "mail"),
}
"""Each chatbot, and where its events go."""
DESTINATIONS: Final = tuple(sorted({name for names in CHATBOTS.values() for name in names}))
REASONS: Final = (Reason.REFUSED, Reason.MAPPING, Reason.REFUSED, Reason.TOO_LARGE, Reason.TIMEOUT)
"""What single deliveries died of, in turn."""
OUTAGES: Final = (Reason.SERVER_ERROR, Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.SERVER_ERROR)
"""What many deliveries in a row died of."""
FAITHFUL: Final = "faithful.customer@example.com"
"""Who comes again and again: every thousandth event is theirs."""
PHONE_ONLY: Final = "+1 202 555 0000"
"""Who has left no address, as often."""

_STEP: Final = 10_000
"""Events that are written at once."""
_OFTEN: Final = 1_000
_CONTENT: Final = (
    "Visitor: Good afternoon, do you have the oak chairs from the spring catalogue in stock? Agent: Yes, forty of "
    "them, and more by the end of the month. Visitor: I should like an offer for thirty, delivered to our office. "
)
_TRIES: Final = 4
"""Attempts of a dead letter."""

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Fullness:
    """How much a store holds."""

    events: int = 1_000_000
    dead: int = 10_000
    pending: int = 2_000
    odd: int = 1_000
    """Events that were not recognised, and as many tests."""


def fill(driver: Driver, fullness: Fullness, now: float) -> None:
    """Fill a migrated, empty store; `now` is when the last event came."""
    with driver.engine().begin() as connection:
        identity = adopt(connection, None)
    made = _Made(fullness, now, identity)
    with driver.connect() as connection:
        # An index over what comes in no order takes far longer to fill row by row than to make in the end.
        indexes = [index for table in (events, deliveries) for index in table.indexes]
        for index in indexes:
            index.drop(connection)
        for first in range(1, fullness.events + 1, _STEP):
            numbers = range(first, min(first + _STEP, fullness.events + 1))
            raw(connection).execute("BEGIN")
            _write(connection, events, [made.event(number) for number in numbers])
            born = [row for number in numbers for row in made.deliveries(number)]
            _write(connection, deliveries, born)
            _write(connection, attempts, [row for each in born for row in made.attempts(each)])
            raw(connection).execute("COMMIT")
        _write(connection, quarantine, made.refused())
        for index in indexes:
            index.create(connection)
        _settle(connection)


class _Made:
    """Makes the rows, each from its number alone."""

    def __init__(self, fullness: Fullness, now: float, identity: Identity) -> None:
        self._identity = identity
        self._fullness = fullness
        self._now = now
        self._chatbots = tuple(CHATBOTS)
        # Half of the dead letters alone, half in outages.
        self._single = max(1, 4 * fullness.events // max(1, fullness.dead))
        self._outage = max(1, fullness.dead // 2 // len(OUTAGES))
        self._odd = max(3, fullness.events // max(1, fullness.odd))

    def event(self, number: int) -> tuple[Any, ...]:
        """Make an event, in the order of the table's columns."""
        chatbot, state, payload = self._chatbot(number), self._state(number), self._payload(number)
        if state is EventState.UNRECOGNISED:
            identified, kind = self._identity.unrecognised_id(payload, orjson.loads(payload)), None
        else:
            identified, kind = self._identity.event_id(self._fields(number)), "Lead"
        return (
            number,
            bytes.fromhex(identified),
            self._at(number),
            chatbot,
            state.value,
            kind,
            Form.RAW.value,
            payload,
            "0" * 32,
        )

    def deliveries(self, number: int) -> Iterator[tuple[Any, ...]]:
        """Make the deliveries of an event."""
        if self._state(number) is not EventState.ACCEPTED:
            return
        fields = self._fields(number)
        received, (_, contact, phone) = self._at(number), self._identity.of_event(fields)
        for place, destination in enumerate(CHATBOTS[self._chatbot(number)]):
            row: dict[str, Any] = dict.fromkeys(column.name for column in deliveries.columns)
            row |= {"id": 2 * number + place, "event_seq": number, "route": destination, "destination": destination}
            row |= {
                "contact": contact,
                "phone": phone,
                "state": DeliveryState.DELIVERED.value,
                "settled_at": received + 1.5,
            }
            row |= {"attempts": 1, "failures": 0, "remote_id": f"{number:012}"}
            if number > self._fullness.events - self._fullness.pending // 2:
                row |= {"state": DeliveryState.PENDING.value, "due_at": received, "settled_at": None}
                row |= {"attempts": 0, "remote_id": None}
            elif reason := self._died(number, place):
                row |= {"state": DeliveryState.DEAD.value, "reason": reason.value, "detail": "the record was refused"}
                row |= {"attempts": _TRIES, "failures": _TRIES, "failing_since": received, "remote_id": None}
            yield tuple(row.values())

    def attempts(self, delivery: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Make the attempts of a delivery."""
        row = dict(zip(deliveries.columns.keys(), delivery, strict=True))
        for number in range(1, row["attempts"] + 1):
            failed = (row["reason"], 422, "the record was refused") if row["failures"] else (None, 201, None)
            outcome = "delivered" if not row["failures"] else "retry" if number < _TRIES else "rejected"
            yield (row["id"], number, row["settled_at"] - 0.1 * (_TRIES - number), 0.08, outcome, *failed)

    def refused(self) -> Rows:
        """Make a quarantine that is full for two chatbots."""
        rows = []
        limit = BOUNDS[Room.MISMATCH].requests
        for number in range(2 * limit):
            body = b'{"Type": "Lead", "number": %d}' % number
            at = self._now - 3_600.0 * number / limit
            digest = self._identity.digest(body)
            rows.append((number + 1, at, self._chatbots[number % 2], digest, "t=1,v1=00", body, Room.MISMATCH.value))
        return rows

    def _at(self, number: int) -> float:
        return self._now - SECONDS * (1.0 - number / self._fullness.events)

    def _chatbot(self, number: int) -> str:
        return self._chatbots[number % len(self._chatbots)]

    def _state(self, number: int) -> EventState:
        odd = {1: EventState.UNRECOGNISED, 2: EventState.TEST}
        return odd.get(number % self._odd, EventState.ACCEPTED)

    def _died(self, number: int, place: int) -> Reason | None:
        part = self._fullness.events // len(OUTAGES)
        if place == 0 and number % part < self._outage:
            return OUTAGES[number // part % len(OUTAGES)]
        if (2 * number + place) % self._single == 0:
            return REASONS[number // self._single % len(REASONS)]
        return None

    @functools.lru_cache(maxsize=2)  # noqa: B019 - it lives as long as the filling
    def _fields(self, number: int) -> dict[str, Any]:
        fields = fields_of(orjson.loads(self._payload(number)))
        assert fields is not None
        return fields

    def _payload(self, number: int) -> bytes:
        person = number % (2 * self._fullness.events // 5)
        email, phone = f"person.{person}@example.com", f"+1 202 {person // 10_000 % 1_000:03} {person % 10_000:04}"
        if number % _OFTEN == 5:
            email = FAITHFUL
        elif number % _OFTEN == 7:
            email, phone = "", PHONE_ONLY
        created = datetime.fromtimestamp(self._at(number) - 1.0, UTC).replace(tzinfo=None)
        document = {
            "SerialNumber": serial_number(self._chatbot(number)),
            "Type": "Strange" if self._state(number) is EventState.UNRECOGNISED else "Lead",
            "FirstName": "Dávid",
            "LastName": f"Garcia {person}",
            "Email": email,
            "PhoneNumber": phone,
            "CreateTime": f"{created.isoformat(timespec='microseconds')}Z",
            "Content": _CONTENT,
            "SessionID": number,
            "URI": "https://www.example.com/offers/chairs?from=chat",
        }
        return orjson.dumps(document)


def _write(connection: Connection, table: Table, rows: Rows) -> None:
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.columns.keys())
        with raw(connection).cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    statement = str(insert(table).compile(dialect=connection.dialect))
    raw(connection).executemany(statement, rows)


def _settle(connection: Connection) -> None:
    """Do what the engines do by themselves in the course of a month."""
    if connection.dialect.name == "postgresql":
        for table, key in ((events, "seq"), (deliveries, "id"), (quarantine, "id")):
            highest = f"(SELECT max({key}) FROM {table.name})"
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key}'), {highest})"))
        raw(connection).execute("VACUUM ANALYZE")
        return
    raw(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)")
