"""The page on which a route is tried; for operators, since it shows what an event says."""

from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from bridge.admin import request_schemas
from bridge.admin.api import Api
from bridge.admin.authentication import Caller, RefusedError, Role
from bridge.admin.configuration import without_secrets
from bridge.admin.dashboard.page import Form, Screen, asked
from bridge.admin.endpoint import UnansweredError
from bridge.admin.sources import Apart, Asked, Page
from bridge.admin.views import View
from bridge.errors import OperatorError
from bridge.operations import events, playground
from bridge.operations.audit import Action, Subject
from bridge.operations.dry_run import DryRuns
from bridge.operations.playground import Place, Tried
from bridge.store.configuration import configuration_in_use

EXAMPLE = """{
  "Type": "Lead", "FirstName": "Ada", "LastName": "Example", "Email": "ada@example.com",
  "PhoneNumber": "+12025550123", "Content": "Please call me back", "URI": "https://example.com/contact"
}
"""


class PlaygroundPage:
    """Answers with it."""

    def __init__(self, api: Api, screen: Screen, dry_runs: DryRuns, clock: Callable[[], float]) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add what it answers."""
        router.add_get("/playground", self._screen.show(self._show, Role.OPERATOR))
        router.add_post("/playground", self._screen.act(self._try))

    async def _show(self, caller: Caller, request: web.Request) -> Page:
        place = self._place(request.query.get("route", ""))
        text = ""
        if place:
            contents = await self._contents()
            found = await self._api.reader.do(Apart(playground.route_text, (contents, place)))
            text = without_secrets(found, self._api.config())
        return self._page(caller, place, {"yaml": text, "event": EXAMPLE, "id": request.query.get("event", "")}, None)

    async def _try(self, caller: Caller, _: web.Request, form: Form) -> Page:
        place = self._place(form.get("route", ""))
        if place is None:
            raise RefusedError(400, "choose a route first")
        name = self._api.config().chatbots[place.chatbot].routes[place.at].name
        await self._api.audit.note(caller, Action.PLAYGROUND, Subject.CHATBOT, place.chatbot, route=name)
        payload = form.get("event", "").encode()
        if form.get("id", "").strip():
            payload = await self._stored(caller, form)
        contents = await self._contents()
        files = self._api.carried_files()
        environ = files.environ if files else {}
        attempt = Apart(playground.attempt, (contents, environ, place, form.get("yaml", ""), payload, self._clock()))
        try:
            tried = await self._dry_runs.attempt(attempt)
        except UnansweredError:
            raise
        except OperatorError as error:
            tried = Tried((str(error),))
        return self._page(caller, place, form, tried)

    async def _stored(self, caller: Caller, form: Form) -> bytes:
        wanted = asked(request_schemas.EventIdGiven, form).id
        event = await self._api.reader.do(Asked(View(events.show, {"beginning": wanted})))
        await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, event.row.id, where="playground")
        return bytes(event.payload)

    async def _contents(self) -> Mapping[Path, bytes]:
        """Give the files in use. Raises OperatorError where there are none."""
        found = await self._api.reader.do(Asked(configuration_in_use))
        if found is None or self._api.carried_files() is None:
            raise OperatorError("this bridge was not started from files, so there is no route to edit")
        return {Path(name): content for name, content in found.contents.items()}

    def _place(self, text: str) -> Place | None:
        known = {f"{place.chatbot}:{place.at}": place for place, _ in playground.places(self._api.config())}
        return known.get(text)

    def _page(self, caller: Caller, place: Place | None, said: Mapping[str, str], tried: Tried | None) -> Page:
        routes = [(f"{each.chatbot}:{each.at}", name) for each, name in playground.places(self._api.config())]
        return self._screen.page(
            "playground.html",
            caller,
            routes=routes,
            chosen=f"{place.chatbot}:{place.at}" if place else "",
            yaml=said.get("yaml", ""),
            event=said.get("event", ""),
            id=said.get("id", ""),
            tried=tried,
        )
