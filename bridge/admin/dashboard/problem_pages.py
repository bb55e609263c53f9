"""Pages about problems: the list with acknowledgements, bulk changes and their runs, and the quarantine."""

from collections.abc import Callable
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller, RequestRefusedError
from bridge.admin.dashboard.page import DashboardPage, FormFields, PageResponse, Screen, parse_fields
from bridge.admin.dashboard.trouble import next_path
from bridge.admin.problems import ProblemEndpoints
from bridge.operations.acknowledgement import ProblemList
from bridge.operations.problems import Sample, sampled
from bridge.operations.recovery import RecoveryAction
from bridge.store.commands import BulkAction
from bridge.store.figures import NEWEST

CHOSEN = "on:"
"""Beginning of the name of a box that selects something; the rest is its id."""
IGNORED_DAYS = 7
"""Days for which a person can ignore a cause."""


class ProblemPages:
    """The pages and their forms, and the number of problems for the navigation."""

    def __init__(
        self,
        api: ReadEndpoints,
        actions: ActionEndpoints,
        problems: ProblemEndpoints,
        screen: Screen,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._actions = actions
        self._problems = problems
        self._screen = screen
        self._clock = clock
        screen.problem_count = lambda reader: lambda connection: len(problems.recent(connection, reader))

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the pages."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/problems", show(self._list, scoped=True))
        router.add_post("/problems", act(self._bulk, scoped=True))
        router.add_post("/problems/acknowledge", act(self._acknowledge, scoped=True))
        router.add_post("/problems/reopen", act(self._reopen, scoped=True))
        router.add_post("/problems/recovery", act(self._recover, scoped=True))
        router.add_post("/problems/reports/{name}", act(self._send_report))
        router.add_get("/problems/runs/{id}", show(self._run, scoped=True))
        router.add_post("/problems/runs/{id}/cancel", act(self._cancel, scoped=True))
        router.add_get("/problems/quarantine", show(self._quarantine, scoped=True))
        router.add_post("/problems/quarantine/{id}/release", act(self._release, scoped=True))
        router.add_post("/problems/quarantine/{id}/discard", act(self._discard, scoped=True))

    async def _list(self, caller: Caller, request: web.Request) -> DashboardPage:
        chatbot, destination = (request.query.get(name, "") for name in ("chatbot", "destination"))
        reader = audience(caller)

        def found(connection: Connection) -> tuple[ProblemList, dict[str, Sample]]:
            """Return the problems, and one lead of each by its key."""
            listed = self._problems.found(connection, caller.scope, chatbot, destination)
            every = [*listed.open, *(problem for problem, _ in listed.acknowledged)]
            return listed, sampled(connection, every, reader)

        runs = await self._actions.runs(caller, request_schemas.EmptyRequest())
        return self._screen.page(
            "problems.html",
            caller,
            {"found": found},
            chatbot=chatbot,
            destination=destination,
            chatbots=sorted({*filter(caller.sees, self._api.config().chatbots), chatbot} - {""}),
            limit=NEWEST,
            days=IGNORED_DAYS,
            runs=runs.runs,
            now=self._clock(),
        )

    async def _acknowledge(self, caller: Caller, _: web.Request, form: FormFields) -> web.Response:
        """Acknowledge or ignore the selected problems, or one."""
        causes = _chosen(form)
        if not causes:
            raise RequestRefusedError(400, "Select a problem first.")
        asked = [parse_fields(request_schemas.AcknowledgeRequest, form, cause=each) for each in causes]
        done = await self._problems.acknowledge_all(caller, causes, asked[0].chatbot, asked[0].days)
        return self._screen.say(caller, done.message, _back(form))

    async def _reopen(self, caller: Caller, _: web.Request, form: FormFields) -> web.Response:
        await self._problems.reopen(caller, parse_fields(request_schemas.CauseRequest, form))
        return self._screen.say(caller, "The problem is open again.", _back(form))

    async def _recover(self, caller: Caller, _: web.Request, form: FormFields) -> PageResponse:
        """Show the number of requests or events first; after the confirmation change exactly these."""
        ids = _chosen(form)
        if form.get("selected") and not ids:
            raise RequestRefusedError(400, "Select a request first.")
        wanted = parse_fields(request_schemas.RecoveryRunRequest, form, **({"ids": ids} if ids else {}))
        if form.get("sure") == "yes":
            run = await self._problems.recover(caller, wanted)
            return self._screen.say(caller, f"Run {run.id} has begun.", f"/problems/runs/{run.id}")
        found = await self._problems.preview(caller, wanted)
        return self._screen.page(
            "recovery.html", caller, wanted=wanted, found=found, discard=wanted.action is RecoveryAction.DISCARD
        )

    async def _send_report(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.ReportNameRequest, request.match_info)
        done = await self._problems.send_report(caller, wanted)
        return self._screen.say(caller, done.message, "/problems")

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
        query = dict(request.query)
        return self._screen.page(
            "quarantine.html", caller, {"found": found}, query=query, chatbot=query.get("chatbot", "")
        )

    async def _release(self, caller: Caller, request: web.Request, form: FormFields) -> web.Response:
        wanted = parse_fields(request_schemas.ReleaseRequest, form, id=request.match_info["id"])
        done = await self._actions.release(caller, wanted)
        return self._screen.say(caller, done.message, "/problems/quarantine")

    async def _discard(self, caller: Caller, request: web.Request, _: FormFields) -> web.Response:
        done = await self._actions.discard_request(
            caller, parse_fields(request_schemas.NumberRequest, request.match_info)
        )
        return self._screen.say(caller, done.message, "/problems/quarantine")


def _chosen(form: FormFields) -> list[str]:
    """Return what the boxes of a form select, or the cause that it names."""
    boxes = [name.removeprefix(CHOSEN) for name in form if name.startswith(CHOSEN)]
    return boxes or [each for each in (form.get("cause", ""),) if each]


def _back(form: FormFields) -> str:
    """Return the path of the list of problems that has the form."""
    chatbot = form.get("chatbot", "").strip()
    return f"/problems?{urlencode({'chatbot': chatbot})}" if chatbot else "/problems"
