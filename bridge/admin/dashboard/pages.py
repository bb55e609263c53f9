"""Pages and forms of the dashboard, with the same queries and actions as the API.

The server renders them, and they work without JavaScript. A small script refreshes the live parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from bridge.admin import request_schemas
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import COOKIE, SESSION_SECONDS, Caller, Gate, RequestRefusedError, Role, caller_of
from bridge.admin.dashboard.chatbot_pages import ChatbotPages
from bridge.admin.dashboard.destination_pages import DestinationPages
from bridge.admin.dashboard.lead_list_pages import LeadListPages, LeadSelectionPage
from bridge.admin.dashboard.lead_pages import LeadPages
from bridge.admin.dashboard.page import DashboardPage, FormFields, Screen, form_of, parse_fields
from bridge.admin.dashboard.playground_page import PlaygroundPage
from bridge.admin.dashboard.problem_pages import ProblemPages
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.dashboard.reveals import Reveals
from bridge.admin.dashboard.trouble import next_path
from bridge.admin.endpoint import Endpoint
from bridge.admin.export import LeadExports
from bridge.admin.origin import is_foreign
from bridge.admin.problems import ProblemEndpoints
from bridge.admin.query_threads import DryRuns, Query
from bridge.admin.reconcile import ReconcileEndpoints, ReconcileSchema, received
from bridge.admin.responses import status_of
from bridge.admin.schemas import ReportSchema
from bridge.errors import StoreUnavailableError
from bridge.operations.audit import Action
from bridge.operations.tally import PERIODS, read_history


@dataclass(frozen=True, slots=True)
class EndpointGroups:
    """The endpoints of the API, whose queries and actions the pages share."""

    api: ReadEndpoints
    exports: LeadExports
    actions: ActionEndpoints
    problems: ProblemEndpoints
    reconcile: ReconcileEndpoints

    def endpoints(self) -> list[Endpoint]:
        """Return all endpoints."""
        groups = (self.api, self.exports, self.actions, self.problems, self.reconcile)
        return [each for group in groups for each in group.endpoints()]


class Pages:
    """All pages of the dashboard."""

    def __init__(
        self, groups: EndpointGroups, gate: Gate, rendering: Rendering, dry_runs: DryRuns, clock: Callable[[], float]
    ) -> None:
        api, actions, problems = groups.api, groups.actions, groups.problems
        self._api = api
        self._gate = gate
        self._clock = clock
        self._recent = problems.recent
        self._rendering = rendering
        self._screen = Screen(gate, rendering, api.query_threads)
        self.troubles = self._screen.troubles
        self._lead_list = LeadListPages(api, groups.exports, self._screen, clock)
        self._selection = LeadSelectionPage(api, actions, self._screen)
        reveals = Reveals(api.audit, clock)
        self._leads = LeadPages(api, actions, self._screen, dry_runs, reveals, clock)
        self._chatbots = ChatbotPages(api, self._screen, clock)
        self._destinations = DestinationPages(api, actions, self._screen, clock)
        self._problems = ProblemPages(api, actions, problems, self._screen, clock)
        self._playground = PlaygroundPage(api, self._screen, dry_runs, reveals, clock)

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of all pages."""
        show = self._screen.show
        router.add_get("/static/{name}", self._rendering.file)
        router.add_get("/login", self._login)
        router.add_post("/login", self._log_in)
        router.add_post("/logout", self._log_out)
        router.add_get("/", show(self._overview, scoped=True))
        router.add_get("/tools", show(self._tools, scoped=True))
        router.add_get("/tools/report", show(self._report, scoped=True))
        router.add_get("/tools/configuration", show(self._configuration))
        router.add_get("/tools/audit", show(self._audit, Role.OPERATOR))
        self._lead_list.add_to(router)
        self._selection.add_to(router)
        self._leads.add_to(router)
        self._chatbots.add_to(router)
        self._destinations.add_to(router)
        self._problems.add_to(router)
        self._playground.add_to(router)

    # -- login

    async def _login(self, request: web.Request) -> web.Response:
        following = next_path(request.query.get("next", ""))
        answer = self._rendering.page("login.html", None, said=None, message=None, following=following)
        if is_foreign(request):
            # A link elsewhere, as in an e-mail, brings no cookie along; this page leading on does.
            answer.headers["Refresh"] = f"0; url={following}"
        return answer

    async def _log_in(self, request: web.Request) -> web.Response:
        form: FormFields = {}
        try:
            form = await form_of(request)
            session = await self._gate.login(form.get("token", "").strip(), request)
        except (RequestRefusedError, StoreUnavailableError) as error:
            answer = self._rendering.page(
                "login.html",
                None,
                status_of(error),
                said=None,
                message=str(error),
                following=next_path(form.get("next", "")),
            )
            if isinstance(error, RequestRefusedError) and error.retry_after:
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer
        caller = caller_of(session, request)
        await self._api.audit.passed(caller, Action.LOGIN)
        answer = web.Response(status=303, headers={"Location": next_path(form.get("next", ""))})
        # Behind a proxy that ends TLS the request itself is plain. A forged header only harms the sender's own cookie.
        forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        answer.set_cookie(
            COOKIE,
            session.key,
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="Strict",
            secure=request.secure or forwarded == "https",
            path="/",
        )
        return answer

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        async def out(caller: Caller, _: web.Request, form: FormFields) -> web.StreamResponse:
            if caller.session and form.get("everywhere"):
                count = await self._gate.logout_everywhere(caller.session)
                await self._api.audit.passed(caller, Action.LOGOUT_EVERYWHERE, count=count)
            elif caller.session:
                await self._gate.logout(caller.session)
                await self._api.audit.passed(caller, Action.LOGOUT)
            answer = web.Response(status=303, headers={"Location": "/login"})
            answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
            return answer

        # Viewers log out too.
        return await self._screen.act(out, role=Role.VIEWER, scoped=True)(request)

    # -- pages

    async def _overview(self, caller: Caller, _: web.Request) -> DashboardPage:
        now = self._clock()
        asked: dict[str, Query[object]] = {
            "found": self._api.overview_shown(audience(caller)),
            "problems": partial(self._recent, reader=caller.scope),
            "history": partial(read_history, now=now, scope=caller.scope),
        }
        return self._screen.page("overview.html", caller, asked, now=now)

    async def _report(self, caller: Caller, request: web.Request) -> DashboardPage:
        wanted = parse_fields(request_schemas.ReportRequest, request.query)
        report = self._api.report_shown(caller, wanted)
        scope = caller.scope.narrowed(wanted.chatbot)

        def found(connection: Connection) -> tuple[ReportSchema, ReconcileSchema]:
            """Return the report, and what became of the events since its first day."""
            shown = report(connection)
            return shown, received(connection, datetime.fromisoformat(shown.since).timestamp(), scope)

        names = sorted(filter(caller.sees, self._api.config().chatbots))
        return self._screen.page("report.html", caller, {"found": found}, wanted=wanted, names=names, periods=PERIODS)

    async def _tools(self, caller: Caller, _: web.Request) -> DashboardPage:
        return self._screen.page("tools.html", caller)

    async def _configuration(self, caller: Caller, _: web.Request) -> DashboardPage:
        return self._screen.page("configuration.html", caller, {"found": self._api.configuration_shown()})

    async def _audit(self, caller: Caller, request: web.Request) -> DashboardPage:
        found = self._api.audit_shown(parse_fields(request_schemas.AuditListRequest, request.query))
        return self._screen.page(
            "audit.html",
            caller,
            {"found": found},
            actions=list(Action),
            chosen=request.query.get("action", ""),
            query=dict(request.query),
        )
