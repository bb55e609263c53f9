"""Models of the API's responses, also used for its OpenAPI document. Times are ISO 8601 in UTC."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MeaningField = Annotated[str | None, Field(description="The reason in plain words.")]
DetailField = Annotated[
    str | None,
    Field(description="Message of the destination; null unless revealed. Operators see the bridge's own messages."),
]


class ApiSchema(BaseModel):
    """A response of the API, or a part of one."""

    # Built with the first response: a start of the bridge does not wait for it.
    model_config = ConfigDict(frozen=True, defer_build=True)


class FailureSchema(ApiSchema):
    """The reason why a request failed."""

    status: Literal["error"] = "error"
    error: str = Field(description="The problem, and the next step.")


class EventSchema(ApiSchema):
    """An event without its payload."""

    id: str
    state: str
    chatbot: str | None
    type: str | None
    form: str = Field(description="Form of the body that the signature covers.")
    received_at: str
    deliveries: Mapping[str, int] = Field(description="Number of its deliveries in each state.")


class EventPageSchema(ApiSchema):
    """Events, newest first."""

    events: Sequence[EventSchema]
    next: int | None = Field(description="`before` of the next page; a page with no events may have one.")


class DeliverySchema(ApiSchema):
    """A delivery without any text of its event or destination."""

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
    warned: bool = Field(description="True if it was delivered with a warning.")
    configured: bool = Field(description="False if its destination is no longer configured, so that it only waits.")


class DeliveryPageSchema(ApiSchema):
    """Deliveries, newest first."""

    deliveries: Sequence[DeliverySchema]
    next: int | None = Field(description="`before` of the next page; a page with no deliveries may have one.")


class EventDetailsSchema(ApiSchema):
    """An event with its payload and its deliveries."""

    event: EventSchema
    payload: Any = Field(
        description="JSON value, or the text of other bodies. Personal data is masked unless revealed."
    )
    masked: bool
    deliveries: Sequence[DeliverySchema]


class ExchangeSchema(ApiSchema):
    """One request of an attempt with its answer. Secrets are masked, and long texts are cut."""

    method: str
    url: str = Field(description="Without the path, if the call was shared.")
    sent: str | None = Field(description="Body of the request.")
    status: int | None
    received: str | None = Field(description="Body of the answer.")
    fault: str | None = Field(description="Reason why there is no whole answer.")
    shared: bool = Field(
        description="True if the call had records of other people too; only the parts of this one are shown."
    )


class AttemptSchema(ApiSchema):
    """One attempt of a delivery."""

    number: int
    started_at: str
    seconds: float
    outcome: str
    reason: str | None
    meaning: MeaningField
    status: int | None
    detail: DetailField
    exchanges: Sequence[ExchangeSchema] = Field(
        description="Requests and answers, kept for 7 days; empty unless revealed."
    )


class DeliveryDetailsSchema(ApiSchema):
    """All about a delivery."""

    delivery: DeliverySchema
    failing_since: str | None
    meaning: MeaningField
    detail: DetailField
    warning: str | None = Field(description="Null unless revealed.")
    remote_id: str | None = Field(description="Null unless revealed.")
    remote_url: str | None = Field(description="Null unless revealed.")
    memo: Mapping[str, str] = Field(description="Empty unless revealed.")
    masked: bool
    attempts: Sequence[AttemptSchema]


class QuotaSchema(ApiSchema):
    """A quota, as the destination last reported it."""

    name: str
    limit: int
    remaining: int
    until: str


class LaneSchema(ApiSchema):
    """The lane of a destination, with the number of its waiting deliveries."""

    name: str
    state: str
    configured: bool
    pending: int
    oldest_pending_at: str | None
    dead: int
    owner: str | None
    paused_by: str | None
    reason: str | None
    meaning: MeaningField
    detail: DetailField
    paused_until: str | None
    paused_since: str | None
    quotas: Sequence[QuotaSchema] = Field(description="Only the process that works the lane knows them.")


class LaneListSchema(ApiSchema):
    """All lanes by name."""

    lanes: Sequence[LaneSchema]


class QuarantineSchema(ApiSchema):
    """A refused request without its body."""

    id: int
    chatbot: str
    received_at: str
    bytes: int
    room: str = Field(
        description="mismatch: an event under another key. stale: the key matches, the time does not. junk: the rest."
    )


class QuarantinePageSchema(ApiSchema):
    """Refused requests, newest first."""

    requests: Sequence[QuarantineSchema]
    next: int | None


class AuditEntrySchema(ApiSchema):
    """An entry of the audit log."""

    id: int
    at: str
    action: str
    role: str
    user: str | None = Field(description="Name of the user, if it is one of `server.users`.")
    means: str = Field(description="Proof of the right to act: session, token, command, or open (without tokens).")
    session: str | None = Field(description="A mark that distinguishes sessions.")
    address: str | None = Field(description="Address that sent the request; null for a command.")
    subject: str | None = Field(description="Kind of object.")
    subject_id: str | None = Field(description="Id or name of the object.")
    count: int | None = Field(description="Number of changed objects.")
    facts: Mapping[str, str | int] = Field(description="Details, such as the filter, or the state before.")


class AuditPageSchema(ApiSchema):
    """Entries of the audit log, newest first."""

    entries: Sequence[AuditEntrySchema]
    next: int | None


class RouteSchema(ApiSchema):
    """A route of a chatbot."""

    name: str
    destination: str
    events: Sequence[str]
    when: str | None
    fields: Sequence[str]
    settings: Mapping[str, Any]


class ChatbotSchema(ApiSchema):
    """A chatbot as it is configured, without its keys."""

    name: str
    serial_number: str
    signing_keys: int = Field(description="Number of its keys.")
    signature_tolerance: float
    ack: str
    ack_within: float
    verified: bool = Field(description="False if events are accepted without a signature.")
    routes: Sequence[RouteSchema]


class ChatbotListSchema(ApiSchema):
    """All chatbots by name."""

    chatbots: Sequence[ChatbotSchema]


class DestinationSchema(ApiSchema):
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


class DestinationListSchema(ApiSchema):
    """All destinations by name."""

    destinations: Sequence[DestinationSchema]


class ProblemSchema(ApiSchema):
    """An error or a warning about the configuration."""

    severity: Literal["error", "warning"]
    file: str
    line: int
    column: int
    path: str
    message: str


class ConfigurationSchema(ApiSchema):
    """The configuration in use, with secrets masked, and the problems of its files."""

    server: Mapping[str, Any]
    store: Mapping[str, Any]
    chatbots: Sequence[ChatbotSchema]
    destinations: Sequence[DestinationSchema]
    problems: Sequence[ProblemSchema]
    unused_files: Sequence[str]
    """Files with errors that have no last good text."""


class CauseSchema(ApiSchema):
    """Dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int


