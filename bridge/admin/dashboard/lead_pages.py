"""Pages about one lead with its deliveries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import presentation, request_schemas, schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience, permit_delivery, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError
from bridge.admin.dashboard.page import DashboardPage, FormFields, PageResponse, Screen, parse_fields
from bridge.admin.dashboard.reveals import Reveals
from bridge.admin.query_threads import DryRuns
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.operations import deliveries, events, lead_progress, leads
from bridge.operations.dry_run import FEWER, DryRun, PageBudget, dry_run_stored
from bridge.operations.event_dry_run import json_text
from bridge.operations.masking import Audience, personal
from bridge.operations.playground import with_names
from bridge.store import queries
from bridge.store.exchanges import KEPT_DAYS
from bridge.store.interface import DeliveryState
from bridge.store.lane_queries import LaneRow, all_lanes, waiting_behind
from bridge.store.queries import EventRow

SURE = "sure"
"""Field of a form that confirms an action."""


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryView:
    """A delivery on its lead's page."""

    details: schemas.DeliveryDetailsSchema
    dry_run: DryRun
    link: str | None
    """Link to the record at the destination; only http and https."""


@dataclass(frozen=True, slots=True, repr=False)
class LeadView:
    """The texts of a lead's page about the event and its deliveries."""

    payload: Mapping[str, str] | str
    text: str | None
    """The payload as JSON, once personal data is shown; None if the page would be too large."""
    deliveries: Sequence[DeliveryView]


