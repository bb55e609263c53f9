"""Pages about leads: the list with its search, and one lead with its deliveries."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin import presentation, request_schemas, schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.dashboard.page import DashboardPage, FormFields, PageResponse, Screen, parse_fields
from bridge.admin.desk import DryRuns, Query
from bridge.config.model import Config
from bridge.errors import NotFoundError
from bridge.event import EventState
from bridge.operations import events
from bridge.operations.audit import Action, Subject
from bridge.operations.dry_run import FEWER, DryRun, PageBudget, dry_run_stored
from bridge.operations.masking import Audience, personal
from bridge.store import queries
from bridge.store.interface import DeliveryState
from bridge.store.queries import EventRow
from connectors.base import Reason

SEARCHED = "/events"
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_WHOLE: Final = (
    "Cannot search for this. Write the whole e-mail address, at least ten digits of a phone number, or the "
    "first six characters of an id. Leads are not found by name."
)
_UNSEARCHABLE: Final = (
    "Cannot search for this. Write an e-mail address, or at least three characters of one without a blank; "
    "at least six digits of a phone number; or the first six characters of an id. Leads are not found by name."
)


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
    deliveries: Sequence[DeliveryView]


class LeadPages:
    """The pages and their forms."""

    def __init__(
        self,
        api: ReadEndpoints,
        actions: ActionEndpoints,
        screen: Screen,
        dry_runs: DryRuns,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._actions = actions
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get(SEARCHED, show(self._events))
        # A search posts its text, because addresses end up in the logs of proxies and the histories of browsers.
        router.add_post(SEARCHED, act(self._search, role=Role.VIEWER))
        router.add_get("/events/{id}", show(self._event))
        router.add_post("/events/{id}", act(self._reveal))
        router.add_post("/events/{id}/replay", act(self._replay_event))
        router.add_get("/deliveries", show(self._deliveries))
        router.add_post("/deliveries/{id}/replay", act(self._replay))
        router.add_post("/deliveries/{id}/discard", act(self._discard))

    async def _events(self, caller: Caller, request: web.Request) -> DashboardPage:
        found = self._api.events_shown(parse_fields(request_schemas.EventListRequest, request.query))
        return self._list(caller, found, dict(request.query), live=True)

    async def _search(self, caller: Caller, _: web.Request, form: FormFields) -> PageResponse:
        wanted = form.get("who", "").strip()
        if wanted and "@" not in wanted and not any(each.isspace() or each in "+()-./" for each in wanted):
            found = await self._by_id(wanted)
            if found:
                return web.Response(status=303, headers={"Location": f"/events/{found}"})
        return self._list(caller, await self._of_person(caller, form, wanted), form, live=False)

    async def _of_person(self, caller: Caller, form: FormFields, wanted: str) -> Query[schemas.EventPageSchema]:
        """Search by phone if the text has no letters, else by e-mail, else by a part of the address."""
        if "@" not in wanted and not any(each.isalpha() for each in wanted):
            return await self._api.person_shown(caller, _searched(caller, form, phone=wanted))
        if not _ADDRESS.fullmatch(wanted):
            return await self._api.person_shown(caller, _searched(caller, form, email_part=wanted))
        whole = _searched(caller, form, email=wanted)
        parts = [_searched(caller, form, email_part=wanted)] if caller.may(Role.OPERATOR) else []
        return await self._api.person_shown(caller, whole, *parts)

    async def _by_id(self, wanted: str) -> str | None:
        """Return the id of the only event whose id begins with a text; None if there is no such event."""
        try:
            beginning = parse_fields(request_schemas.EventIdRequest, {"id": wanted.lower()}).id
        except RequestRefusedError:
            return None
        try:
            return (await self._api.desk.ask(partial(events.find_event, beginning=beginning))).id
        except NotFoundError:
            return None

    def _list(
        self, caller: Caller, page: Query[schemas.EventPageSchema], said: FormFields, *, live: bool
    ) -> DashboardPage:
        kept = {name: said.get(name, "") for name in ("who", "chatbot", "state", "since", "until")}
        return self._screen.page(
            "events.html",
            caller,
            {"page": page},
            said_before=kept,
            live=live and "before" not in said,
            chatbots=list(self._api.config().chatbots),
            states=list(EventState),
        )

    async def _event(self, caller: Caller, request: web.Request) -> DashboardPage:
        return await self._lead(caller, request, reveal=False)

    async def _reveal(self, caller: Caller, request: web.Request, _: FormFields) -> DashboardPage:
        return await self._lead(caller, request, reveal=True)

    async def _lead(self, caller: Caller, request: web.Request, *, reveal: bool) -> DashboardPage:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        event, stories = await self._api.desk.ask(partial(events.show_lead, beginning=wanted.id))
        row = event.row
        if reveal:
            await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, row.id)
        work = partial(_shown, row, event.payload, stories, self._api.config(), audience(caller, reveal=reveal))
        shown = await self._dry_runs.lead(work)
        return self._screen.page(
            "lead.html",
            caller,
            now=self._clock(),
            event=presentation.event_schema(row),
            payload=shown.payload,
            masked=not reveal,
            deliveries=shown.deliveries,
        )

    async def _deliveries(self, caller: Caller, request: web.Request) -> DashboardPage:
        page = self._api.deliveries_shown(parse_fields(request_schemas.DeliveryListRequest, request.query))
        names = ("chatbot", "destination", "state", "reason", "warning", "since", "until")
        return self._screen.page(
            "deliveries.html",
            caller,
            {"page": page},
            said_before={name: request.query.get(name, "") for name in names},
            chatbots=list(self._api.config().chatbots),
            destinations=sorted({*self._api.config().destinations, *request.query.getall("destination", [])}),
            states=list(DeliveryState),
            reasons=list(Reason),
        )

    async def _replay_event(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        done = await self._actions.replay_event(caller, wanted)
        return self._screen.say(caller, done.message, "/events")

    async def _replay(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        done = await self._actions.replay(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.say(caller, done.message, _back(form))

    async def _discard(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        done = await self._actions.discard(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.say(caller, done.message, _back(form))


def _shown(
    event: EventRow,
    payload: bytes,
    stories: Sequence[queries.DeliveryDetails],
    config: Config,
    audience: Audience,
) -> LeadView:
    """Return an event and its deliveries within the limits of one page. Call it in a thread: a lead can be large."""
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
    return LeadView(facts if isinstance(value, dict) else next(iter(facts.values())), views)


def _delivery_view(
    shown: schemas.DeliveryDetailsSchema,
    story: queries.DeliveryDetails,
    event: EventRow,
    payload: bytes,
    config: Config,
    allowance: PageBudget,
) -> DeliveryView:
    attempts = [
        each if allowance.takes(each.detail or "") else each.model_copy(update={"detail": FEWER})
        for each in shown.attempts
    ]
    shown = shown.model_copy(update={"attempts": attempts})
    url = shown.remote_url or ""
    made = dry_run_stored(story, event, payload, config, allowance, reveal=not shown.masked)
    return DeliveryView(shown, made, url if url.startswith(("https://", "http://")) else None)


def _back(form: FormFields) -> str:
    """Return the path of the lead's page with the form."""
    try:
        return f"/events/{parse_fields(request_schemas.EventIdRequest, {'id': form.get('event', '')}).id}"
    except RequestRefusedError:
        return "/deliveries"


def _searched(caller: Caller, form: FormFields, **by: str) -> request_schemas.SearchRequest:
    """Return the request of a search form. Raises RequestRefusedError with a message for a salesperson."""
    try:
        parse_fields(request_schemas.SearchRequest, by)
    except RequestRefusedError:
        raise RequestRefusedError(400, _UNSEARCHABLE if caller.may(Role.OPERATOR) else _WHOLE) from None
    searched: request_schemas.SearchRequest = parse_fields(request_schemas.SearchRequest, {**form, **by})
    return searched