class OverviewSchema(ApiSchema):
    """Counts of the last hours, of waiting deliveries and of dead letters."""

    since: str = Field(description="Beginning of the first hour.")
    accepted_by_hour: Sequence[int]
    accepted_today: int = Field(description="Since midnight, UTC.")
    deliveries: Mapping[str, int] = Field(description="Number of deliveries of these hours in each state.")
    complete: bool = Field(description="False if there are too many events, and only the newest were counted.")
    pending: int
    dead: int
    quarantined: Mapping[str, int] = Field(description="Number of requests in each room of the quarantine.")
    oldest_pending_at: str | None
    causes: Sequence[CauseSchema]
    lanes: Sequence[LaneSchema]


class ReportNumbersSchema(ApiSchema):
    """Numbers of a period. Leads count on the day of their receipt, deliveries on the day of their end."""

    leads: int
    delivered: int = Field(description="Deliveries that arrived, with and without a warning.")
    waiting: int = Field(description="Deliveries of the period's leads that wait now.")
    dead: int = Field(description="Deliveries that were given up.")
    warnings: int = Field(description="Deliveries that arrived with a warning.")
    share: float | None = Field(description="Part that arrived of delivered, waiting and dead; null without any.")
    median: float | None = Field(description="Seconds from receipt to delivery of half of the deliveries.")
    p95: float | None = Field(description="Seconds from receipt to delivery of 95 of 100 deliveries.")


class ReportLineSchema(ApiSchema):
    """Numbers of a chatbot, or of all, and those of the equally long period before."""

    chatbot: str | None = Field(description="Null for all together.")
    numbers: ReportNumbersSchema
    before: ReportNumbersSchema


class ReportProblemSchema(ApiSchema):
    """A problem of the moment."""

    title: str
    why: str
    count: int


class ReportSchema(ApiSchema):
    """Leads and deliveries of the last days, for all and by chatbot."""

    days: int
    since: str = Field(description="Beginning of the first day, UTC.")
    until: str = Field(description="End of the last day, UTC; the moment of the report if the last day is today.")
    whole: ReportLineSchema
    chatbots: Sequence[ReportLineSchema] = Field(
        description="All configured chatbots, and others that had leads in these days; most leads first."
    )
    problems: Sequence[ReportProblemSchema] = Field(description="What needs a person now, the worst first.")


class ProblemSampleSchema(ApiSchema):
    """One of the leads of a problem."""

    event: str
    person: str = Field(description="Name and address, shortened; masked for viewers.")


class AcknowledgementSchema(ApiSchema):
    """A person's statement that a problem needs nobody else for now."""

    user: str = Field(description="Name or role of the person.")
    at: str
    until: str | None = Field(description="Null if the next case of the cause ends it.")


class ProblemGroupSchema(ApiSchema):
    """A cause of trouble, and what it concerns."""

    cause: str = Field(description="Name of the cause, for `acknowledge` and `reopen`.")
    kind: str
    title: str
    why: str
    fix: str
    count: int = Field(description="Number of the leads, requests or findings that it concerns.")
    chatbots: Mapping[str, int] = Field(description="Chatbots that it concerns, with their part of the count.")
    destination: str | None
    reason: str | None
    first_at: str | None
    last_at: str | None
    sample: ProblemSampleSchema | None
    acknowledged: AcknowledgementSchema | None


class ProblemListSchema(ApiSchema):
    """Everything that needs a person, the worst kind first, and last what somebody has acknowledged."""

    problems: Sequence[ProblemGroupSchema]


class ActionResultSchema(ApiSchema):
    """The result of an action."""

    status: Literal["success"] = "success"
    message: str


class ExtentSchema(ApiSchema):
    """Number of deliveries, requests or events that a filter selects."""

    count: int
    through: int = Field(description="Id of the last one. Send it with the run, to leave later deliveries alone.")


class RunSchema(ApiSchema):
    """A bulk change of deliveries, requests in quarantine or unrecognised events."""

    id: int
    action: str
    chosen: Mapping[str, str]
    state: Literal["running", "done", "cancelled", "failed"]
    total: int
    done: int
    refused: int = Field(
        description="Number of things left as they were: requests whose signature still does not hold or that hold "
        "leads of chatbots that the user may not change too, and events that are still not recognised."
    )
    error: str | None


class RunListSchema(ApiSchema):
    """The latest runs of this process, newest first."""

    runs: Sequence[RunSchema]
