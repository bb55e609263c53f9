"""Forms of the saved views on the list of leads."""

import re
from functools import partial
from typing import Final

from aiohttp import web

from bridge.admin.api import ReadEndpoints
from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard.lead_filter import LeadFilter
from bridge.admin.dashboard.lead_search import LEADS
from bridge.admin.dashboard.page import FormFields, Screen
from bridge.errors import ConflictError, NotFoundError
from bridge.operations.masking import masked_words
from bridge.store.user_state import View, delete_view, save_view

VIEWS: Final = "/leads/views"
NAME_LIMIT: Final = 40
"""Most characters of a name."""
_NAME: Final = re.compile(rf"[^\x00-\x1f\x7f]{{1,{NAME_LIMIT}}}")


class LeadViews:
    """The forms. Viewers have views too."""

    def __init__(self, api: ReadEndpoints, screen: Screen) -> None:
        self._api = api
        self._screen = screen

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the forms."""
        act = self._screen.act
        router.add_post(VIEWS, act(self._save, Role.VIEWER, scoped=True))
        router.add_post(f"{VIEWS}/delete", act(self._delete, Role.VIEWER, scoped=True))

    async def _save(self, caller: Caller, _: web.Request, form: FormFields) -> web.Response:
        query, name = LeadFilter.of(form).address, " ".join(form.get("name", "").split())
        back = f"{LEADS}?{query}" if query else LEADS
        if not query:
            said = "Choose a filter first, then save it as a view."
        elif not _NAME.fullmatch(name):
            said = f"Write a name of at most {NAME_LIMIT} characters for the view."
        elif masked_words(name, ()) != name:
            # The store keeps a person's data in the events alone, where `erase` finds it.
            said = "The name of a view must not hold an e-mail address or a phone number."
        else:
            save = partial(save_view, owner=owner(caller), view=View(name, query))
            said = await self._change(save, f"The view {name} is saved.")
        return self._screen.say(caller, said, back)

    async def _delete(self, caller: Caller, _: web.Request, form: FormFields) -> web.Response:
        name = form.get("name", "")
        remove = partial(delete_view, owner=owner(caller), name=name)
        return self._screen.say(caller, await self._change(remove, f"The view {name} is deleted."), LEADS)

    async def _change(self, change: "partial[None]", done: str) -> str:
        """Make a change, and return what to say about it."""
        try:
            await self._api.query_threads.change(change, queue=False)
        except (ConflictError, NotFoundError) as error:
            return str(error)
        return done


def owner(caller: Caller) -> str:
    """Return the owner of a caller's views: the user of this name, or all who share a token."""
    return f"user {caller.name}" if caller.name else f"role {caller.role}"
