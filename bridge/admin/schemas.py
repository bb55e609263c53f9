"""What the API answers: models that its OpenAPI document is made of as well. Times are ISO 8601 in UTC."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Meaning = Annotated[str | None, Field(description="The reason in plain words.")]
Words = Annotated[
    str | None,
    Field(
        description="The destination's words: null unless revealed. Operators always read what the bridge itself says."
    ),
]


class Shape(BaseModel):
    """An answer, or a part of one."""

    # Built with the first answer: a start of the bridge does not wait for it.
    model_config = ConfigDict(frozen=True, defer_build=True)


class Failure(Shape):
    """Why a request was not answered."""

    status: Literal["error"] = "error"
    error: str = Field(description="What is wrong and what to do about it.")


class EventShape(Shape):
    """An event without what it holds."""

    id: str
    state: str
    chatbot: str | None
    type: str | None
    form: str = Field(description="Which form of the body the signature covers.")
    received_at: str
    deliveries: Mapping[str, int] = Field(description="How many of its deliveries are in which state.")


class EventPage(Shape):
    """Events, newest first."""

    events: Sequence[EventShape]
    next: int | None = Field(description="`before` of the next page; a page with no events may have one.")


class DeliveryShape(Shape):
    """A delivery, without anything that its event or the destination said."""

    id: int
    state: str
    chatbot: str | None
    destination: str
    route: str
    event: str
    received_at: str
    due_at: str | None
    settled_at: str | None
    tries: int
    failures: int
    reason: str | None
    configured: bool = Field(description="False if its destination is no longer configured, so that it only waits.")


class DeliveryPage(Shape):
    """Deliveries, newest first."""

    deliveries: Sequence[DeliveryShape]
    next: int | None = Field(description="`before` of the next page; a page with no deliveries may have one.")


class EventStory(Shape):
    """An event with what it holds, and its deliveries."""

    event: EventShape
    payload: Any = Field(description="Its JSON value, or its text where it is no JSON; personal data masked.")
    masked: bool
    deliveries: Sequence[DeliveryShape]


class AttemptShape(Shape):
    """One try of a delivery."""

    number: int
    started_at: str
    seconds: float
    outcome: str
    reason: str | None
    meaning: Meaning
    status: int | None
    detail: Words


class DeliveryStory(Shape):
    """All about a delivery."""

    delivery: DeliveryShape
    failing_since: str | None
    meaning: Meaning
    detail: Words
    warned: bool = Field(description="Whether the delivery carries a warning.")
    warning: str | None = Field(description="Null unless revealed.")
    remote_id: str | None = Field(description="Null unless revealed.")
    remote_url: str | None = Field(description="Null unless revealed.")
    memo: Mapping[str, str] = Field(description="Empty unless revealed.")
    masked: bool
    attempts: Sequence[AttemptShape]


class QuotaShape(Shape):
    """What a destination has last said is left."""

    name: str
    limit: int
    remaining: int
    until: str


class LaneShape(Shape):
    """A destination's lane, and what waits in it."""

    name: str
    state: str
    configured: bool
    pending: int
    oldest_pending_at: str | None
    dead: int
    owner: str | None
    paused_by: str | None
    reason: str | None
    meaning: Meaning
    detail: Words
    paused_until: str | None
    quotas: Sequence[QuotaShape] = Field(description="Known only to a process that works the lane.")


class LaneList(Shape):
    """All lanes by name."""

    lanes: Sequence[LaneShape]


class QuarantineShape(Shape):
    """A refused request without its body."""

    id: int
    chatbot: str
    received_at: str
    bytes: int
    room: str = Field(
        description="mismatch: an event under another key; stale: the key matches, the time does not; junk: the rest."
    )


class QuarantinePage(Shape):
    """Refused requests, newest first."""

    requests: Sequence[QuarantineShape]
    next: int | None


class AuditShape(Shape):
    """An entry of the audit log."""

    id: int
    at: str
    action: str
    role: str
    means: str = Field(description="How they have shown that they may: session, token, open (none is configured).")
    session: str | None = Field(description="A mark that tells sessions apart.")
    address: str | None = Field(description="Where the request came from; of a command nothing is told.")
    subject: str | None = Field(description="What it was done on.")
    subject_id: str | None = Field(description="Its id, or its name.")
    count: int | None = Field(description="How many it was done to.")
    facts: Mapping[str, str | int] = Field(description="What chose them, what state they were in.")


class AuditPage(Shape):
    """Entries of the audit log, newest first."""

    entries: Sequence[AuditShape]
    next: int | None


class RouteShape(Shape):
    """A route of a chatbot."""

    name: str
    destination: str
    events: Sequence[str]
    when: str | None
    fields: Sequence[str]
    settings: Mapping[str, Any]


class ChatbotShape(Shape):
    """A chatbot as it is configured, without its keys."""

    name: str
    serial_number: str
    signing_keys: int = Field(description="How many it has.")
    signature_tolerance: float
    ack: str
    ack_within: float
    verified: bool = Field(description="False where events are taken without a signature.")
    routes: Sequence[RouteShape]


class ChatbotList(Shape):
    """All chatbots by name."""

    chatbots: Sequence[ChatbotShape]


class DestinationShape(Shape):
    """A destination as it is configured, secrets masked."""

    name: str
    connector: str
    settings: Mapping[str, Any]
    rate_limit: Mapping[str, float] | None
    concurrency: int
    batch_size: int
    batch_linger: float
    timeout: float
    retry: Mapping[str, float]


class DestinationList(Shape):
    """All destinations by name."""

    destinations: Sequence[DestinationShape]


class ProblemShape(Shape):
    """One thing that the author of the configuration should change."""

    severity: Literal["error", "warning"]
    file: str
    line: int
    column: int
    path: str
    message: str


class ConfigurationShape(Shape):
    """The configuration in use, secrets masked, and what is wrong with the one on disk."""

    server: Mapping[str, Any]
    store: Mapping[str, Any]
    chatbots: Sequence[ChatbotShape]
    destinations: Sequence[DestinationShape]
    problems: Sequence[ProblemShape]
    held: Sequence[ProblemShape]
    """Changes that wait for a confirmation."""
    left_out: Sequence[str]
    """Files that are not in use because of their errors."""


class Cause(Shape):
    """Dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int


class Overview(Shape):
    """How it goes."""

    since: str = Field(description="When the first of the hours begins.")
    accepted_by_hour: Sequence[int]
    accepted_today: int = Field(description="Since midnight, UTC.")
    deliveries: Mapping[str, int] = Field(description="What has become of the deliveries of those hours, by state.")
    complete: bool = Field(description="False where there is so much that only the newest part was counted.")
    pending: int
    dead: int
    quarantined: Mapping[str, int] = Field(description="Requests in quarantine, by room.")
    oldest_pending_at: str | None
    causes: Sequence[Cause]
    lanes: Sequence[LaneShape]


class Done(Shape):
    """What came of an action."""

    status: Literal["success"] = "success"
    message: str


class Extent(Shape):
    """How many deliveries a filter chooses."""

    count: int
    through: int = Field(description="The id of the last one; give it along to touch no others.")


class Run(Shape):
    """An action on many deliveries."""

    id: int
    action: str
    chosen: Mapping[str, str]
    state: Literal["running", "done", "cancelled", "failed"]
    total: int
    done: int
    error: str | None


class RunList(Shape):
    """The latest of them in this process, newest first."""

    runs: Sequence[Run]
