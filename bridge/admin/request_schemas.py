"""What requests to the API may say: models that its OpenAPI document is made of as well.

A field is part of the path where its name stands there in braces; else of the query for a GET, of the JSON body for a
POST. Bounds stand in the models, so that a question that is too large is refused before it is asked.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from bridge.event import EventState
from bridge.operations.audit import Action
from bridge.store.commands import BulkAction
from bridge.store.interface import PAGE, DeliveryState
from connectors.base import Reason

PAGE_LIMIT: Final = 500
ID_LIMIT: Final = 2**63 - 1
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _flag(value: object) -> object:
    """Take only the two words that JSON has, where pydantic would take `on` and `1` too."""
    flags: dict[object, bool] = {"true": True, "false": False, True: True, False: False}
    return flags.get(value, "no flag") if isinstance(value, str | bool) else value


def _digits(value: object) -> object:
    """Take a number in a query only as JSON writes it, where pydantic would take `1_000` and ` 1 ` too.

    In a body 5.0 is an integer (JSON Schema, validation, section 6.1.1).
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must be a number")
    return value


def _moment(value: object) -> object:
    """Read a time as RFC 3339 writes it, where pydantic would take a number of seconds and a bare date too."""
    if not isinstance(value, str):
        return value
    if not _MOMENT.fullmatch(value.upper()):
        raise ValueError("must be a time with a zone, such as 2026-11-24T10:00:00Z")
    return datetime.fromisoformat(value.upper())


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Number = Annotated[int, Field(ge=1, le=ID_LIMIT), BeforeValidator(_digits)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT), BeforeValidator(_digits)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
EventId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{6,32}$")]
# Characters by their numbers, not `\s`: what counts as a blank is another thing in each language of patterns.
_LETTER = r"[!-?A-~\u00a1-\ud7ff\ue000-\ufffd]"
Email = Annotated[str, StringConstraints(pattern=rf"^{_LETTER}{{1,64}}@{_LETTER}{{1,255}}$")]
EmailPart = Annotated[str, StringConstraints(pattern=rf"^(?:@|{_LETTER}){{3,320}}$")]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()./-]{4,30}[0-9]$")]
Line = Annotated[str, StringConstraints(pattern=r"^[ -~\u00a1-\ud7ff\ue000-\ufffd]{1,200}$")]
Span = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}[smhd]$")]

Before = Annotated[Number | None, Field(description="The cursor: `next` of the page before.")]
Since = Annotated[Moment | None, Field(description="Received at this time or later, ISO 8601 with a zone.")]
Until = Annotated[Moment | None, Field(description="Received before this time, ISO 8601 with a zone.")]
Chatbot = Annotated[Name | None, Field(description="The chatbot's name.")]
Destination = Annotated[Name | None, Field(description="The destination's name.")]
Reveal = Annotated[
    Flag,
    Field(
        description="Whether personal data, and what destinations said, is shown; for operators, and it is written "
        "into the audit log."
    ),
]


class Given(BaseModel):
    """What a request says. Unknown names are errors."""

    # Built with the first request: a start of the bridge does not wait for it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class Nothing(Given):
    """A request that says nothing besides its path."""


class EventsGiven(Given):
    """Which events."""

    chatbot: Chatbot = None
    state: EventState | None = None
    since: Since = None
    until: Until = None
    before: Before = None
    limit: Limit = PAGE


class SearchGiven(EventsGiven):
    """Which events, by what a person is known by: in the body, since addresses of requests end in logs."""

    email: Email | None = Field(default=None, description="The whole address, upper and lower case alike.")
    email_part: EmailPart | None = Field(
        default=None, description="Any part of the address, for operators; not used together with `email` or `phone`."
    )
    phone: Phone | None = Field(
        default=None,
        description="The number or the end of it, however it is grouped; viewers write at least ten digits.",
    )


class EventGiven(Given):
    """Which event."""

    id: EventId = Field(description="The event's id, or a unique beginning of it.")
    reveal: Reveal = False


class EventIdGiven(Given):
    """Which event."""

    id: EventId = Field(description="The event's id, or a unique beginning of it.")


class DeliveriesGiven(Given):
    """Which deliveries."""

    chatbot: Chatbot = None
    destination: Destination = None
    state: DeliveryState | None = None
    reason: Reason | None = None
    since: Since = None
    until: Until = None
    before: Before = None
    limit: Limit = PAGE


class NumberGiven(Given):
    """Which delivery, request or run."""

    id: Number


class ReleaseGiven(NumberGiven):
    """A refused request, and whether its signature may be of any time."""

    any_age: Flag = Field(
        default=False, description="Release it although its signature is too old or too new. Its key must match."
    )


class DeliveryGiven(NumberGiven):
    """Which delivery."""

    reveal: Reveal = False


class QuarantineGiven(Given):
    """Which refused requests."""

    chatbot: Chatbot = None
    before: Before = None
    limit: Limit = PAGE


class AuditGiven(Given):
    """Which entries of the audit log."""

    action: Action | None = Field(default=None, description="Only those that tell of this.")
    before: Before = None
    limit: Limit = PAGE


class SpanGiven(Given):
    """How far back."""

    span: Span = Field(default="24h", description="What was received within this time: `90m`, `24h`, `30d`.")


class LanesGiven(Given):
    """The request for the list of lanes, and whether destinations' words are revealed."""

    reveal: Reveal = False


class LaneGiven(Given):
    """Which lane."""

    name: Name


class PauseGiven(LaneGiven):
    """Which lane, and why."""

    reason: Line = Field(default="by an operator", description="Why, for those who see it.")


class BulkGiven(Given):
    """Which deliveries, and what is done with all of them."""

    action: BulkAction
    state: Literal[DeliveryState.PENDING, DeliveryState.DEAD] = Field(
        default=DeliveryState.DEAD, description="Only pending and dead ones can be chosen."
    )
    chatbot: Chatbot = None
    destination: Destination = None
    reason: Reason | None = None


class RunGiven(BulkGiven):
    """The same, once the preview has been seen."""

    through: Number | None = Field(
        default=None, description="`through` of the preview: what has come since then is not touched."
    )
