"""The list of leads with its filter, and the changes of selected ones."""

import contextlib
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.dashboard.lead_filter import PERIODS, STATES, LeadFilter, numbers
from bridge.admin.dashboard.lead_search import LEADS, LeadSearches, Search
from bridge.admin.dashboard.page import DashboardPage, FormFields, PageResponse, Screen, parse_fields
from bridge.admin.dashboard.trouble import next_path
from bridge.admin.endpoint import send_file
from bridge.admin.export import LeadExports
from bridge.config.model import Config
from bridge.operations.bulk import select_deliveries
from bridge.operations.leads import Criteria, count_new, list_leads, list_shown
from bridge.store.commands import IDS_LIMIT, BulkAction
from bridge.store.interface import PAGE

SELECTION: Final = "/leads/selection"
ROWS: Final = 40
"""Leads on one page, so that it stays below 40 KB."""


class LeadListPages:
    """The pages and the form of the search."""

    def __init__(self, api: ReadEndpoints, exports: LeadExports, screen: Screen, clock: Callable[[], float]) -> None:
        self._api = api
        self._exports = exports
        self._screen = screen
        self._clock = clock
        self._searches = LeadSearches(api)

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get(LEADS, show(self._leads, scoped=True))
        # A search posts its text, because addresses end up in the logs of proxies and the histories of browsers.
        router.add_post(LEADS, act(self._searches.search, role=Role.VIEWER, scoped=True))
        router.add_get("/leads.csv", show(self._masked_file, scoped=True))
        router.add_post("/leads.csv", act(self._whole_file, scoped=True))

    async def _leads(self, caller: Caller, request: web.Request) -> DashboardPage:
        """Show a page of leads: those of a search, or those of a filter.

        With `rows` in the address it is the page that somebody looks at already, with the present states of its leads
        and the number of new ones.
        """
        fields, now = dict(request.query), self._clock()
        search = self._searches.find(caller, fields["search"]) if "search" in fields else None
        chosen = LeadFilter.of({} if search else fields)
        before = parse_fields(request_schemas.EventListRequest, {"before": fields.get("before", "")}).before
        criteria = self._criteria(caller, search, chosen, before, ROWS)
        newest = search is None and before is None
        if "rows" in fields:
            shown = numbers("rows", fields["rows"], ROWS)
            page = partial(list_shown, seqs=shown, audience=audience(caller), scope=caller.scope)
            new = partial(count_new, criteria=criteria, shown=set(shown)) if newest else _none
        else:
            key = self._api.config().store.identity_key
            page, new = partial(list_leads, criteria=criteria, audience=audience(caller), identity_key=key), _none
        config = self._api.config()
        return self._screen.page(
            "leads.html",
            caller,
            {"page": page, "new": new},
            fields=chosen.fields,
            query={**chosen.query, **({"search": fields["search"]} if search else {})},
            is_search=search is not None,
            sought=search.text if search else "",
            newest=newest,
            chatbots=_with(chosen.chatbot, [each for each in config.chatbots if caller.sees(each)]),
            destinations=_destinations(config, caller, chosen.destination),
            configured=config.destinations,
            states=STATES,
            periods=PERIODS,
            limit=ROWS,
            now=now,
        )

    async def _masked_file(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        return await self._file(caller, request, request.query, reveal=False)

    async def _whole_file(self, caller: Caller, request: web.Request, form: FormFields) -> web.StreamResponse:
        return await self._file(caller, request, form, reveal=True)

    async def _file(
        self, caller: Caller, request: web.Request, fields: FormFields, *, reveal: bool
    ) -> web.StreamResponse:
        """Send the leads of a filter or a search as a file that spreadsheets read as UTF-8."""
        search = self._searches.find(caller, fields["search"]) if fields.get("search") else None
        chosen = LeadFilter.of({} if search else fields)
        criteria = self._criteria(caller, search, chosen, None)
        facts = {"state": chosen.state, "chatbot": chosen.chatbot, "destination": chosen.destination}
        by = {"by": "search"} if search else {}
        parts = self._exports.parts(caller, criteria, {**facts, **by}, reveal=reveal)
        return await send_file(request, _marked(parts))

    def _criteria(
        self, caller: Caller, search: Search | None, chosen: LeadFilter, before: int | None, limit: int = PAGE
    ) -> Criteria:
        if search is None:
            return chosen.criteria(self._clock(), caller.scope, before, limit)
        return [replace(each, before=before, limit=limit, scope=caller.scope) for each in search.criteria]


async def _marked(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Put the mark of UTF-8 in front of a file."""
    async with contextlib.aclosing(parts):
        mark = BOM_UTF8
        async for part in parts:
            yield mark + part
            mark = b""


def _none(_: Connection) -> int:
    return 0


def _with(chosen: str | None, names: list[str]) -> list[str]:
    """Return the names, and the chosen one, which may not be in the configuration any more."""
    return sorted({*names, chosen or ""} - {""})


def _destinations(config: Config, caller: Caller, chosen: str | None) -> list[str]:
    """Return the destinations that a list can be filtered by: those of the caller's chatbots, and the chosen one."""
    theirs = [
        route.destination
        for chatbot in config.chatbots.values()
        if caller.sees(chatbot.name)
        for route in chatbot.routes
    ]
    return _with(chosen, list(config.destinations) if caller.scope.is_whole else theirs)


class LeadSelectionPage:
    """The page and its form."""

    def __init__(self, api: ReadEndpoints, actions: ActionEndpoints, screen: Screen) -> None:
        self._api = api
        self._actions = actions
        self._screen = screen

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the route of the page."""
        router.add_post(SELECTION, self._screen.act(self._act, scoped=True))

    async def _act(self, caller: Caller, request: web.Request, form: FormFields) -> PageResponse:
        """Say what would happen first; after the confirmation change exactly these deliveries."""
        try:
            act = BulkAction(form.get("action", ""))
        except ValueError:
            raise RequestRefusedError(400, f"action: must be one of {', '.join(BulkAction)}") from None
        back = next_path(form.get("back", ""))
        back = back if back.startswith(LEADS) else LEADS
        ids, again = (numbers(name, form.get(name, ""), IDS_LIMIT) for name in ("ids", "again"))
        if form.get("sure") == "yes" and (ids or again):
            run = await self._actions.begin_chosen(caller, act, ids, again)
            where = f"/problems/runs/{run.id}?{urlencode({'back': back})}"
            return self._screen.say(caller, f"Run {run.id} has begun.", where)
        seqs = await _selected(request, form)
        if not seqs:
            return self._screen.say(caller, "Select at least one lead first.", back)
        chosen = LeadFilter.of(form)
        query = partial(
            select_deliveries,
            seqs=seqs,
            act=act,
            state=chosen.state,
            destination=chosen.destination,
            scope=caller.scope,
        )
        found = await self._api.query_threads.ask(query)
        return self._screen.page("selection.html", caller, found=found, back=back)


async def _selected(request: web.Request, form: FormFields) -> list[int]:
    """Return the numbers of the selected leads: all of the page, or those with a check mark."""
    if form.get("all") == "yes":
        return numbers("rows", form.get("rows", ""), ROWS)
    # The form was read before; a name that stands in it several times is in this copy only.
    return numbers("lead", ".".join(map(str, (await request.post()).getall("lead", []))), ROWS)
