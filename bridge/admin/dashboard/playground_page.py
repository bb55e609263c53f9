"""The playground, a page to try an edited route. It is for operators, because it shows payloads."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from aiohttp import web

from bridge.admin import presentation, request_schemas
from bridge.admin.api import ReadEndpoints, audience, permit_event
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.configuration import without_secrets
from bridge.admin.dashboard.page import DashboardPage, FormFields, Screen, parse_fields
from bridge.admin.dashboard.reveals import Reveals
from bridge.admin.query_threads import DryRuns
from bridge.admin.responses import UnansweredError, status_of
from bridge.config.reload import Files
from bridge.errors import NotFoundError, OperatorError
from bridge.event import EventState
from bridge.operations import events, playground
from bridge.operations.audit import Action, Subject
from bridge.operations.events import EventDetails
from bridge.operations.leads import person_label
from bridge.operations.playground import RoutePosition, TrialResult
from bridge.store.filter import EventFilter

EXAMPLE = """{
  "Type": "Lead", "FirstName": "Ada", "LastName": "Example", "Email": "ada@example.com",
  "PhoneNumber": "+12025550123", "Content": "Please call me back", "URI": "https://example.com/contact"
}
"""


class PlaygroundPage:
    """The page and its form."""

    def __init__(
        self, api: ReadEndpoints, screen: Screen, dry_runs: DryRuns, reveals: Reveals, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._reveals = reveals
        self._dry_runs = dry_runs
        self._screen = screen
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the page."""
        router.add_get("/tools/playground", self._screen.show(self._show, Role.OPERATOR, scoped=True))
        router.add_post("/tools/playground", self._screen.act(self._try, scoped=True))

    async def _show(self, caller: Caller, request: web.Request) -> DashboardPage:
        """Begin with an event, the last one if none is named, and with its route."""
        place = self._place(caller, request.query.get("route", ""))
        event = await self._event(caller, request.query.get("event", ""), place)
        if place is None and self._api.files() is not None:
            place = self._place_of(caller, event)
        if place is None:
            return self._page(caller, None, {}, event)
        files, config, now = self._files(), self._api.config(), self._clock()
        text = await self._api.query_threads.work(
            lambda _: without_secrets(playground.route_text(files, place), config)
        )
        if event is None:
            return self._page(caller, place, {"yaml": text, "event": EXAMPLE})
        reveal = self._reveals.until(caller, event.row.id) is not None
        trial = partial(playground.run_in_use, files, place, event.payload, now, reveal=reveal)
        try:
            shown = await self._dry_runs.attempt(trial)
        except OperatorError as error:
            shown = TrialResult((str(error),))
        return self._page(caller, place, {"yaml": text, "id": event.row.id}, event, shown)

    async def _try(self, caller: Caller, _: web.Request, form: FormFields) -> DashboardPage:
        place = self._place(caller, form.get("route", ""))
        if place is None:
            raise RequestRefusedError(400, "choose a route first")
        name = self._api.config().chatbots[place.chatbot].routes[place.at].name
        await self._api.audit.note(caller, Action.PLAYGROUND, Subject.CHATBOT, place.chatbot, route=name)
        config, text = self._api.config(), form.get("yaml", "")
        seen = playground.seen_by(config, caller.scope)
        status = 200
        try:
            payload = await self._payload(caller, form)
            tried = await self._dry_runs.attempt(
                partial(playground.run_trial, self._files(), place, text, payload, self._clock(), seen)
            )
        except (OperatorError, RequestRefusedError) as error:
            # The page keeps what was written.
            tried = TrialResult((str(error),))
            faults = RequestRefusedError | UnansweredError | NotFoundError
            status = status_of(error) if isinstance(error, faults) else 200
        return self._page(caller, place, form, tried=tried, status=status)

    async def _event(self, caller: Caller, wanted: str, place: RoutePosition | None) -> EventDetails | None:
        """Return the event of an id; without one, the last event of the route's chatbot, or of all."""
        if wanted:
            beginning = parse_fields(request_schemas.EventIdRequest, {"id": wanted}).id
            await permit_event(self._api.query_threads, caller, beginning)
            return await self._api.query_threads.ask(partial(events.show, beginning=beginning))
        criteria = EventFilter(place.chatbot if place else None, EventState.ACCEPTED, limit=1, scope=caller.scope)
        found = (await self._api.query_threads.ask(partial(events.search, filters=[criteria]))).rows
        return await self._api.query_threads.ask(partial(events.show, beginning=found[0].id)) if found else None

    def _place_of(self, caller: Caller, event: EventDetails | None) -> RoutePosition | None:
        """Return the route that an event took; else a route of its chatbot, or the first one."""
        offered = [each for each, _ in playground.places(self._api.config(), caller.scope)]
        if event is None:
            return offered[0] if offered else None
        mine = [each for each in offered if each.chatbot == event.row.chatbot]
        taken = {each.route for each in event.deliveries}
        chatbots = self._api.config().chatbots
        of_event = [each for each in mine if chatbots[each.chatbot].routes[each.at].name in taken]
        return next(iter([*of_event, *mine, *offered]), None)

    async def _payload(self, caller: Caller, form: FormFields) -> bytes:
        """Return the event of the form: the text, or the stored one of the id, whose reveal is logged."""
        text, wanted = form.get("event", ""), form.get("id", "").strip()
        # A written event comes before the event that the page began with.
        if not wanted or (text.strip() and wanted == form.get("begun", "")):
            return text.encode()
        beginning = parse_fields(request_schemas.EventIdRequest, form).id
        await permit_event(self._api.query_threads, caller, beginning)
        event = await self._api.query_threads.ask(partial(events.show, beginning=beginning))
        await self._reveals.begin(caller, event.row.id, where="playground")
        return bytes(event.payload)

    def _files(self) -> Files:
        """Return the files in use. Raises OperatorError if there are none."""
        files = self._api.files()
        if files is None:
            raise OperatorError("this bridge was not started from files, so there is no route to edit")
        return files

    def _place(self, caller: Caller, text: str) -> RoutePosition | None:
        offered = playground.places(self._api.config(), caller.scope)
        known = {f"{place.chatbot}:{place.at}": place for place, _ in offered}
        return known.get(text)

    def _page(
        self,
        caller: Caller,
        place: RoutePosition | None,
        said: Mapping[str, str],
        event: EventDetails | None = None,
        in_use: TrialResult | None = None,
        tried: TrialResult | None = None,
        status: int = 200,
    ) -> DashboardPage:
        offered = playground.places(self._api.config(), caller.scope)
        reveal = event is not None and self._reveals.until(caller, event.row.id) is not None
        page = self._screen.page(
            "playground.html",
            caller,
            routes=[(f"{each.chatbot}:{each.at}", name) for each, name in offered],
            chosen=f"{place.chatbot}:{place.at}" if place else "",
            said_before={name: said.get(name, "") for name in ("yaml", "event", "id")},
            event=event.row if event else None,
            person=person_label(event.payload, audience(caller, reveal=reveal)) if event else "",
            payload=presentation.payload_value(event.payload, reveal=reveal) if event else None,
            masked=not reveal,
            in_use=in_use,
            tried=tried,
            differences=playground.differences(tried.in_use, tried) if tried and tried.in_use else [],
        )
        return replace(page, status=status)
