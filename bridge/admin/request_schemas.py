"""Models of the API's requests, also used for its OpenAPI document.

A field whose name stands in braces in the path comes from the path. Any other field comes from the query of a GET, or
from the JSON body of a POST. The models have bounds, so that a request that is too large is refused before it is run.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from bridge.event import EventState, Room
from bridge.operations.audit import Action
from bridge.operations.leads import LeadState
from bridge.operations.recovery import RecoveryAction
from bridge.store.commands import BulkAction
from bridge.store.interface import PAGE, DeliveryState
from bridge.store.quarantine import Kept
from connectors.base import Reason

PAGE_LIMIT: Final = 500
ID_LIMIT: Final = 2**63 - 1
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _flag(value: object) -> object:
    """Accept JSON's two words only, because pydantic also accepts `on` and `1`."""
    flags: dict[object, bool] = {"true": True, "false": False, True: True, False: False}
    return flags.get(value, "no flag") if isinstance(value, str | bool) else value


def _digits(value: object) -> object:
    """Accept a number in a query only as JSON writes it, because pydantic also accepts `1_000` and ` 1 `.

    In a body 5.0 is an integer (JSON Schema, validation, section 6.1.1).
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must be a number")
    return value


def _moment(value: object) -> object:
    """Read a time in the form of RFC 3339, because pydantic also accepts a number of seconds and a bare date."""
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
# Characters by their numbers, not `\s`, because each dialect of patterns has its own set of blanks.
_LETTER = r"[!-?A-~\u00a1-\ud7ff\ue000-\ufffd]"
Email = Annotated[str, StringConstraints(pattern=rf"^{_LETTER}{{1,64}}@{_LETTER}{{1,255}}$")]
EmailPart = Annotated[str, StringConstraints(pattern=rf"^(?:@|{_LETTER}){{3,320}}$")]
PersonPart = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{2,320}$")]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()./-]{4,30}[0-9]$")]
LineText = Annotated[str, StringConstraints(pattern=r"^[ -~\u00a1-\ud7ff\ue000-\ufffd]{1,200}$")]
Cause = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Days = Annotated[int, Field(ge=1, le=90), BeforeValidator(_digits)]
Span = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}[smhd]$")]

BeforeField = Annotated[Number | None, Field(description="The cursor: `next` of the page before.")]
SinceField = Annotated[Moment | None, Field(description="Received at this time or later, ISO 8601 with a zone.")]
UntilField = Annotated[Moment | None, Field(description="Received before this time, ISO 8601 with a zone.")]
ChatbotField = Annotated[Name | None, Field(description="The chatbot's name.")]
DestinationField = Annotated[Name | None, Field(description="The destination's name.")]
RevealField = Annotated[
    Flag,
    Field(
        description="True to show personal data and messages of destinations. For operators, with an entry in the "
        "audit log."
    ),
]


class ApiRequest(BaseModel):
    """A request to the API. Unknown names are errors."""

    # Built with the first request: a start of the bridge does not wait for it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class EmptyRequest(ApiRequest):
    """A request without fields."""


class ReportRequest(ApiRequest):
    """The length of a report."""

    days: Annotated[int, Field(ge=1, le=92), BeforeValidator(_digits)] = Field(7, description="Number of days.")
    until: Literal["today", "yesterday"] = Field(
        "today", description="The last day: today, which is not over, or yesterday."
    )
    chatbot: str | None = Field(None, description="Only this chatbot.")


class EventListRequest(ApiRequest):
    """Filter and cursor of a page of events."""

    chatbot: ChatbotField = None
    state: EventState | None = None
    since: SinceField = None
    until: UntilField = None
    before: BeforeField = None
    limit: Limit = PAGE


class SearchRequest(EventListRequest):
    """Search for the events of a person. Its fields are in the body, because addresses of requests end up in logs."""

    email: Email | None = Field(default=None, description="The whole address, in any case.")
    email_part: EmailPart | None = Field(
        default=None, description="Any part of the address. For operators, and ignored with `email` or `phone`."
    )
    person_part: PersonPart | None = Field(
        default=None,
        description="Any part of the name or of the address. For operators, and ignored with the other fields.",
    )
    phone: Phone | None = Field(
        default=None,
        description="The number or its last digits, grouped in any way; viewers need at least ten.",
    )


class EventRequest(ApiRequest):
    """Request for an event."""

    id: EventId = Field(description="Id of the event, or a unique beginning of it.")
    reveal: RevealField = False


class EventIdRequest(ApiRequest):
    """Request about an event."""

    id: EventId = Field(description="Id of the event, or a unique beginning of it.")


class LeadExportRequest(ApiRequest):
    """Filter of a file of leads."""

    state: LeadState | None = Field(
        default=None, description="The state of one of its deliveries, or of an event without deliveries."
    )
    chatbot: ChatbotField = None
    destination: DestinationField = None
    since: SinceField = None
    until: UntilField = None
    reveal: RevealField = False


class DeliveryListRequest(ApiRequest):
    """Filter and cursor of a page of deliveries."""

    chatbot: ChatbotField = None
    destination: DestinationField = None
    state: DeliveryState | None = None
    reason: Reason | None = None
    warning: Annotated[Flag | None, Field(description="True or false: delivered with or without a warning.")] = None
    since: SinceField = None
    until: UntilField = None
    before: BeforeField = None
    limit: Limit = PAGE


class NumberRequest(ApiRequest):
    """Request about a delivery, a request in quarantine, a run or an inquiry."""

    id: Number


class ReleaseRequest(NumberRequest):
    """Request to release a request from quarantine."""

    any_age: Flag = Field(
        default=False, description="True to accept a signature that is too old or too new. Its key must match."
    )


class DeliveryRequest(NumberRequest):
    """Request for a delivery."""

    reveal: RevealField = False


class QuarantineListRequest(ApiRequest):
    """Filter and cursor of a page of refused requests."""

    chatbot: ChatbotField = None
    before: BeforeField = None
    limit: Limit = PAGE


class AuditListRequest(ApiRequest):
    """Filter and cursor of a page of the audit log."""

    action: Action | None = Field(default=None, description="Only entries of this action.")
    before: BeforeField = None
    limit: Limit = PAGE


class ProblemListRequest(ApiRequest):
    """Filter of the list of problems."""

    chatbot: ChatbotField = None
    destination: DestinationField = None


class CauseRequest(ApiRequest):
    """Request about the cause of a problem."""

    cause: Cause = Field(description="`cause` of the problem.")
    chatbot: Annotated[Name | None, Field(description="Only the part of the problem that is this chatbot's.")] = None


class AcknowledgeRequest(CauseRequest):
    """Request to acknowledge a problem."""

    days: Days | None = Field(
        default=None, description="Ignore the cause for so many days. Without it, its next case shows it again."
    )


class RecoveryRequest(ApiRequest):
    """Filter of requests in quarantine or of unrecognised events, and the action."""

    action: RecoveryAction = Field(description="`release` verifies requests again, and routes events again.")
    kept: Kept
    chatbot: ChatbotField = None
    room: Room | None = Field(default=None, description="Only requests in this room of the quarantine.")
    ids: Annotated[list[Number], Field(max_length=PAGE_LIMIT)] | None = Field(
        default=None, description="Only the requests with these ids. They match no event, and neither does `room`."
    )
    any_age: Flag = Field(
        default=False, description="True to accept a signature that is too old or too new. Its key must match."
    )


class RecoveryRunRequest(RecoveryRequest):
    """Request to begin a recovery after its preview."""

    through: Number | None = Field(default=None, description="`through` of the preview. Later ones are left alone.")


class SpanRequest(ApiRequest):
    """Request for the events of the last hours or days."""

    span: Span = Field(default="24h", description="Only events of this time: `90m`, `24h`, `30d`.")


class LaneListRequest(ApiRequest):
    """Request for the list of lanes."""

    reveal: RevealField = False


class LaneRequest(ApiRequest):
    """Request about a lane."""

    name: Name


class ReportNameRequest(ApiRequest):
    """Request about a configured report."""

    name: Name


class PauseRequest(LaneRequest):
    """Request to pause a lane."""

    reason: LineText = Field(default="by an operator", description="Reason, for people who look at the lane.")


class BulkRequest(ApiRequest):
    """Filter of a bulk change, and the action."""

    action: BulkAction
    state: Literal[DeliveryState.PENDING, DeliveryState.DEAD] = Field(
        default=DeliveryState.DEAD, description="Only pending and dead deliveries can be selected."
    )
    chatbot: ChatbotField = None
    destination: DestinationField = None
    reason: Reason | None = None


class RunRequest(BulkRequest):
    """Request to begin a bulk change after its preview."""

    through: Number | None = Field(
        default=None, description="`through` of the preview. Later deliveries are left alone."
    )
