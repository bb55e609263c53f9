"""The vendor's list of leads compared with the stored events, to find missed leads. Pure.

The vendor's page "Lead/Appointment Data API" documents the request, but only two fields of an element of the answer.
So an element is read by the field names of the webhook, in any case, and nothing is guessed: a known lead that is
taken for a missed one would be in the CRM twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from bridge.event import EVENT_FIELDS, EVENT_TYPES, decode, fields_of, serial_number
from bridge.identity import Identity
from bridge.mapping.person_name import split_name

PATH: Final = "/chat/Chatbot/LeadList"
_IDENTITY: Final = ("Type", "SessionID", "CreateTime", "Email", "PhoneNumber")
"""Fields that `bridge.identity.Identity.event_id` uses besides the chatbot."""
_SAME_SECONDS: Final = 1.0
"""Two times within these seconds may be the same, written with more or fewer digits."""
_NO_SESSION: Final = {"", "0"}


class AnswerError(ValueError):
    """The vendor's answer is not a list of leads; the message leaves out its content."""


class Verdict(StrEnum):
    """Results of the comparison for an element of the vendor's list."""

    MISSED = "missed"
    KNOWN = "known"
    DOUBTFUL = "doubtful"
    """It may be a known lead in another spelling, or changed since."""
    INCOMPLETE = "incomplete"
    """It lacks data to identify it."""


@dataclass(frozen=True, slots=True, repr=False)
class Listed:
    """An element of the vendor's list that can be identified, as the webhook would have sent it."""

    id: str
    """Id of its event."""
    document: dict[str, Any]
    kin: tuple[str, int]
    """Its type and a key of its session (or person, without a session): equal for leads that may be the same."""
    created: datetime
    contact: int


@dataclass(frozen=True, slots=True, repr=False)
class Judged:
    """An element and the result of its comparison."""

    verdict: Verdict
    element: Any
    """As it stands in the vendor's answer."""
    why: str = ""
    listed: Listed | None = None
    """None if it is incomplete."""
    known: str | None = None
    """Id of the stored event that it is, or may be."""


def days(since: date, today: date) -> Iterator[tuple[str, str]]:
    """Return the date ranges to ask for, a day each, up to today.

    The ranges are short because the vendor does not document that a long list is complete. It does not document either
    if the end belongs to a range; if it does, a day's leads are listed twice, which does no harm.
    """
    for number in range((today - since).days + 1):
        day = since + timedelta(number)
        yield day.isoformat(), (day + timedelta(1)).isoformat()


def read_answer(status: int, body: bytes) -> list[Any]:
    """Return the elements of an answer. Raises AnswerError unless the answer says success."""
    if status != HTTPStatus.OK:
        raise AnswerError(f"answered {status}")
    try:
        document = decode(body)
    except ValueError:
        raise AnswerError("the answer is not JSON") from None
    answer = (_by_name(document) if isinstance(document, dict) else None) or {}
    if answer.get("success") is not True:
        code = answer.get("code")
        said = f", with code {code}" if isinstance(code, int) else ""
        raise AnswerError(f"the answer does not say success{said}")
    listed = answer.get("data")
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise AnswerError("the answer's Data is not a list")
    return listed


def read_element(element: Any, serial: str, identity: Identity) -> Listed | str:
    """Read an element as the webhook would have sent it, or return the reason why it cannot be identified.

    All fields of an event's identity must be there, with the webhook's own names, though they may be empty.
    """
    named = _by_name(element) if isinstance(element, dict) else None
    if named is None:
        return "it is not an object whose fields have a name each"
    missing = [name for name in _IDENTITY if name.casefold() not in named]
    if missing:
        return f"it has no {', '.join(missing)}"
    document = _document(named, element, serial)
    fields = fields_of(document)
    if fields is None:
        return "a field of it is not a plain value"
    created = _moment(str(fields["CreateTime"]))
    if created is None:
        return "its CreateTime is not a time"
    fault = _fault(fields, serial)
    return fault or Listed(
        identity.event_id(fields), document, _kin(fields, identity), created, identity.contact(fields)
    )


def read_stored(event_id: str, payload: bytes, serial: str, identity: Identity) -> Listed | None:
    """Read a stored event in any state; None if it is not a lead of this chatbot."""
    try:
        document = decode(payload)
    except ValueError:
        return None
    fields = fields_of(document)
    if fields is None or serial_number(document) != serial:
        return None
    created = _moment(str(fields["CreateTime"])) or datetime.min.replace(tzinfo=UTC)
    return Listed(event_id, document, _kin(fields, identity), created, identity.contact(fields))


