"""Reconciliation of received and delivered leads: endpoints of the API, and pages."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from aiohttp import web
from pydantic import Field
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.api import Api
from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard.page import Form, Page, Screen, asked
from bridge.admin.desk import Query
from bridge.admin.endpoint import Endpoint
from bridge.admin.jobs import Inquiries, Inquiry
from bridge.admin.schemas import Shape
from bridge.config.units import parse_duration
from bridge.event import EventState, timestamp
from bridge.operations.reconcile import Line, OutcomeCounts, lines, missing
from bridge.store import history
from bridge.store.interface import DeliveryState
from bridge.store.search import seq_at

NEWEST = 20_000
"""Maximum number of events that the page and the API count, within a tenth of a second."""


class LineShape(Shape):
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
        description="Of those delivered, the records that the destination still has; null unasked."
    )
    gone: int | None = Field(description="Records that the destination no longer has.")
    unknown: int | None = Field(description="Records that the destination did not report on.")


class Reconciled(Shape):
    """Received events and their outcomes."""

    since: str = Field(description="The time from which on events were counted.")
    complete: bool = Field(description="False where there is so much that only the newest part was counted.")
    lines: Sequence[LineShape]
    dead: int = Field(description="Missing: their deliveries are dead.")
    unrecognised: int = Field(description="Missing: nobody knows what they are.")
    quarantined: int = Field(description="Missing, perhaps: refused requests that may be leads.")


class GoneShape(Shape):
    """A delivery whose record the destination no longer has."""

    destination: str
    delivery: int
    event: str
    chatbot: str


class InquiryShape(Shape):
    """A question to all destinations about their records."""

    id: int
    span: str
    since: str
    state: Literal["running", "done", "cancelled", "failed"]
    asked: int
    total: int = Field(description="Records that are to be asked for; 0 until they are counted.")
    error: str | None
    lines: Sequence[LineShape]
    gone: Sequence[GoneShape] = Field(description="The newest hundred of each destination; `lines` counts all.")


class InquiryList(Shape):
    """The latest inquiries of this process, newest first."""

    inquiries: Sequence[InquiryShape]


def received(connection: Connection, since: float) -> Reconciled:
    """Count the newest `NEWEST` events; an inquiry counts all."""
    first, last = seq_at(connection, since), history.last_event(connection)
    low = max(first, last + 1 - NEWEST)
    counted = history.count_events(connection, low, last) + history.count_quarantined(connection, since)
    return reconciled(counted, since, complete=low == first)


def line_shape(line: Line) -> LineShape:
    """Return the API's form of a line."""
    return LineShape(
        chatbot=line.chatbot,
        destination=line.destination,
        received=line.received,
        delivered=line.delivered,
        waiting=line.waiting,
        dead=line.dead,
        discarded=line.discarded,
        quarantined=line.quarantined,
        held=line.held,
        gone=line.gone,
        unknown=line.unknown,
    )


def reconciled(counted: OutcomeCounts, since: float, *, complete: bool) -> Reconciled:
    """Return the API's form of the counts."""
    found = missing(counted)
    return Reconciled(
        since=timestamp(since),
        complete=complete,
        lines=[line_shape(each) for each in lines(counted)],
        dead=found.dead,
        unrecognised=found.unrecognised,
        quarantined=found.quarantined,
    )


def inquiry_shape(inquiry: Inquiry) -> InquiryShape:
    """Return the API's form of an inquiry."""
    return InquiryShape.model_validate(
        {
            "id": inquiry.id,
            "span": inquiry.span,
            "since": timestamp(inquiry.since),
            "state": inquiry.state,
            "asked": inquiry.asked,
            "total": inquiry.total,
            "error": inquiry.error,
            "lines": [line_shape(each) for each in inquiry.lines()],
            "gone": [
                GoneShape(destination=name, delivery=each.id, event=each.event_id, chatbot=each.chatbot)
                for name, answered in inquiry.answered.items()
                for each in answered.named
            ],
        }
    )


SPANS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}
"""Choices of a person."""
NAMED = 50
"""Number of missing leads on one page."""