class LeadPages:
    """The page and its forms."""

    def __init__(
        self,
        api: ReadEndpoints,
        actions: ActionEndpoints,
        screen: Screen,
        dry_runs: DryRuns,
        reveals: Reveals,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._actions = actions
        self._screen = screen
        self._clock = clock
        self._reveals = reveals

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the page."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/leads/{id}", show(self._event, scoped=True))
        router.add_post("/leads/{id}", act(self._reveal, scoped=True))
        router.add_post("/leads/{id}/mask", act(self._mask, scoped=True))
        router.add_post("/leads/{id}/replay", act(self._replay_event, scoped=True))
        router.add_post("/deliveries/{id}/replay", act(self._replay, scoped=True))
        router.add_post("/deliveries/{id}/discard", act(self._discard, scoped=True))

    async def _event(self, caller: Caller, request: web.Request) -> DashboardPage:
        event = await self._find(caller, request)
        return await self._lead(caller, event.id, self._reveals.until(caller, event.id))

    async def _reveal(self, caller: Caller, request: web.Request, _: FormFields) -> PageResponse:
        event = await self._find(caller, request)
        until = await self._reveals.begin(caller, event.id)
        if caller.session is None:
            return await self._lead(caller, event.id, until)
        return web.Response(status=303, headers={"Location": f"/leads/{event.id}"})

    async def _mask(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        event = await self._find(caller, request)
        self._reveals.end(caller, event.id)
        return web.Response(status=303, headers={"Location": f"/leads/{event.id}"})

    async def _find(self, caller: Caller, request: web.Request) -> EventRow:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        await permit_event(self._api.query_threads, caller, wanted.id)
        return await self._api.query_threads.ask(partial(events.find_event, beginning=wanted.id))

    async def _lead(self, caller: Caller, event_id: str, until: float | None) -> DashboardPage:
        """Show a lead; `until` is the time until which its personal data is shown, None if it is masked."""
        now, config = self._clock(), self._api.config()
        shown_to = audience(caller, reveal=until is not None)
        read = partial(_read, event_id=event_id, destinations=list(config.destinations), now=now, audience=shown_to)
        found = await self._api.query_threads.ask(read)
        event, row = found.event, found.event.row
        chatbot = config.chatbots.get(row.chatbot or "")
        routes = {each.name for each in chatbot.routes} if chatbot else set[str]()
        answers = [
            lead_progress.delivery_answer(
                each.row,
                found.lanes,
                now,
                failing_since=each.failing_since,
                behind=each.row.id in found.behind,
                unnamed=each.row.route not in routes,
            )
            for each in found.stories
        ]
        files = self._api.files()
        shown = await self._dry_runs.lead(partial(_shown, row, event.payload, found.stories, config, files, shown_to))
        return self._screen.page(
            "lead.html",
            caller,
            now=now,
            event=presentation.event_schema(row),
            person=leads.person_label(event.payload, shown_to),
            answers=answers,
            answer=lead_progress.lead_answer(row),
            timeline=lead_progress.lead_timeline(row, found.stories, answers),
            payload=shown.payload,
            text=shown.text,
            until=until,
            kept_days=KEPT_DAYS,
            deliveries=shown.deliveries,
        )

    async def _replay_event(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        done = await self._actions.replay_event(caller, wanted)
        return self._screen.say(caller, done.message, "/leads")

    async def _replay(self, caller: Caller, request: web.Request, form: FormFields) -> PageResponse:
        wanted = parse_fields(request_schemas.NumberRequest, request.match_info)
        if form.get(SURE) != "yes":
            delivery = await self._delivery(caller, wanted.id)
            if delivery.state is DeliveryState.DELIVERED:
                return self._question(caller, delivery, "replay")
        done = await self._actions.replay(caller, wanted)
        return self._screen.say(caller, done.message, _back(form))

    async def _discard(self, caller: Caller, request: web.Request, form: FormFields) -> PageResponse:
        wanted = parse_fields(request_schemas.NumberRequest, request.match_info)
        if form.get(SURE) != "yes":
            delivery = await self._delivery(caller, wanted.id)
            if delivery.state is not DeliveryState.DELIVERED:
                return self._question(caller, delivery, "discard")
        done = await self._actions.discard(caller, wanted)
        return self._screen.say(caller, done.message, _back(form))

    async def _delivery(self, caller: Caller, number: int) -> queries.DeliveryRow:
        await permit_delivery(self._api.query_threads, caller, number)
        return (await self._api.query_threads.ask(partial(deliveries.show, delivery=number))).row

    def _question(self, caller: Caller, delivery: queries.DeliveryRow, action: str) -> DashboardPage:
        """Ask before an action that cannot be taken back, on a page of its own: it works without JavaScript."""
        return self._screen.page("confirm.html", caller, delivery=delivery, action=action)


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """A lead as the store has it."""

    event: events.EventDetails
    stories: Sequence[queries.DeliveryDetails]
    lanes: Mapping[str, LaneRow]
    behind: frozenset[int]
    """Deliveries that wait for an earlier one of the same person."""


def _read(connection: Connection, event_id: str, destinations: Sequence[str], now: float, audience: Audience) -> _Found:
    event, stories = events.show_lead(connection, event_id, exchanges=audience.reveal)
    pending = [each.id for each in event.deliveries if each.state is DeliveryState.PENDING]
    lanes = {each.name: each for each in all_lanes(connection, destinations, now)} if event.deliveries else {}
    return _Found(event, stories, lanes, waiting_behind(connection, pending, audience.scope))


def _shown(
    event: EventRow,
    payload: bytes,
    stories: Sequence[queries.DeliveryDetails],
    config: Config,
    files: Files | None,
    audience: Audience,
) -> LeadView:
    """Return an event and its deliveries within the limits of one page. Call it in a thread: a lead can be large."""
    config = with_names(files, config, event.chatbot or "") if files else config
    allowance, known = PageBudget(), personal(payload)
    value = presentation.payload_value(payload, reveal=audience.reveal)
    facts = allowance.facts(value if isinstance(value, dict) else {"": value})
    views = [
        _delivery_view(
            presentation.delivery_details_schema(each, audience, config.destinations, known),
            each,
            event,
            payload,
            config,
            allowance,
        )
        for each in stories
    ]
    text = json_text(value) if audience.reveal else None
    return LeadView(
        facts if isinstance(value, dict) else next(iter(facts.values())),
        text if text is not None and allowance.takes(text) else None,
        views,
    )


def _delivery_view(
    shown: schemas.DeliveryDetailsSchema,
    story: queries.DeliveryDetails,
    event: EventRow,
    payload: bytes,
    config: Config,
    allowance: PageBudget,
) -> DeliveryView:
    # The newest attempts get the room first.
    attempts = [_fitting(each, allowance) for each in reversed(shown.attempts)][::-1]
    shown = shown.model_copy(update={"attempts": attempts})
    url = shown.remote_url or ""
    made = dry_run_stored(story, event, payload, config, allowance, reveal=not shown.masked)
    return DeliveryView(shown, made, url if url.startswith(("https://", "http://")) else None)


def _fitting(attempt: schemas.AttemptSchema, allowance: PageBudget) -> schemas.AttemptSchema:
    """Return an attempt with as much of its texts as the page has room for."""
    exchanges = [
        each
        if allowance.takes(each.url, each.sent or "", each.received or "", each.fault or "")
        else each.model_copy(update={"url": "", "sent": None, "received": None, "fault": FEWER})
        for each in attempt.exchanges
    ]
    detail = attempt.detail if allowance.takes(attempt.detail or "") else FEWER
    return attempt.model_copy(update={"detail": detail, "exchanges": exchanges})


def _back(form: FormFields) -> str:
    """Return the path of the lead's page with the form."""
    try:
        return f"/leads/{parse_fields(request_schemas.EventIdRequest, {'id': form.get('event', '')}).id}"
    except RequestRefusedError:
        return "/leads"
