"""The search for a person from any page: kept for its reader, so that the address of its result names nobody."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin import request_schemas
from bridge.admin.api import ReadEndpoints, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.dashboard.page import FormFields, Holder, PageResponse, holder_of, parse_fields
from bridge.errors import NotFoundError
from bridge.operations import events
from bridge.store.filter import EventFilter
from bridge.store.person_index import is_searchable

LEADS: Final = "/leads"
SEARCHES_LIMIT: Final = 1_000
"""Most searches that can be gone back to. They are in memory only."""
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


class LeadSearches:
    """The form of the search, and the latest searches. Lives in the loop's thread."""

    def __init__(self, api: ReadEndpoints) -> None:
        self._api = api
        self._kept: OrderedDict[str, Search] = OrderedDict()

    def find(self, caller: Caller, key: str) -> Search:
        """Return a search of this caller. Raises RequestRefusedError."""
        search = self._kept.get(key)
        if search is None or search.holder != holder_of(caller):
            raise RequestRefusedError(410, "This search has expired. Search again.")
        return search

    async def search(self, caller: Caller, _: web.Request, form: FormFields) -> PageResponse:
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
        self._kept[key] = Search(holder_of(caller), wanted if caller.may(Role.OPERATOR) else "", criteria)
        while len(self._kept) > SEARCHES_LIMIT:
            self._kept.popitem(last=False)
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
            await permit_event(self._api.query_threads, caller, beginning)
            return (await self._api.query_threads.ask(partial(events.find_event, beginning=beginning))).id
        except NotFoundError:
            return None


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