class Reconcile:
    """Endpoints of reconciliation; any number of calls in parallel."""

    def __init__(self, api: Api, inquiries: Inquiries, clock: Callable[[], float]) -> None:
        self._api = api
        self._inquiries = inquiries
        self._clock = clock

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        span, number = request_schemas.SpanGiven, request_schemas.NumberGiven
        operator = Role.OPERATOR
        online = "/api/reconcile/online"
        ask, cancel = "Ask the destinations whether they still hold it.", "End an inquiry early."
        return [
            Endpoint(
                "GET", "/api/reconcile", "What was received, and what became of it.", span, Reconciled, self._look
            ),
            Endpoint("POST", online, ask, span, InquiryShape, self.begin, operator),
            Endpoint("GET", online, "The latest inquiries.", request_schemas.Nothing, InquiryList, self.inquiries),
            Endpoint("GET", f"{online}/{{id}}", "How far one is.", number, InquiryShape, self.inquiry, failures=(404,)),
            Endpoint(
                "POST", f"{online}/{{id}}/cancel", cancel, number, InquiryShape, self.cancel, operator, failures=(404,)
            ),
        ]

    def shown(self, since: float) -> Query[Reconciled]:
        """Count what was received from a time on."""
        return partial(received, since=since)

    def since(self, asked: request_schemas.SpanGiven) -> float:
        """Return the beginning of a span that ends now."""
        return self._clock() - parse_duration(asked.span)

    async def _look(self, _: Caller, asked: request_schemas.SpanGiven) -> bytes:
        return await self._api.desk.json(self.shown(self.since(asked)))

    async def begin(self, caller: Caller, asked: request_schemas.SpanGiven) -> InquiryShape:
        """Begin an inquiry."""
        return inquiry_shape(await self._inquiries.begin(caller, asked.span))

    async def inquiries(self, _: Caller, __: request_schemas.Nothing) -> InquiryList:
        """Return the latest inquiries."""
        return InquiryList(inquiries=[inquiry_shape(each) for each in self._inquiries.all()])

    async def inquiry(self, _: Caller, asked: request_schemas.NumberGiven) -> InquiryShape:
        """Return an inquiry."""
        return inquiry_shape(self._inquiries.find(asked.id))

    async def cancel(self, caller: Caller, asked: request_schemas.NumberGiven) -> InquiryShape:
        """End an inquiry after its current calls."""
        found = self._inquiries.find(asked.id)
        await self._inquiries.cancel(caller, found)
        return inquiry_shape(found)


class ReconcilePages:
    """Pages of reconciliation."""

    def __init__(self, api: Api, reconcile: Reconcile, screen: Screen) -> None:
        self._api = api
        self._reconcile = reconcile
        self._screen = screen

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/reconcile", show(self._look))
        router.add_post("/reconcile", act(self._begin))
        router.add_get("/reconcile/{id}", show(self._inquiry))
        router.add_post("/reconcile/{id}/cancel", act(self._cancel))

    async def _look(self, caller: Caller, request: web.Request) -> Page:
        wanted = asked(request_schemas.SpanGiven, request.query)
        cursor = asked(request_schemas.DeliveriesGiven, {"before": request.query.get("before", "")}).before
        began = self._reconcile.since(wanted)
        # As the API reads a time.
        since = {"since": timestamp(began), "limit": NAMED}
        dead = request_schemas.DeliveriesGiven.model_validate({"state": DeliveryState.DEAD, "before": cursor, **since})
        strange = request_schemas.EventsGiven.model_validate({"state": EventState.UNRECOGNISED, **since})
        return self._screen.page(
            "reconcile.html",
            caller,
            {
                "found": self._reconcile.shown(began),
                "dead": self._api.deliveries_shown(dead),
                "strange": self._api.events_shown(strange),
            },
            inquiries=(await self._reconcile.inquiries(caller, request_schemas.Nothing())).inquiries,
            span=wanted.span,
            spans=SPANS if wanted.span in SPANS else {wanted.span: f"the last {wanted.span}", **SPANS},
        )

    async def _begin(self, caller: Caller, _: web.Request, form: Form) -> web.Response:
        begun = await self._reconcile.begin(caller, asked(request_schemas.SpanGiven, form))
        return self._screen.say(caller, f"Inquiry {begun.id} has begun.", f"/reconcile/{begun.id}")

    async def _inquiry(self, caller: Caller, request: web.Request) -> Page:
        found = await self._reconcile.inquiry(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.page("inquiry.html", caller, inquiry=found)

    async def _cancel(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        ended = await self._reconcile.cancel(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.say(caller, f"Inquiry {ended.id}: {ended.state}.", f"/reconcile/{ended.id}")
