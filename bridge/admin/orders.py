"""Endpoints of the API that change something. They are for operators, and each change is in the audit log."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection

from bridge.admin import request_schemas, schemas
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, Role
from bridge.admin.endpoint import Endpoint
from bridge.admin.jobs import Runs, run_shape
from bridge.config.model import Config
from bridge.operations import deliveries, lanes, quarantine
from bridge.operations.audit import ActionResult
from bridge.operations.bulk import Bulk
from bridge.store.commands import DeliverySelection


class Orders:
    """Has the changes made that requests ask for; any number of calls in parallel."""

    def __init__(self, audit: AuditLog, runs: Runs, config: Callable[[], Config], clock: Callable[[], float]) -> None:
        self._audit = audit
        self._runs = runs
        self._config = config
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints that change something."""
        done, number = schemas.Done, request_schemas.NumberGiven
        return [
            _order(
                "/api/events/{id}/replay", "Replay an event.", request_schemas.EventIdGiven, done, self.replay_event
            ),
            _order("/api/deliveries/{id}/replay", "Put a delivery into the queue.", number, done, self.replay),
            _order("/api/deliveries/{id}/discard", "Give a delivery up for good.", number, done, self.discard),
            _order(
                "/api/bulk/preview",
                "Count what would be done.",
                request_schemas.BulkGiven,
                schemas.Extent,
                self.preview,
                (),
            ),
            _order("/api/bulk", "Begin to do it for all.", request_schemas.RunGiven, schemas.Run, self.begin, ()),
            Endpoint("GET", "/api/bulk", "The latest runs.", request_schemas.Nothing, schemas.RunList, self.runs),
            Endpoint("GET", "/api/bulk/{id}", "How far a run is.", number, schemas.Run, self.run, failures=(404,)),
            _order("/api/bulk/{id}/cancel", "End a run early.", number, schemas.Run, self.cancel),
            _order("/api/lanes/{name}/pause", "Hold a lane.", request_schemas.PauseGiven, done, self.pause),
            _order("/api/lanes/{name}/resume", "Let a lane go on.", request_schemas.LaneGiven, done, self.resume),
            _order(
                "/api/quarantine/{id}/release",
                "Verify a request again.",
                request_schemas.ReleaseGiven,
                done,
                self.release,
            ),
            _order("/api/quarantine/{id}/discard", "Delete a refused request.", number, done, self.discard_request),
        ]

    async def replay_event(self, caller: Caller, asked: request_schemas.EventIdGiven) -> schemas.Done:
        """Replay the dead deliveries of an event, or route an unrecognised one again."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(
            lambda connection: deliveries.replay_event(connection, who, asked.id, config, now, one_entry=True)
        )

    async def replay(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Put a delivery into the queue, due now."""
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: deliveries.replay(connection, who, asked.id, now))

    async def discard(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Discard a pending or dead delivery."""
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: deliveries.discard(connection, who, asked.id, now))

    async def preview(self, _: Caller, asked: request_schemas.BulkGiven) -> schemas.Extent:
        """Count the deliveries that a run would handle."""
        extent = await self._runs.preview(_filter(asked))
        return schemas.Extent(count=extent.count, through=extent.through)

    async def begin(self, caller: Caller, asked: request_schemas.RunGiven) -> schemas.Run:
        """Begin a run."""
        return run_shape(await self._runs.begin(caller, Bulk(asked.action, _filter(asked)), asked.through))

    async def runs(self, _: Caller, __: request_schemas.Nothing) -> schemas.RunList:
        """Return the latest runs."""
        return schemas.RunList(runs=[run_shape(each) for each in self._runs.all()])

    async def run(self, _: Caller, asked: request_schemas.NumberGiven) -> schemas.Run:
        """Return one run."""
        return run_shape(self._runs.find(asked.id))

    async def cancel(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Run:
        """End a run after its current step."""
        run = self._runs.find(asked.id)
        await self._runs.cancel(caller, run)
        return run_shape(run)

    async def pause(self, caller: Caller, asked: request_schemas.PauseGiven) -> schemas.Done:
        """Hold a lane until it is resumed."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(lambda connection: lanes.pause(connection, who, asked.name, config, now, asked.reason))

    async def resume(self, caller: Caller, asked: request_schemas.LaneGiven) -> schemas.Done:
        """Let a lane go on."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(lambda connection: lanes.resume(connection, who, asked.name, config, now))

    async def release(self, caller: Caller, asked: request_schemas.ReleaseGiven) -> schemas.Done:
        """Verify a refused request again, and accept its events if its signature holds."""
        who, config, now = caller.who(), self._config(), self._clock()
        return await self._do(
            lambda connection: quarantine.release(connection, who, asked.id, config, now, any_age=asked.any_age)
        )

    async def discard_request(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Delete a refused request for good."""
        who, now = caller.who(), self._clock()
        return await self._do(lambda connection: quarantine.discard(connection, who, asked.id, now))

    async def _do(self, operation: Callable[[Connection], ActionResult]) -> schemas.Done:
        return schemas.Done(message=(await self._audit.change(operation)).message)


def _filter(asked: request_schemas.BulkGiven) -> DeliverySelection:
    reason = asked.reason.value if asked.reason else None
    return DeliverySelection(asked.state, asked.chatbot, asked.destination, reason)


def _order(
    path: str,
    summary: str,
    asked: type[request_schemas.Given],
    answer: type[schemas.Shape],
    act: Callable[[Caller, Any], Awaitable[schemas.Shape]],
    failures: tuple[int, ...] = (404,),
) -> Endpoint:
    return Endpoint("POST", path, summary, asked, answer, act, Role.OPERATOR, failures)
