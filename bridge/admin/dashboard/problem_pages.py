"""Pages about problems: the list, bulk changes and their runs, and the quarantine."""

from collections.abc import Callable
from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller
from bridge.admin.configuration import findings
from bridge.admin.dashboard.page import DashboardPage, FormFields, PageResponse, Screen, next_path, parse_fields
from bridge.operations.masking import Audience
from bridge.operations.problems import Problem, Sample, find_problems, sampled
from bridge.store.chatbot_queries import NEWEST
from bridge.store.commands import BulkAction

RECENT_SECONDS = 10.0
"""Age up to which problems are shown again, on Home and as the number in the navigation, without being read."""

READERS_LIMIT = 100
"""Most readers of different chatbots whose problems are remembered."""


class ProblemPages:
    """The pages and their forms, and the number of problems for the navigation."""

    def __init__(
        self, api: ReadEndpoints, actions: ActionEndpoints, screen: Screen, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._actions = actions
        self._screen = screen
        self._clock = clock
        self._read: dict[frozenset[str] | None, tuple[float, list[Problem]]] = {}
        """Time of the last reading of the problems of some chatbots, or of all, and the problems."""
        screen.problem_count = lambda only: lambda connection: len(self.recent(connection, only))

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/problems", show(self._list, scoped=True))
        router.add_post("/problems", act(self._bulk, scoped=True))
        router.add_get("/problems/runs/{id}", show(self._run, scoped=True))
        router.add_post("/problems/runs/{id}/cancel", act(self._cancel, scoped=True))
        router.add_get("/problems/quarantine", show(self._quarantine, scoped=True))
        router.add_post("/problems/quarantine/{id}/release", act(self._release, scoped=True))
        router.add_post("/problems/quarantine/{id}/discard", act(self._discard, scoped=True))

    async def _list(self, caller: Caller, request: web.Request) -> DashboardPage:
        chatbot, destination = (request.query.get(name, "") for name in ("chatbot", "destination"))
        runs = await self._actions.runs(caller, request_schemas.EmptyRequest())
        return self._screen.page(
            "problems.html",
            caller,
            {"found": partial(self._found, chatbot=chatbot, destination=destination, audience=audience(caller))},
            chatbot=chatbot,
            destination=destination,
            chatbots=sorted({*filter(caller.sees, self._api.config().chatbots), chatbot} - {""}),
            limit=NEWEST,
            runs=runs.runs,
            now=self._clock(),
        )

    def _found(
        self, connection: Connection, chatbot: str, destination: str, audience: Audience
    ) -> list[tuple[Problem, Sample | None]]:
        """Return the problems of a chatbot, a destination, or all, each with one of its leads."""
        only = audience.chatbots
        if chatbot:
            only = frozenset({chatbot} if audience.sees(chatbot) else ())
        problems = self._problems(connection, only)
        if destination:
            problems = [each for each in problems if each.destination == destination]
        samples = sampled(connection, problems, audience)
        return [(each, samples.get(each.key)) for each in problems]

    def _problems(self, connection: Connection, only: frozenset[str] | None) -> list[Problem]:
        config, now = self._api.config(), self._clock()
        noticed = findings(config, self._api.files()) if only is None else ()
        found = find_problems(connection, config, now, noticed, only)
        if len(self._read) >= READERS_LIMIT:
            self._read.clear()
        self._read[only] = now, found
        return found

    def recent(self, connection: Connection, only: frozenset[str] | None) -> list[Problem]:
        """Return the problems of all chatbots, or of `only` these, read no longer than `RECENT_SECONDS` ago."""
        at, found = self._read.get(only, (float("-inf"), []))
        return found if 0 <= self._clock() - at < RECENT_SECONDS else self._problems(connection, only)

    async def _bulk(self, caller: Caller, _: web.Request, form: FormFields) -> PageResponse:
        """Show the number of deliveries first; after the confirmation change exactly these."""
        wanted = parse_fields(request_schemas.RunRequest, form)
        if form.get("sure") != "yes":
            found = await self._actions.preview(caller, wanted)
            return self._screen.page(
                "bulk.html", caller, wanted=wanted, found=found, discard=wanted.action is BulkAction.DISCARD
            )
        run = await self._actions.begin(caller, wanted)
        return self._screen.say(caller, f"Run {run.id} has begun.", f"/problems/runs/{run.id}")

    async def _run(self, caller: Caller, request: web.Request) -> DashboardPage:
        run = await self._actions.run(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.page("run.html", caller, run=run, back=next_path(request.query.get("back", "/problems")))

    async def _cancel(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        run = await self._actions.cancel(caller, parse_fields(request_schemas.NumberRequest, request.match_info))
        return self._screen.say(caller, f"Run {run.id}: {run.state}.", f"/problems/runs/{run.id}")

    async def _quarantine(self, caller: Caller, request: web.Request) -> DashboardPage:
        found = self._api.quarantine_shown(caller, parse_fields(request_schemas.QuarantineListRequest, request.query))
        return self._screen.page("quarantine.html", caller, {"found": found}, query=dict(request.query))

    async def _release(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.ReleaseRequest, form, id=request.match_info["id"])
        done = await self._actions.release(caller, wanted)
        return self._screen.say(caller, done.message, "/problems/quarantine")

    async def _discard(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        done = await self._actions.discard_request(
            caller, parse_fields(request_schemas.NumberRequest, request.match_info)
        )
        return self._screen.say(caller, done.message, "/problems/quarantine")
