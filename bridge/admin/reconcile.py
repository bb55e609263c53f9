"""Reconciliation of received and delivered leads: endpoints of the API, and the figures of the report's page."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.api import ReadEndpoints
from bridge.admin.authentication import Caller, Role
from bridge.admin.endpoint import Endpoint
from bridge.admin.jobs import Inquiries, Inquiry
from bridge.admin.query_threads import Query
from bridge.admin.schemas import ApiSchema
from bridge.event import timestamp
from bridge.operations.reconcile import Line, count_newest, missing, report_lines
from bridge.store.figures import OutcomeCounts
from bridge.store.filter import EVERYTHING, Scope
from connectors.base import parse_duration

NEWEST = 20_000
"""Maximum number of events that the report's page and the API count, within a tenth of a second."""


class ReconcileLineSchema(ApiSchema):
    """Outcomes of a chatbot's events at one destination."""

    chatbot: str | None = Field(description="Null, without a destination, for unrecognised events.")
    destination: str | None = Field(description="Null for events that no route took.")
    received: int
    delivered: int
    waiting: int
    dead: int
    discarded: int
    quarantined: int = Field(description="Refused requests that may be leads; not among those received.")
    held: int | None = Field(
        description="Of those delivered, the records that the destination still has; null if it was not asked."
    )
    gone: int | None = Field(description="Records that the destination no longer has.")
    unknown: int | None = Field(description="Records that the destination did not report on.")


class ReconcileSchema(ApiSchema):
    """Received events and their outcomes."""

    since: str = Field(description="The time from which on events were counted.")
    complete: bool = Field(description="False if there are too many events, and only the newest were counted.")
    lines: Sequence[ReconcileLineSchema]
    dead: int = Field(description="Missing: their deliveries are dead.")
    unrecognised: int = Field(description="Missing: their events were not recognised.")
    quarantined: int = Field(description="Missing, perhaps: refused requests that may be leads.")


class GoneRecordSchema(ApiSchema):
    """A delivery whose record the destination no longer has."""

    destination: str
    delivery: int
    event: str
    chatbot: str


class InquirySchema(ApiSchema):
    """A check that all destinations still hold their records."""

    id: int
    span: str
    since: str
    state: Literal["running", "done", "cancelled", "failed"]
    asked: int
    total: int = Field(description="Number of records to ask about; 0 until they are counted.")
    error: str | None
    lines: Sequence[ReconcileLineSchema]
    gone: Sequence[GoneRecordSchema] = Field(description="Newest hundred of each destination; `lines` counts all.")


class InquiryListSchema(ApiSchema):
    """The latest inquiries of this process, newest first."""

    inquiries: Sequence[InquirySchema]


def received(connection: Connection, since: float, scope: Scope = EVERYTHING) -> ReconcileSchema:
    """Count the newest `NEWEST` events, or those that a reader sees among them; an inquiry counts all."""
    counted, complete = count_newest(connection, since, NEWEST, scope)
    return reconciled(counted, since, complete=complete)


def reconcile_line_schema(line: Line) -> ReconcileLineSchema:
    """Return the API's form of a line."""
    return ReconcileLineSchema.model_validate(asdict(line))


def reconciled(counted: OutcomeCounts, since: float, *, complete: bool) -> ReconcileSchema:
    """Return the API's form of the counts."""
    found = missing(counted)
    return ReconcileSchema(
        since=timestamp(since),
        complete=complete,
        lines=[reconcile_line_schema(each) for each in report_lines(counted)],
        dead=found.dead,
        unrecognised=found.unrecognised,
        quarantined=found.quarantined,
    )


def inquiry_schema(inquiry: Inquiry) -> InquirySchema:
    """Return the API's form of an inquiry."""
    return InquirySchema.model_validate(
        {
            "id": inquiry.id,
            "span": inquiry.span,
            "since": timestamp(inquiry.result.since),
            "state": inquiry.state,
            "asked": inquiry.asked,
            "total": inquiry.total,
            "error": inquiry.error,
            "lines": [reconcile_line_schema(each) for each in inquiry.result.lines()],
            "gone": [
                GoneRecordSchema(destination=name, delivery=each.id, event=each.event_id, chatbot=each.chatbot)
                for name, answered in inquiry.result.answers.items()
                for each in answered.named
            ],
        }
    )


class ReconcileEndpoints:
    """Endpoints of reconciliation; any number of calls in parallel."""

    def __init__(self, api: ReadEndpoints, inquiries: Inquiries, clock: Callable[[], float]) -> None:
        self._api = api
        self._inquiries = inquiries
        self._clock = clock

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        span, number = request_schemas.SpanRequest, request_schemas.NumberRequest
        viewer, operator = Role.VIEWER, Role.OPERATOR
        online = "/api/reconcile/online"
        one = f"{online}/{{id}}"
        ask, cancel = "Ask the destinations if they still hold the records.", "End an inquiry early."
        answers: Sequence[tuple[str, str, str, type[request_schemas.ApiRequest], type[ApiSchema], Any, Role]] = (
            ("GET", "/api/reconcile", "Received events and their outcomes.", span, ReconcileSchema, self._look, viewer),
            ("POST", online, ask, span, InquirySchema, self.begin, operator),
            (
                "GET",
                online,
                "The latest inquiries.",
                request_schemas.EmptyRequest,
                InquiryListSchema,
                self.inquiries,
                viewer,
            ),
            ("GET", one, "Progress of an inquiry.", number, InquirySchema, self.inquiry, viewer),
            ("POST", f"{one}/cancel", cancel, number, InquirySchema, self.cancel, operator),
        )
        return [Endpoint(*each, failures=(404,) if each[1].startswith(one) else (), scoped=True) for each in answers]

    def shown(self, caller: Caller, since: float) -> Query[ReconcileSchema]:
        """Return the query of the events since a time and their outcomes."""
        return partial(received, since=since, scope=caller.scope)

    def since(self, request: request_schemas.SpanRequest) -> float:
        """Return the beginning of a span that ends now."""
        return self._clock() - parse_duration(request.span)

    async def _look(self, caller: Caller, request: request_schemas.SpanRequest) -> bytes:
        return await self._api.query_threads.json(self.shown(caller, self.since(request)))

    async def begin(self, caller: Caller, request: request_schemas.SpanRequest) -> InquirySchema:
        """Begin an inquiry."""
        return inquiry_schema(await self._inquiries.begin(caller, request.span))

    async def inquiries(self, caller: Caller, _: request_schemas.EmptyRequest) -> InquiryListSchema:
        """Return the latest inquiries."""
        return InquiryListSchema(inquiries=[inquiry_schema(each) for each in self._inquiries.all(caller)])

    async def inquiry(self, caller: Caller, request: request_schemas.NumberRequest) -> InquirySchema:
        """Return an inquiry."""
        return inquiry_schema(self._inquiries.find(caller, request.id))

    async def cancel(self, caller: Caller, request: request_schemas.NumberRequest) -> InquirySchema:
        """End an inquiry after its current calls."""
        found = self._inquiries.find(caller, request.id)
        await self._inquiries.cancel(caller, found)
        return inquiry_schema(found)
