"""Endpoints of the API that change something. They are for operators, and the audit log has each change."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from bridge.admin import request_schemas, schemas
from bridge.admin.api import permit_delivery, permit_event, permit_request
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, Role
from bridge.admin.endpoint import Endpoint
from bridge.admin.jobs import BulkRuns, run_schema
from bridge.admin.query_threads import QueryThreads
from bridge.config.model import Config
from bridge.operations import deliveries, events, lanes, recovery
from bridge.operations.audit import ActionResult
from bridge.operations.bulk import Bulk, chosen_deliveries
from bridge.store.commands import BulkAction
from bridge.store.filter import DeliveryFilter


class ActionEndpoints:
    """Endpoints that change something; any number of calls in parallel."""

    def __init__(
        self,
        query_threads: QueryThreads,
        audit: AuditLog,
        runs: BulkRuns,
        config: Callable[[], Config],
        clock: Callable[[], float],
    ) -> None:
        self._query_threads = query_threads
        self._audit = audit
        self._runs = runs
        self._config = config
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        done, number = schemas.ActionResultSchema, request_schemas.NumberRequest
        return [
            _order(
                "/api/events/{id}/replay", "Replay an event.", request_schemas.EventIdRequest, done, self.replay_event
            ),
            _order(
                "/api/events/{id}/discard",
                "Delete an unrecognised event.",
                request_schemas.EventIdRequest,
                done,
                self.discard_event,
            ),
            _order("/api/deliveries/{id}/replay", "Put a delivery into the queue.", number, done, self.replay),
            _order("/api/deliveries/{id}/discard", "Discard a delivery for good.", number, done, self.discard),
            _order(
                "/api/bulk/preview",
                "Count the deliveries of a bulk change.",
                request_schemas.BulkRequest,
                schemas.ExtentSchema,
                self.preview,
                (),
            ),
            _order("/api/bulk", "Begin a bulk change.", request_schemas.RunRequest, schemas.RunSchema, self.begin, ()),
            Endpoint(
                "GET",
                "/api/bulk",
                "The latest runs.",
                request_schemas.EmptyRequest,
                schemas.RunListSchema,
                self.runs,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/bulk/{id}",
                "Progress of a run.",
                number,
                schemas.RunSchema,
                self.run,
                failures=(404,),
                scoped=True,
            ),
            _order("/api/bulk/{id}/cancel", "End a run early.", number, schemas.RunSchema, self.cancel),
            _order("/api/lanes/{name}/pause", "Pause a lane.", request_schemas.PauseRequest, done, self.pause),
            _order("/api/lanes/{name}/resume", "Resume a lane.", request_schemas.LaneRequest, done, self.resume),
            _order(
                "/api/quarantine/{id}/release",
                "Verify a request again.",
                request_schemas.ReleaseRequest,
                done,
                self.release,
            ),
            _order("/api/quarantine/{id}/discard", "Delete a refused request.", number, done, self.discard_request),
        ]

    async def replay_event(self, caller: Caller, request: request_schemas.EventIdRequest) -> schemas.ActionResultSchema:
        """Replay the dead deliveries of an event, or route an unrecognised one again."""
        await permit_event(self._query_threads, caller, request.id)
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(
            lambda connection: deliveries.replay_event(
                connection, who, request.id, config, now, one_entry=True, scope=caller.scope
            )
        )

    async def discard_event(
        self, caller: Caller, request: request_schemas.EventIdRequest
    ) -> schemas.ActionResultSchema:
        """Delete an unrecognised event for good."""
        await permit_event(self._query_threads, caller, request.id)
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: events.discard(connection, who, request.id, now))

    async def replay(self, caller: Caller, request: request_schemas.NumberRequest) -> schemas.ActionResultSchema:
        """Put a delivery into the queue, due now."""
        await permit_delivery(self._query_threads, caller, request.id)
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: deliveries.replay(connection, who, request.id, now))

    async def discard(self, caller: Caller, request: request_schemas.NumberRequest) -> schemas.ActionResultSchema:
        """Discard a pending or dead delivery."""
        await permit_delivery(self._query_threads, caller, request.id)
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: deliveries.discard(connection, who, request.id, now))

    async def preview(self, caller: Caller, request: request_schemas.BulkRequest) -> schemas.ExtentSchema:
        """Count the deliveries that a run would handle."""
        extent = await self._runs.preview(Bulk(request.action, _filter(caller, request)))
        return schemas.ExtentSchema(count=extent.count, through=extent.through)

    async def begin(self, caller: Caller, request: request_schemas.RunRequest) -> schemas.RunSchema:
        """Begin a run."""
        return run_schema(
            await self._runs.begin(caller, Bulk(request.action, _filter(caller, request)), request.through)
        )

    async def begin_chosen(
        self, caller: Caller, act: BulkAction, ids: Sequence[int], again: Sequence[int]
    ) -> schemas.RunSchema:
        """Begin a run over deliveries that somebody has selected one by one, after its preview."""
        query = partial(chosen_deliveries, ids=ids, again=again, scope=caller.scope)
        return run_schema(await self._runs.begin(caller, Bulk(act, await self._query_threads.ask(query)), None))

    async def runs(self, caller: Caller, _: request_schemas.EmptyRequest) -> schemas.RunListSchema:
        """Return the latest runs."""
        return schemas.RunListSchema(runs=[run_schema(each) for each in self._runs.all(caller)])

    async def run(self, caller: Caller, request: request_schemas.NumberRequest) -> schemas.RunSchema:
        """Return one run."""
        return run_schema(self._runs.find(caller, request.id))

    async def cancel(self, caller: Caller, request: request_schemas.NumberRequest) -> schemas.RunSchema:
        """End a run after its current step."""
        run = self._runs.find(caller, request.id)
        await self._runs.cancel(caller, run)
        return run_schema(run)

    async def pause(self, caller: Caller, request: request_schemas.PauseRequest) -> schemas.ActionResultSchema:
        """Pause a lane until it is resumed."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(
            lambda connection: lanes.pause(connection, who, request.name, config, now, request.reason)
        )

    async def resume(self, caller: Caller, request: request_schemas.LaneRequest) -> schemas.ActionResultSchema:
        """Resume a lane."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(lambda connection: lanes.resume(connection, who, request.name, config, now))

    async def release(self, caller: Caller, request: request_schemas.ReleaseRequest) -> schemas.ActionResultSchema:
        """Verify a refused request again, and accept its events if its signature holds."""
        await permit_request(self._query_threads, caller, request.id)
        who, config, now = caller.who(), self._config(), self._clock()
        any_age, scope = request.any_age, caller.scope
        return await self._do(
            lambda connection: recovery.release(connection, who, request.id, config, now, any_age=any_age, scope=scope)
        )

    async def discard_request(
        self, caller: Caller, request: request_schemas.NumberRequest
    ) -> schemas.ActionResultSchema:
        """Delete a refused request for good."""
        await permit_request(self._query_threads, caller, request.id)
        who, config, now, scope = caller.who(), self._config(), self._clock(), caller.scope
        return await self._do(lambda connection: recovery.discard(connection, who, request.id, now, config, scope))

    async def _do(self, operation: Callable[[Connection], ActionResult]) -> schemas.ActionResultSchema:
        return schemas.ActionResultSchema(message=(await self._audit.change(operation)).message)


def _filter(caller: Caller, request: request_schemas.BulkRequest) -> DeliveryFilter:
    reason = request.reason.value if request.reason else None
    return DeliveryFilter(request.chatbot, request.destination, request.state, reason, scope=caller.scope)


def _order(
    path: str,
    summary: str,
    request: type[request_schemas.ApiRequest],
    answer: type[schemas.ApiSchema],
    act: Callable[[Caller, Any], Awaitable[schemas.ApiSchema]],
    failures: tuple[int, ...] = (404,),
) -> Endpoint:
    # The pause of a lane concerns all chatbots that use its destination.
    scoped = not path.startswith("/api/lanes/")
    return Endpoint("POST", path, summary, request, answer, act, Role.OPERATOR, failures, scoped)
