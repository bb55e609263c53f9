"""Makes the values that tests are about, without reading a configuration file."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from bridge.config.model import (
    Ack,
    Chatbot,
    Config,
    Destination,
    ListenAddress,
    RateLimit,
    RetrySchedule,
    Route,
    ServerSettings,
    StoreSettings,
)
from bridge.delivery.rate_limit import Pace
from bridge.event import Event, EventState, Form, fields_of
from bridge.identity import Identity
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import EVENT_NAME_MEMBERS, FieldMapping, FieldTrace, MappingError, compile_mapping
from bridge.store.interface import NewDelivery, RoutedEvent
from connectors.base import (
    Connector,
    Context,
    Delivered,
    DestinationSettings,
    Outcome,
    Preview,
    Quota,
    Record,
    RouteSettings,
)

SERIAL = "59001dd73709417321c58b11693183a2"
KEY = b"a-signing-key-of-good-length"
NOW = 1_795_600_000.0
IDENTITY_KEY = bytes(range(32))
IDENTITY = Identity(IDENTITY_KEY)

_numbers = itertools.count(1)


def lead(**fields: Any) -> dict[str, Any]:
    """Give a lead as the sender writes it."""
    number = next(_numbers)
    return {
        "SerialNumber": SERIAL,
        "Type": "Lead",
        "FirstName": "David",
        "LastName": "García",
        "Email": f"lead{number}@example.com",
        "PhoneNumber": "",
        "CreateTime": "2026-11-24T10:00:00.512302Z",
        "Content": "test",
        "SessionID": number,
        "URI": "www.example.com",
        **fields,
    }


def event(received_at: float = NOW, **fields: Any) -> Event:
    """Give an accepted event."""
    document = lead(**fields)
    known = fields_of(document)
    assert known is not None
    return Event(
        id=IDENTITY.event_id(known),
        payload=orjson.dumps(document),
        form=Form.RAW,
        received_at=received_at,
        chatbot="acme",
        state=EventState.ACCEPTED,
        type=known["Type"],
        contact=IDENTITY.contact(known),
        phone=IDENTITY.of_event(known)[2],
        fields=known,
    )


def routed(*destinations: str, **fields: Any) -> RoutedEvent:
    """Give an event with a delivery to each of the destinations."""
    return RoutedEvent(event(**fields), tuple(NewDelivery(name, name) for name in destinations))


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


Answer = Callable[[Sequence[Record]], Sequence[Outcome]]


def all_delivered(records: Sequence[Record]) -> Sequence[Outcome]:
    return [Delivered(remote_id=f"r-{record.id[:6]}", status=200) for record in records]


class FakeConnector(Connector):
    """Keeps the calls it gets, and answers as it is told: by default, that all is delivered."""

    destination_settings = DestinationSettings
    max_batch = 100

    def __init__(self, settings: Any = None, context: Context | None = None) -> None:
        self.calls: list[list[Record]] = []
        self.answer: Answer = all_delivered
        self.before: Callable[[Sequence[Record]], Any] | None = None
        self.closed = 0
        self.quota: Sequence[Quota] = ()

    def quotas(self) -> Sequence[Quota]:
        return self.quota

    def batch_key(self, record: Record) -> Any:
        return record.fields.get("email")

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        self.calls.append(list(records))
        if self.before:
            await self.before(records)
        return self.answer(records)

    def preview(self, records: Sequence[Record]) -> Preview:
        return Preview("POST", "https://crm.example.com", {}, "")

    async def close(self) -> None:
        self.closed += 1

    @property
    def emails(self) -> list[str]:
        """The records in the order in which they came, each by its e-mail."""
        return [record.fields["email"] for call in self.calls for record in call]


SCHEDULE = RetrySchedule(initial=10.0, max=3600.0, multiplier=2.0, jitter=0.0, give_up_after=3 * 86400.0)


def destination(
    name: str,
    connector: Connector,
    *,
    concurrency: int = 10,
    batch: int = 1,
    linger: float = 0.0,
    timeout: float = 30.0,
    rate_limit: RateLimit | None = None,
    retry: RetrySchedule = SCHEDULE,
) -> Destination:
    return Destination(
        name=name,
        connector_name="fake",
        settings=DestinationSettings(),
        connector=connector,
        rate_limit=rate_limit,
        pace=Pace(rate_limit.requests, rate_limit.per) if rate_limit else None,
        concurrency=concurrency,
        batch_size=batch,
        batch_linger=linger,
        timeout=timeout,
        retry=retry,
    )


def route(name: str, fields: Mapping[str, Any] | None = None, **changes: Any) -> Route:
    known: dict[str, Any] = {
        "name": name,
        "destination": name,
        "events": frozenset({"Lead", "Appointment"}),
        "when": None,
        "mapping": mapping(fields or {"email": "Email", "session": "SessionID"}),
        "settings": RouteSettings(),
    }
    return Route(**{**known, **changes})


def chatbot(name: str = "acme", *routes: Route, **changes: Any) -> Chatbot:
    known: dict[str, Any] = {
        "name": name,
        "serial_numbers": (SERIAL,),
        "signing_keys": (KEY,),
        "signature_tolerance": 900.0,
        "ack": Ack.QUEUED,
        "ack_within": 10.0,
        "test_when": None,
        "insecure_skip_verify": False,
        "routes": routes,
        "tests": (),
    }
    return Chatbot(**{**known, **changes})


def config(chatbots: Sequence[Chatbot], destinations: Sequence[Destination] = (), **server: Any) -> Config:
    known: dict[str, Any] = {
        "listen": ListenAddress("127.0.0.1", 0),
        "admin": ListenAddress("127.0.0.1", 0),
        "admin_token": None,
        "max_body": 1024 * 1024,
        "read_timeout": 10.0,
    }
    return Config(
        server=ServerSettings(**{**known, **server}),
        store=StoreSettings("sqlite:///unused.db", 30 * 86400.0, 180 * 86400.0),
        destinations={each.name: each for each in destinations},
        chatbots={each.name: each for each in chatbots},
    )


EXPRESSIONS = JinjaExpressions(members=EVENT_NAME_MEMBERS)


def mapping(fields: Mapping[str, Any]) -> FieldMapping:
    """Compile a route's `fields`, as they are written in YAML."""
    return compile_mapping({name: FieldForm.model_validate(form) for name, form in fields.items()}, EXPRESSIONS)


def field_traces(compiled: FieldMapping, variables: Mapping[str, Any]) -> list[FieldTrace]:
    """Return the computation of each field, also where there is no record."""
    traces: list[FieldTrace] = []
    with contextlib.suppress(MappingError):
        compiled.apply(variables, traces)
    return traces


def flipped(text: bytes) -> Iterator[bytes]:
    """Yield a text with each of its bits flipped, one at a time."""
    for bit in range(len(text) * 8):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