def judge(elements: Sequence[Any], serial: str, known: Sequence[Listed], identity: Identity) -> list[Judged]:
    """Compare the elements with the stored events; return the results, oldest first, each element once.

    Args:
        elements: The elements of the vendor's answers.
        serial: The chatbot's serial number.
        known: The stored events of the same time, at least those with the `kin` of an element.
        identity: The key of the store's ids.
    """
    read = [(each, read_element(each, serial, identity)) for each in elements]
    listed = {each.id: (element, each) for element, each in read if isinstance(each, Listed)}
    ids = {each.id for each in known}
    # An element with exactly the id of a stored event shows that the list and the webhook spell values alike.
    spells_alike = not ids.isdisjoint(listed)
    kin: dict[tuple[str, int], list[Listed]] = {}
    for stored in known:
        kin.setdefault(stored.kin, []).append(stored)
    judged = [Judged(Verdict.INCOMPLETE, element, each) for element, each in read if isinstance(each, str)]
    for element, each in sorted(listed.values(), key=lambda pair: pair[1].created):
        if each.id in ids:
            judged.append(Judged(Verdict.KNOWN, element, listed=each, known=each.id))
        else:
            judged.append(_judge(element, each, kin.get(each.kin, ()), spells_alike=spells_alike))
    return judged


def _judge(element: Any, each: Listed, kin: Sequence[Listed], *, spells_alike: bool) -> Judged:
    """Compare an element without a known id with the stored events of its type and session."""
    for stored in kin:
        if abs((stored.created - each.created).total_seconds()) <= _SAME_SECONDS:
            if stored.contact == each.contact:
                return Judged(Verdict.KNOWN, element, listed=each, known=stored.id)
            why = f"event {stored.id} is of the same session and time, with another e-mail address or phone number"
            return Judged(Verdict.DOUBTFUL, element, why, each, stored.id)
    if kin and not spells_alike:
        stored = kin[-1]
        why = (
            f"event {stored.id} is of the same session and another time, and nothing in this list shows that it writes "
            "times as the webhook does"
        )
        return Judged(Verdict.DOUBTFUL, element, why, each, stored.id)
    return Judged(Verdict.MISSED, element, listed=each)


def _by_name(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the members by their names in lower case; None if two names are equal then."""
    named = {name.casefold(): value for name, value in given.items()}
    return named if len(named) == len(given) else None


def _document(named: Mapping[str, Any], element: Mapping[str, Any], serial: str) -> dict[str, Any]:
    """Return an element as the webhook's document, with its other fields after the webhook's own."""
    document = {name: named.get(name.casefold()) for name in EVENT_FIELDS}
    document = {name: "" if value is None else value for name, value in document.items()}
    document["SerialNumber"] = document["SerialNumber"] or serial
    name = named.get("name")
    if isinstance(name, str) and not (document["FirstName"] or document["LastName"]):
        whole = split_name(name)
        document["FirstName"], document["LastName"] = whole.first, whole.rest
    own = {each.casefold() for each in EVENT_FIELDS}
    return {**document, **{key: value for key, value in element.items() if key.casefold() not in own}}


def _fault(fields: Mapping[str, Any], serial: str) -> str:
    """Return why an element with all fields is not an event; empty if it is one."""
    if fields["Type"] not in EVENT_TYPES:
        return f"its Type is not {' or '.join(EVENT_TYPES)}"
    if serial_number(fields) != serial:
        return "its SerialNumber is that of another chatbot"
    if _session(fields) in _NO_SESSION and not any(str(fields[name]).strip() for name in ("Email", "PhoneNumber")):
        return "it has neither a session nor a person"
    return ""


def _session(fields: Mapping[str, Any]) -> str:
    return str(fields["SessionID"]).strip()


def _kin(fields: Mapping[str, Any], identity: Identity) -> tuple[str, int]:
    session = _session(fields)
    if session in _NO_SESSION:
        return str(fields["Type"]), identity.contact(fields)
    return str(fields["Type"]), identity.contact({**fields, "Email": "", "PhoneNumber": "", "SessionID": session})


def _moment(text: str) -> datetime | None:
    """Read a time; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
