"""The page that asks before selected leads are replayed or discarded."""

from functools import partial
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints
from bridge.admin.authentication import Caller, RequestRefusedError
from bridge.admin.dashboard.lead_filter import LeadFilter, numbers
from bridge.admin.dashboard.lead_search import LEADS
from bridge.admin.dashboard.page import FormFields, PageResponse, Screen
from bridge.admin.dashboard.trouble import next_path
from bridge.operations.bulk import select_deliveries
from bridge.store.commands import IDS_LIMIT, BulkAction
from bridge.store.interface import PAGE

SELECTION: Final = "/leads/selection"


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
            chatbots=caller.chatbots,
        )
        found = await self._api.query_threads.ask(query)
        return self._screen.page("selection.html", caller, found=found, back=back)


async def _selected(request: web.Request, form: FormFields) -> list[int]:
    """Return the numbers of the selected leads: all of the page, or those with a check mark."""
    if form.get("all") == "yes":
        return numbers("rows", form.get("rows", ""), PAGE)
    # The form was read before; a name that stands in it several times is in this copy only.
    return numbers("lead", ".".join(map(str, (await request.post()).getall("lead", []))), PAGE)
