"""The API and the dashboard, which the listener loads when somebody first asks for one of them."""

import asyncio
from collections.abc import Callable
from functools import partial

import orjson
from aiohttp import web

from bridge.admin import openapi
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Gate, RequestRefusedError
from bridge.admin.dashboard.pages import EndpointGroups, Pages
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.endpoint import ApiCall
from bridge.admin.export import LeadExports
from bridge.admin.jobs import BulkRuns, Inquiries
from bridge.admin.problems import ProblemEndpoints
from bridge.admin.query_threads import DryRuns, QueryThreads
from bridge.admin.reconcile import ReconcileEndpoints
from bridge.admin.responses import JSON_TYPE, error_response, refusal_response
from bridge.alerts.reporter import Reporter
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store


class Console:
    """The API and the dashboard of the admin listener."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        query_threads: QueryThreads,
        audit: AuditLog,
        gate: Gate,
        *,
        config: Callable[[], Config],
        files: Callable[[], Files | None],
        clock: Callable[[], float],
    ) -> None:
        """Create the parts; `config` returns the configuration in use, `files` its files."""
        self._gate = gate
        self._described: bytes | None = None
        self._dry_runs = DryRuns(query_threads)
        self._runs = BulkRuns(query_threads, audit, clock)
        self._inquiries = Inquiries(store, query_threads, audit, lanes, config, clock)
        api = ReadEndpoints(query_threads, audit, lanes, config=config, files=files, clock=clock)
        groups = EndpointGroups(
            api,
            LeadExports(query_threads, audit, config),
            ActionEndpoints(query_threads, audit, self._runs, config, clock),
            ProblemEndpoints(api, self._runs, Reporter(config, store, query_threads.ask, clock), clock),
            ReconcileEndpoints(api, self._inquiries, clock),
        )
        pages = Pages(groups, gate, Rendering(), self._dry_runs, clock)
        self._endpoints = groups.endpoints()
        self.troubles = pages.troubles
        """Pages for errors."""
        self.router = web.UrlDispatcher()
        """Routes of all endpoints and pages."""
        for each in self._endpoints:
            self.router.add_route(each.method, each.path, ApiCall(each, gate).answer)
        self.router.add_get("/api/openapi.json", self._describe)
        pages.add_to(self.router)

    async def close(self) -> None:
        """End background jobs and dry runs. Finished steps stay finished."""
        await self._inquiries.close()
        await self._runs.close()
        await self._dry_runs.close()

    async def _describe(self, request: web.Request) -> web.Response:
        try:
            await self._gate.known(request)
        except RequestRefusedError as error:
            return refusal_response(error)
        except StoreUnavailableError as error:
            return error_response(503, str(error), {"Retry-After": "5"})
        if self._described is None:
            # In a thread, and once: it takes tens of milliseconds.
            document = partial(openapi.openapi_document, self._endpoints)
            self._described = orjson.dumps(await asyncio.to_thread(document))
        return web.Response(body=self._described, content_type=JSON_TYPE, charset="utf-8")
