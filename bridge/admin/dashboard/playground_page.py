"""The playground, a page to try an edited route. It is for operators, because it shows payloads."""

from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web

from bridge.admin import request_schemas
from bridge.admin.api import ReadEndpoints, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.configuration import without_secrets
from bridge.admin.dashboard.page import DashboardPage, FormFields, Screen, parse_fields
from bridge.admin.desk import DryRuns
from bridge.admin.endpoint import UnansweredError
from bridge.config.reload import Files
from bridge.errors import OperatorError
from bridge.operations import events, playground
from bridge.operations.audit import Action, Subject
from bridge.operations.lanes import destinations_of
from bridge.operations.playground import RoutePosition, TrialResult

EXAMPLE = """{
  "Type": "Lead", "FirstName": "Ada", "LastName": "Example", "Email": "ada@example.com",
  "PhoneNumber": "+12025550123", "Content": "Please call me back", "URI": "https://example.com/contact"
}
"""


class PlaygroundPage:
    """The page and its form."""

    def __init__(self, api: ReadEndpoints, screen: Screen, dry_runs: DryRuns, clock: Callable[[], float]) -> None:
        self._api = api
        self._dry_runs = dry_runs
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the page."""
        router.add_get("/tools/playground", self._screen.show(self._show, Role.OPERATOR, scoped=True))
        router.add_post("/tools/playground", self._screen.act(self._try, scoped=True))

    async def _show(self, caller: Caller, request: web.Request) -> DashboardPage:
        place = self._place(caller, request.query.get("route", ""))
        text = ""
        if place:
            files, config = self._files(), self._api.config()
            text = await self._api.desk.work(lambda _: without_secrets(playground.route_text(files, place), config))
        return self._page(caller, place, {"yaml": text, "event": EXAMPLE, "id": request.query.get("event", "")}, None)

    async def _try(self, caller: Caller, _: web.Request, form: FormFields) -> DashboardPage:
        place = self._place(caller, form.get("route", ""))
        if place is None:
            raise RequestRefusedError(400, "choose a route first")
        name = self._api.config().chatbots[place.chatbot].routes[place.at].name
        await self._api.audit.note(caller, Action.PLAYGROUND, Subject.CHATBOT, place.chatbot, route=name)
        payload = form.get("event", "").encode()
        if form.get("id", "").strip():
            payload = await self._stored(caller, form)
        text = form.get("yaml", "")
        theirs = None if caller.chatbots is None else destinations_of(self._api.config(), caller.chatbots)
        try:
            tried = await self._dry_runs.attempt(
                partial(playground.run_trial, self._files(), place, text, payload, self._clock(), theirs)
            )
        except UnansweredError:
            raise
        except OperatorError as error:
            tried = TrialResult((str(error),))
        return self._page(caller, place, form, tried)

    async def _stored(self, caller: Caller, form: FormFields) -> bytes:
        wanted = parse_fields(request_schemas.EventIdRequest, form).id
        await permit_event(self._api.desk, caller, wanted)
        event = await self._api.desk.ask(partial(events.show, beginning=wanted))
        await self._api.audit.note(caller, Action.REVEAL, Subject.EVENT, event.row.id, where="playground")
        return bytes(event.payload)

    def _files(self) -> Files:
        """Return the files in use. Raises OperatorError if there are none."""
        files = self._api.files()
        if files is None:
            raise OperatorError("this bridge was not started from files, so there is no route to edit")
        return files

    def _place(self, caller: Caller, text: str) -> RoutePosition | None:
        offered = playground.places(self._api.config(), caller.chatbots)
        known = {f"{place.chatbot}:{place.at}": place for place, _ in offered}
        return known.get(text)

    def _page(
        self, caller: Caller, place: RoutePosition | None, said: Mapping[str, str], tried: TrialResult | None
    ) -> DashboardPage:
        offered = playground.places(self._api.config(), caller.chatbots)
        routes = [(f"{each.chatbot}:{each.at}", name) for each, name in offered]
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
