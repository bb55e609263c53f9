"""Whether every lead has arrived: the endpoints of the API, and the pages that are made of them."""

from collections.abc import Callable, Sequence

from aiohttp import web

from bridge.admin import given
from bridge.admin.api import Api
from bridge.admin.endpoint import Endpoint, NotFoundError
from bridge.admin.inquiries import Inquiries, Inquiry
from bridge.admin.login import Caller, Role
from bridge.admin.reconciled import InquiryList, InquiryShape, Reconciled, inquiry_shape, received
from bridge.admin.screen import Form, Screen, asked
from bridge.admin.sources import Json, Page
from bridge.admin.views import View
from bridge.config.units import parse_duration
from bridge.event import EventState, timestamp
from bridge.store.base import DeliveryState

SPANS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}
"""What a person chooses from."""
NAMED = 50
"""Missing leads of one page."""


class Reconcile:
    """Looks, and has destinations asked; any number of calls in parallel."""

    def __init__(self, api: Api, inquiries: Inquiries, clock: Callable[[], float]) -> None:
        self._api = api
        self._inquiries = inquiries
        self._clock = clock

    def endpoints(self) -> Sequence[Endpoint]:
        """Give its endpoints."""
        span, number = given.SpanGiven, given.NumberGiven
        operator = Role.OPERATOR
        online = "/api/reconcile/online"
        ask, cancel = "Ask the destinations whether they still hold it.", "End an inquiry early."
        return [
            Endpoint(
                "GET", "/api/reconcile", "What was received, and what became of it.", span, Reconciled, self._look
            ),
            Endpoint("POST", online, ask, span, InquiryShape, self.begin, operator),
            Endpoint("GET", online, "The latest inquiries.", given.Nothing, InquiryList, self.inquiries),
            Endpoint("GET", f"{online}/{{id}}", "How far one is.", number, InquiryShape, self.inquiry, failures=(404,)),
            Endpoint(
                "POST", f"{online}/{{id}}/cancel", cancel, number, InquiryShape, self.cancel, operator, failures=(404,)
            ),
        ]

    def shown(self, since: float) -> View[Reconciled]:
        """Count what was received from a time on."""
        return View(received, {"since": since})

    def since(self, asked: given.SpanGiven) -> float:
        """Give when a span that ends now began."""
        return self._clock() - parse_duration(asked.span)

    async def _look(self, _: Caller, asked: given.SpanGiven) -> bytes:
        return await self._api.reader.do(Json(self.shown(self.since(asked))))

    async def begin(self, caller: Caller, asked: given.SpanGiven) -> InquiryShape:
        """Begin an inquiry."""
        return inquiry_shape(await self._inquiries.begin(caller, asked.span))

    async def inquiries(self, _: Caller, __: given.Nothing) -> InquiryList:
        """Show the latest inquiries."""
        return InquiryList(inquiries=[inquiry_shape(each) for each in self._inquiries.all()])

    async def inquiry(self, _: Caller, asked: given.NumberGiven) -> InquiryShape:
        """Show one."""
        return inquiry_shape(self._found(asked.id))

    async def cancel(self, caller: Caller, asked: given.NumberGiven) -> InquiryShape:
        """End one after the calls that it is at."""
        found = self._found(asked.id)
        await self._inquiries.cancel(caller, found)
        return inquiry_shape(found)

    def _found(self, number: int) -> Inquiry:
        found = self._inquiries.find(number)
        if found is None:
            raise NotFoundError(f"{number}: no inquiry of this process has this number")
        return found


class ReconcilePages:
    """Answers with the pages."""

    def __init__(self, api: Api, reconcile: Reconcile, screen: Screen) -> None:
        self._api = api
        self._reconcile = reconcile
        self._screen = screen

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add what it answers."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/reconcile", show(self._look))
        router.add_post("/reconcile", act(self._begin))
        router.add_get("/reconcile/{id}", show(self._inquiry))
        router.add_post("/reconcile/{id}/cancel", act(self._cancel))

    async def _look(self, caller: Caller, request: web.Request) -> Page:
        wanted = asked(given.SpanGiven, request.query)
        cursor = asked(given.DeliveriesGiven, {"before": request.query.get("before", "")}).before
        began = self._reconcile.since(wanted)
        # As the API reads a time.
        since = {"since": timestamp(began), "limit": NAMED}
        dead = given.DeliveriesGiven.model_validate({"state": DeliveryState.DEAD, "before": cursor, **since})
        strange = given.EventsGiven.model_validate({"state": EventState.UNRECOGNISED, **since})
        return self._screen.page(
            "reconcile.html",
            caller,
            found=self._reconcile.shown(began),
            dead=self._api.deliveries_shown(dead),
            strange=self._api.events_shown(strange),
            inquiries=(await self._reconcile.inquiries(caller, given.Nothing())).inquiries,
            span=wanted.span,
            spans=SPANS if wanted.span in SPANS else {wanted.span: f"the last {wanted.span}", **SPANS},
        )

    async def _begin(self, caller: Caller, _: web.Request, form: Form) -> web.Response:
        begun = await self._reconcile.begin(caller, asked(given.SpanGiven, form))
        return self._screen.say(caller, f"Inquiry {begun.id} has begun.", f"/reconcile/{begun.id}")

    async def _inquiry(self, caller: Caller, request: web.Request) -> Page:
        found = await self._reconcile.inquiry(caller, asked(given.NumberGiven, request.match_info))
        return self._screen.page("inquiry.html", caller, inquiry=found)

    async def _cancel(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        ended = await self._reconcile.cancel(caller, asked(given.NumberGiven, request.match_info))
        return self._screen.say(caller, f"Inquiry {ended.id}: {ended.state}.", f"/reconcile/{ended.id}")
