"""The dashboard: its pages and forms, made of the same questions and actions as the API.

Made on the server, whole without JavaScript; a small script refreshes what is marked as live.
"""

from collections.abc import Callable

from aiohttp import web

from bridge.admin import request_schemas, views
from bridge.admin.api import Api, audience
from bridge.admin.authentication import COOKIE, SESSION_SECONDS, Caller, Gate, RefusedError, Role
from bridge.admin.dashboard.lead_pages import LeadPages
from bridge.admin.dashboard.page import Form, Page, Screen, Seen, asked, form_of
from bridge.admin.dashboard.playground_page import PlaygroundPage
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import DryRuns
from bridge.admin.orders import Orders
from bridge.admin.reconcile import Reconcile, ReconcilePages
from bridge.operations.audit import Action
from bridge.store.commands import BulkAction


class Pages:
    """Answers with pages."""

    def __init__(
        self,
        api: Api,
        orders: Orders,
        reconcile: Reconcile,
        gate: Gate,
        rendering: Rendering,
        dry_runs: DryRuns,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._orders = orders
        self._gate = gate
        self._clock = clock
        self._rendering = rendering
        self._screen = Screen(gate, rendering, api.desk)
        self._leads = LeadPages(api, orders, self._screen, dry_runs, clock)
        self._reconcile = ReconcilePages(api, reconcile, self._screen)
        self._playground = PlaygroundPage(api, self._screen, dry_runs, clock)

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add what it answers."""
        show, act = self._screen.show, self._screen.act
        router.add_get("/static/{name}", self._rendering.file)
        router.add_get("/login", self._login)
        router.add_post("/login", self._log_in)
        router.add_post("/logout", self._log_out)
        router.add_get("/", show(self._overview))
        router.add_post("/", act(self._reveal))
        router.add_get("/dead", show(self._dead))
        router.add_post("/dead", act(self._bulk))
        router.add_get("/runs/{id}", show(self._run))
        router.add_post("/runs/{id}/cancel", act(self._cancel))
        router.add_get("/quarantine", show(self._quarantine))
        router.add_post("/quarantine/{id}/release", act(self._release))
        router.add_post("/quarantine/{id}/discard", act(self._discard))
        router.add_post("/lanes/{name}/pause", act(self._pause))
        router.add_post("/lanes/{name}/resume", act(self._resume))
        router.add_get("/configuration", show(self._configuration))
        router.add_get("/audit", show(self._audit, Role.OPERATOR))
        self._leads.add_to(router)
        self._reconcile.add_to(router)
        self._playground.add_to(router)

    # -- login

    async def _login(self, _: web.Request) -> web.Response:
        return self._rendering.page("login.html", None, said=None, message=None)

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            # Checks the origin: nobody is to be logged in by another site's form.
            self._gate.caller(request)
            form = await form_of(request)
            session = self._gate.login(form.get("token", "").strip(), request)
        except RefusedError as error:
            answer = self._rendering.page("login.html", None, error.status, said=None, message=str(error))
            if error.retry_after:
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer
        await self._api.audit.passed(Caller(session.role, request.remote or "", session), Action.LOGIN)
        answer = web.Response(status=303, headers={"Location": "/"})
        # Behind a proxy that ends TLS the request itself is plain; who forges the header only harms his own cookie.
        forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        answer.set_cookie(
            COOKIE,
            session.key,
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="Lax",
            secure=request.secure or forwarded == "https",
            path="/",
        )
        return answer

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        async def out(caller: Caller, _: web.Request, __: Form) -> web.StreamResponse:
            if caller.session:
                self._gate.logout(caller.session)
                await self._api.audit.passed(caller, Action.LOGOUT)
            answer = web.Response(status=303, headers={"Location": "/login"})
            answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")
            return answer

        # Viewers log out too.
        return await self._screen.act(out, role=Role.VIEWER)(request)

    # -- pages

    async def _overview(self, caller: Caller, _: web.Request) -> Page:
        return self._lanes(caller, reveal=False)

    async def _reveal(self, caller: Caller, _: web.Request, __: Form) -> Page:
        await self._api.audit.note(caller, Action.REVEAL, where="lanes")
        return self._lanes(caller, reveal=True)

    def _lanes(self, caller: Caller, *, reveal: bool) -> Page:
        found = self._api.overview_shown(audience(caller, reveal=reveal))
        return self._screen.page("overview.html", caller, {"found": found}, now=self._clock(), masked=not reveal)

    async def _dead(self, caller: Caller, _: web.Request) -> Page:
        runs = await self._orders.runs(caller, request_schemas.Nothing())
        return self._screen.page("dead.html", caller, {"causes": views.causes}, runs=runs.runs)

    async def _bulk(self, caller: Caller, _: web.Request, form: Form) -> Seen:
        """Show first how many it would be; do it for exactly those once that is confirmed."""
        wanted = asked(request_schemas.RunGiven, form)
        if form.get("sure") != "yes":
            found = await self._orders.preview(caller, wanted)
            return self._screen.page(
                "bulk.html", caller, wanted=wanted, found=found, discard=wanted.action is BulkAction.DISCARD
            )
        run = await self._orders.begin(caller, wanted)
        return self._screen.say(caller, f"Run {run.id} has begun.", f"/runs/{run.id}")

    async def _run(self, caller: Caller, request: web.Request) -> Page:
        run = await self._orders.run(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.page("run.html", caller, run=run)

    async def _cancel(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        run = await self._orders.cancel(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.say(caller, f"Run {run.id}: {run.state}.", f"/runs/{run.id}")

    async def _quarantine(self, caller: Caller, request: web.Request) -> Page:
        found = self._api.quarantine_shown(asked(request_schemas.QuarantineGiven, request.query))
        return self._screen.page("quarantine.html", caller, {"found": found}, query=dict(request.query))

    async def _release(self, caller: Caller, request: web.Request, form: Form) -> web.Response:
        wanted = asked(request_schemas.ReleaseGiven, form, id=request.match_info["id"])
        done = await self._orders.release(caller, wanted)
        return self._screen.say(caller, done.message, "/quarantine")

    async def _discard(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        done = await self._orders.discard_request(caller, asked(request_schemas.NumberGiven, request.match_info))
        return self._screen.say(caller, done.message, "/quarantine")

    async def _pause(self, caller: Caller, request: web.Request, form: Form) -> web.Response:
        done = await self._orders.pause(
            caller, asked(request_schemas.PauseGiven, form, name=request.match_info["name"])
        )
        return self._screen.say(caller, done.message, "/")

    async def _resume(self, caller: Caller, request: web.Request, _: Form) -> web.Response:
        done = await self._orders.resume(caller, asked(request_schemas.LaneGiven, request.match_info))
        return self._screen.say(caller, done.message, "/")

    async def _configuration(self, caller: Caller, _: web.Request) -> Page:
        return self._screen.page("configuration.html", caller, {"found": self._api.configuration_shown()})

    async def _audit(self, caller: Caller, request: web.Request) -> Page:
        found = self._api.audit_shown(asked(request_schemas.AuditGiven, request.query))
        return self._screen.page(
            "audit.html",
            caller,
            {"found": found},
            actions=list(Action),
            chosen=request.query.get("action", ""),
            query=dict(request.query),
        )
