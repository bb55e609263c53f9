"""Values that pass from the receiver to the store and on to the lane. Pure.

The sender's format is described on the vendor's page "Leads Webhook": ten fields, two types, `""` for unknown,
`SessionID` an integer, `CreateTime` in UTC.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from bridge.ingress import javascript_json

EVENT_FIELDS = (
    "SerialNumber",
    "Type",
    "FirstName",
    "LastName",
    "Email",
    "PhoneNumber",
    "CreateTime",
    "Content",
    "SessionID",
    "URI",
)
EVENT_TYPES = ("Lead", "Appointment")
NO_CONTACT = 0
"""Contact of an event whose deliveries have no order."""

_USUAL = frozenset({str, int})
"""Types of the fields of nearly every event."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Form(StrEnum):
    """Form of the body that the signature covers; see `signature`."""

    RAW = "raw"
    JSON = "json"
    UNSIGNED = "unsigned"


UNSIGNED = Form.UNSIGNED.value
"""Stands among `Verified.verified_by` for a chatbot that takes events without looking at their signature."""


class EventState(StrEnum):
    """State of an authentic event on receipt. It never changes, except from `UNRECOGNISED`."""

    ACCEPTED = "accepted"
    TEST = "test"
    UNRECOGNISED = "unrecognised"
    """Not JSON, of unknown shape or type, or of a chatbot that is not configured: kept for a person to look at, and
    routed again (then `ACCEPTED`) by `deliveries replay` once the configuration knows it."""


class Room(StrEnum):
    """Part of the quarantine for a refused request. Each has its own limits, so that none can displace another.

    Decided by `bridge.ingress.verification.room`.
    """

    MISMATCH = "mismatch"
    """An event, signed just now with a key that its chatbot does not have: perhaps the key is mistyped on this side."""
    STALE = "stale"
    """Signed with its chatbot's key, but too long ago or in the future: perhaps a clock is wrong."""
    JUNK = "junk"
    """Anything else: no signature, one that cannot be read, a wrong one that is old, or a body that is no event."""


class Verified(NamedTuple):
    """A payload whose signature holds, for the chatbot that it names. Only this can become an event."""

    payload: bytes
    """The signed payload: the body, its JSON form if that was signed, or an element of either."""
    document: Any
    """The payload's JSON value; None where it is not JSON (`null` is no event either)."""
    form: Form
    chatbot: str | None
    """The chatbot that it names, or that was addressed and has a key that verified it; None where there is none."""
    verified_by: tuple[str, ...] = ()
    """Fingerprints of the keys that verified it (`signature.key_fingerprint`), or `UNSIGNED`."""

    def __repr__(self) -> str:
        """Return the form without a value of the payload, since a repr ends up in logs."""
        return f"Verified(form={self.form.value!r}, chatbot={self.chatbot!r})"


class Event(NamedTuple):
    """One authentic payload, stored unchanged.

    The values that travel with each request are tuples, since a frozen dataclass takes several times as long to create.
    """

    id: str
    """32 hexadecimal digits, a keyed hash (`bridge.identity`): the same event has the same id at each receipt."""
    payload: bytes
    form: Form
    received_at: float
    """Seconds since the epoch."""
    chatbot: str | None
    """Name of the chatbot in the configuration; None where the payload does not lead to one."""
    state: EventState
    type: str | None
    """One of `EVENT_TYPES`; None for an event that is not `ACCEPTED`."""
    contact: int
    """Equal for events of one person: the key that deliveries stay in order by. 63 bits of a keyed hash."""
    fields: Mapping[str, Any]
    """All of `EVENT_FIELDS`, missing ones as `""`; empty where the payload is no object of plain values."""
    verified_by: tuple[str, ...] = ()
    """See `Verified.verified_by`. It may only become the event of a chatbot that admits one of these."""
    phone: int | None = None
    """The key of its phone number, for searches, where `contact` is that of an e-mail address."""

    def __repr__(self) -> str:
        """Return the event without a value of it, since a repr ends up in logs."""
        return f"Event(id={self.id!r}, state={self.state.value!r})"


def decode(body: bytes) -> Any:
    """Return the value of JSON; raise ValueError for texts that JavaScript's JSON.parse refuses too.

    orjson reads nearly everything. Texts that only JavaScript accepts (a lone surrogate from a text that was cut inside
    an emoji, broken UTF-8, a byte order mark) are read in a slower way, with U+FFFD for characters that cannot be
    encoded.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return encodable(javascript_json.parse(body))


def fields_of(document: Any) -> dict[str, Any] | None:
    """Return the sender's ten fields of a document, unknown ones as `""`; None if it is no object of plain values.

    Fields that the vendor adds later stay in the payload only.
    """
    if not isinstance(document, dict):
        return None
    fields = {name: document.get(name, "") for name in EVENT_FIELDS}
    if not _USUAL.issuperset(map(type, fields.values())):
        for name, value in fields.items():
            if isinstance(value, dict | list):
                return None
            fields[name] = _plain(value)
    if isinstance(fields["Type"], str):
        fields["Type"] = fields["Type"].strip()
    return fields


def text_of(document: Any, name: str) -> str:
    """Return one of the fields as text, whatever the others are; `""` if it is missing or no plain value.

    Takes a fraction of the time of `fields_of`, for thousands of documents.
    """
    value = document.get(name) if isinstance(document, dict) else None
    return "" if isinstance(value, dict | list) else str(_plain(value))


def email_of(document: object) -> str:
    """Return the e-mail address in a document."""
    return text_of(document, "Email")


def name_and_email(document: object) -> str:
    """Return name and address in a document, with a line break between, so that no part of the text spans both."""
    return f"{text_of(document, 'FirstName')} {text_of(document, 'LastName')}\n{email_of(document)}"


def restore(event_id: str, chatbot: str, payload: bytes, received_at: float) -> Event:
    """Return an accepted event from its stored parts. Raises ValueError for an invalid payload."""
    fields = fields_of(decode(payload))
    if fields is None or fields["Type"] not in EVENT_TYPES:
        raise ValueError("the payload is not of the sender's shape")
    return Event(
        id=event_id,
        payload=payload,
        form=Form.RAW,
        received_at=received_at,
        chatbot=chatbot,
        state=EventState.ACCEPTED,
        type=fields["Type"],
        contact=NO_CONTACT,
        fields=fields,
    )


def serial_number(document: Any) -> str | None:
    """Return the chatbot's serial number in a document, trimmed; None if there is none."""
    if not isinstance(document, dict):
        return None
    value = document.get("SerialNumber")
    return (value.strip() or None) if isinstance(value, str) else None


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, to the millisecond: `2026-11-24T10:00:00.250Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def encodable(value: Any) -> Any:
    """Return a JSON value with U+FFFD for each half of an emoji, which UTF-8 cannot hold, also in names.

    Events are read with it, and results of templates and mappings pass it, so connectors never see such a character.
    """
    if isinstance(value, str):
        return value if value.isascii() else _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return value
