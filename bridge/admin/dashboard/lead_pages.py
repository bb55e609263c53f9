"""Pages about leads: the list with its search, and one lead with its deliveries."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin import presentation, request_schemas, schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.dashboard.page import (
    DashboardPage,
    FormFields,
    Holder,
    PageResponse,
    Screen,
    holder_of,
    parse_fields,
)
from bridge.admin.desk import DryRuns
from bridge.config.model import Config
from bridge.errors import NotFoundError
from bridge.event import EventState
from bridge.operations import events, leads
from bridge.operations.audit import Action, Subject
from bridge.operations.dry_run import FEWER, DryRun, PageBudget, dry_run_stored
from bridge.operations.masking import Audience, personal
from bridge.store import queries
from bridge.store.interface import DeliveryState
from bridge.store.lane_queries import all_lanes
from bridge.store.person_index import is_searchable
from bridge.store.queries import EventRow
from bridge.store.search import DeliveryFilter, EventFilter
from connectors.base import Reason

LEADS = "/leads"
SEARCHES_LIMIT: Final = 1_000
"""Most searches that can be gone back to. They are in memory only."""
STATES: Final = {
    "pending": "waiting",
    "delivered": "in the CRM",
    "dead": "not delivered",
    "discarded": "discarded",
    "warning": "with a warning",
    "test": "tests",
    "unrecognised": "not recognised",
}
"""States that a list of leads can be filtered by, with their names for people."""
PERIODS: Final = {"1": "last 24 hours", "7": "last 7 days", "30": "last 30 days"}
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_WHOLE: Final = (
    "Cannot search for this. Write the whole e-mail address, at least ten digits of a phone number, or the "
    "first six characters of an id."
)
_UNSEARCHABLE: Final = (
    "Cannot search for this. Write a part of the name or the e-mail address, from three characters on; at least six "
    "digits of a phone number; or the first six characters of an id."
)


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """A search that was asked for, so that its result has an address without personal data."""

    holder: Holder
    """User and session that may see it."""
    text: str
    """Text as it was written; empty for a viewer."""
    criteria: Sequence[EventFilter]


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
        self._searches: OrderedDict[str, Search] = OrderedDict()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get(LEADS, show(self._leads, scoped=True))
        # A search posts its text, because addresses end up in the logs of proxies and the histories of browsers.
        router.add_post(LEADS, act(self._search, role=Role.VIEWER, scoped=True))
        router.add_get("/leads/{id}", show(self._event, scoped=True))
        router.add_post("/leads/{id}", act(self._reveal, scoped=True))
        router.add_post("/leads/{id}/replay", act(self._replay_event, scoped=True))
        router.add_get("/deliveries", show(self._deliveries, scoped=True))
        router.add_post("/deliveries/{id}/replay", act(self._replay, scoped=True))
        router.add_post("/deliveries/{id}/discard", act(self._discard, scoped=True))

    async def _leads(self, caller: Caller, request: web.Request) -> DashboardPage:
        """Show a page of leads: those of a search, or those of a filter."""
        fields = dict(request.query)
        search = self._searches.get(fields.get("search", "")) if "search" in fields else None
        if "search" in fields and (search is None or search.holder != holder_of(caller)):
            raise RequestRefusedError(410, "This search has expired. Search again.")
        criteria: Sequence[EventFilter] | DeliveryFilter
        if search is not None:
            before = parse_fields(request_schemas.EventListRequest, {"before": fields.get("before", "")}).before
            criteria = [replace(each, before=before, chatbots=caller.chatbots) for each in search.criteria]
        else:
            criteria = _criteria(fields, self._clock(), caller.chatbots)
        shown = audience(caller)
        query = partial(
            leads.list_leads, criteria=criteria, audience=shown, identity_key=self._api.config().store.identity_key
        )
        config = self._api.config()
        return self._screen.page(
            "leads.html",
            caller,
            {"page": query},
            fields={name: fields.get(name, "") for name in ("state", "chatbot", "destination", "days", "search")},
            sought=search.text if search else "",
            live=search is None and "before" not in fields,
            chatbots=[each for each in config.chatbots if caller.sees(each)],
            destinations=_destinations(config, caller, request),
            states=STATES,
            periods=PERIODS,
            now=self._clock(),
        )

    async def _search(self, caller: Caller, _: web.Request, form: FormFields) -> PageResponse:
        """Keep the search and redirect to its result, whose address says nothing about the person."""
        wanted = form.get("who", "").strip()
        if not wanted:
            return web.Response(status=303, headers={"Location": LEADS})
        if "@" not in wanted and not any(each.isspace() or each in "+()-./" for each in wanted):
            found = await self._by_id(caller, wanted)
            if found:
                return web.Response(status=303, headers={"Location": f"{LEADS}/{found}"})
        criteria = await self._api.person_criteria(caller, *self._of_person(caller, form, wanted))
        key = secrets.token_urlsafe(12)
        self._searches[key] = Search(holder_of(caller), wanted if caller.may(Role.OPERATOR) else "", criteria)
        while len(self._searches) > SEARCHES_LIMIT:
            self._searches.popitem(last=False)
        return web.Response(status=303, headers={"Location": f"{LEADS}?search={key}"})

    def _of_person(self, caller: Caller, form: FormFields, wanted: str) -> list[request_schemas.SearchRequest]:
        """Search by phone if the text has no letters, else by e-mail, else by a part of the name or the address."""
        if "@" not in wanted and not any(each.isalpha() for each in wanted):
            return [_searched(caller, form, phone=wanted)]
        if not _ADDRESS.fullmatch(wanted):
            return [_searched(caller, form, person_part=wanted)]
        whole = _searched(caller, form, email=wanted)
        parts = [_searched(caller, form, person_part=wanted)] if caller.may(Role.OPERATOR) else []
        return [whole, *parts]

    async def _by_id(self, caller: Caller, wanted: str) -> str | None:
        """Return the id of the only event whose id begins with a text; None if there is no such event."""
        try:
            beginning = parse_fields(request_schemas.EventIdRequest, {"id": wanted.lower()}).id
        except RequestRefusedError:
            return None
        try:
            await permit_event(self._api.desk, caller, beginning)
            return (await self._api.desk.ask(partial(events.find_event, beginning=beginning))).id
        except NotFoundError:
            return None

    async def _event(self, caller: Caller, request: web.Request) -> DashboardPage:
        return await self._lead(caller, request, reveal=False)

    async def _reveal(self, caller: Caller, request: web.Request, _: FormFields) -> DashboardPage:
        return await self._lead(caller, request, reveal=True)

    async def _lead(self, caller: Caller, request: web.Request, *, reveal: bool) -> DashboardPage:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        await permit_event(self._api.desk, caller, wanted.id)
        event, stories = await self._api.desk.ask(partial(events.show_lead, beginning=wanted.id))
        row = event.row
        names = list(self._api.config().destinations)
        found = await self._api.desk.ask(partial(all_lanes, configured=names, now=self._clock()))
        shown_lanes = {each.name: each for each in found}
        if reveal:
            await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, row.id)
        work = partial(_shown, row, event.payload, stories, self._api.config(), audience(caller, reveal=reveal))
        shown = await self._dry_runs.lead(work)
        return self._screen.page(
            "lead.html",
            caller,
            now=self._clock(),
            event=presentation.event_schema(row),
            person=leads.person_label(event.payload, audience(caller, reveal=reveal)),
            answers=[leads.delivery_answer(each, shown_lanes) for each in event.deliveries],
            answer=leads.lead_answer(row),
            payload=shown.payload,
            masked=not reveal,
            deliveries=shown.deliveries,
        )

    async def _deliveries(self, caller: Caller, request: web.Request) -> DashboardPage:
        page = self._api.deliveries_shown(caller, parse_fields(request_schemas.DeliveryListRequest, request.query))
        names = ("chatbot", "destination", "state", "reason", "warning", "since", "until")
        return self._screen.page(
            "deliveries.html",
            caller,
            {"page": page},
            said_before={name: request.query.get(name, "") for name in names},
            chatbots=[each for each in self._api.config().chatbots if caller.sees(each)],
            destinations=_destinations(self._api.config(), caller, request),
            states=list(DeliveryState),
            reasons=list(Reason),
        )

    async def _replay_event(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.EventIdRequest, request.match_info)
        done = await self._actions.replay_event(caller, wanted)
        return self._screen.say(caller, done.message, LEADS)

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


def _criteria(fields: FormFields, now: float, seen: frozenset[str] | None) -> Sequence[EventFilter] | DeliveryFilter:
    """Return the filter of a list: of deliveries, if it has a destination or one of their states. Pure."""
    days = fields.get("days", "")
    if days and days not in PERIODS:
        raise RequestRefusedError(400, f"days: must be one of {', '.join(PERIODS)}")
    since = now - int(days) * 86_400.0 if days else None
    state, destination = fields.get("state", ""), fields.get("destination", "")
    if state and state not in STATES:
        raise RequestRefusedError(400, f"state: must be one of {', '.join(STATES)}")
    paging = {name: fields.get(name, "") for name in ("chatbot", "before")}
    wanted = parse_fields(request_schemas.EventListRequest, paging)
    if state in {"test", "unrecognised"}:
        kind = EventState(state)
        return [EventFilter(wanted.chatbot, kind, since=since, before=wanted.before, limit=wanted.limit, chatbots=seen)]
    if not state and not destination:
        return [EventFilter(wanted.chatbot, since=since, before=wanted.before, limit=wanted.limit, chatbots=seen)]
    return DeliveryFilter(
        wanted.chatbot,
        destination or None,
        None if state in {"", "warning"} else DeliveryState(state),
        since=since,
        before=wanted.before,
        limit=wanted.limit,
        warning=True if state == "warning" else None,
        chatbots=seen,
    )


def _destinations(config: Config, caller: Caller, request: web.Request) -> list[str]:
    """Return the destinations that a list can be filtered by: those of the caller's chatbots, and the chosen one."""
    theirs = {
        route.destination
        for chatbot in config.chatbots.values()
        if caller.sees(chatbot.name)
        for route in chatbot.routes
    }
    known = set(config.destinations) if caller.chatbots is None else theirs
    return sorted({*known, *request.query.getall("destination", [])} - {""})


def _back(form: FormFields) -> str:
    """Return the path of the lead's page with the form."""
    try:
        return f"/leads/{parse_fields(request_schemas.EventIdRequest, {'id': form.get('event', '')}).id}"
    except RequestRefusedError:
        return "/deliveries"


def _searched(caller: Caller, form: FormFields, **by: str) -> request_schemas.SearchRequest:
    """Return the request of a search form. Raises RequestRefusedError with a message for a salesperson."""
    if not is_searchable(by.get("person_part", "any").strip()):
        raise RequestRefusedError(400, _UNSEARCHABLE)
    try:
        parse_fields(request_schemas.SearchRequest, by)
    except RequestRefusedError:
        raise RequestRefusedError(400, _UNSEARCHABLE if caller.may(Role.OPERATOR) else _WHOLE) from None
    searched: request_schemas.SearchRequest = parse_fields(request_schemas.SearchRequest, {**form, **by})
    return searched
