"""Pages with lists: leads with their filters and the search for a person, and deliveries."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin import request_schemas
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
from bridge.config.model import Config
from bridge.errors import NotFoundError
from bridge.event import EventState
from bridge.operations import events, leads
from bridge.store.interface import DeliveryState
from bridge.store.person_index import is_searchable
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


class LeadListPages:
    """The pages and the form of the search."""

    def __init__(self, api: ReadEndpoints, screen: Screen, clock: Callable[[], float]) -> None:
        self._api = api
        self._screen = screen
        self._clock = clock
        self._searches: OrderedDict[str, Search] = OrderedDict()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get(LEADS, show(self._leads, scoped=True))
        # A search posts its text, because addresses end up in the logs of proxies and the histories of browsers.
        router.add_post(LEADS, act(self._search, role=Role.VIEWER, scoped=True))
        router.add_get("/deliveries", show(self._deliveries, scoped=True))

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
