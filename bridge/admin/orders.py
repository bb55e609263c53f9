"""The API's endpoints that change something. Each is for operators, and is written into the audit log."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection

from bridge.admin import request_schemas, schemas
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, Role
from bridge.admin.endpoint import ConflictError, Endpoint, NotFoundError
from bridge.admin.jobs import Runs, run_shape
from bridge.admin.views import one_event, unknown_delivery
from bridge.config.model import Config
from bridge.errors import did_you_mean
from bridge.event import EventState
from bridge.ingress import reprocess
from bridge.operations.audit import Action, Entry, Subject
from bridge.store import commands, quarantine, queries
from bridge.store.commands import DeliverySelection
from bridge.store.interface import DeliveryState, Pause
from bridge.store.lane_queries import all_lanes


class Orders:
    """Changes things; any number of calls in parallel."""

    def __init__(self, audit: AuditLog, runs: Runs, config: Callable[[], Config], clock: Callable[[], float]) -> None:
        self._audit = audit
        self._runs = runs
        self._config = config
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Give the endpoints that change something."""
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
        """Replay the dead deliveries of an event; route an unrecognised one again."""
        config, now = self._config(), self._clock()

        def act(connection: Connection) -> tuple[str, Entry]:
            event = one_event(connection, asked.id)
            if event.state is EventState.UNRECOGNISED:
                payload = queries.payload(connection, event.seq)
                said = reprocess.route_again(connection, event, payload, config)
                return said, _entry(caller, Action.REPLAY, Subject.EVENT, event.id, was=event.state.value)
            deliveries = queries.deliveries_of(connection, event.seq)
            dead = [each.id for each in deliveries if each.state is DeliveryState.DEAD]
            if not dead:
                raise ConflictError(f"event {event.id}: no dead delivery to replay")
            commands.replay(connection, dead, now)
            entry = _entry(caller, Action.REPLAY, Subject.EVENT, event.id, len(dead), was=DeliveryState.DEAD.value)
            return f"event {event.id}: {len(dead)} pending and due now", entry

        return schemas.Done(message=await self._audit.change(act))

    async def replay(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Put a delivery into the queue, due now."""
        now = self._clock()

        def act(connection: Connection) -> tuple[DeliveryState, Entry]:
            before = commands.replay(connection, [asked.id], now).get(asked.id)
            if before is None:
                raise unknown_delivery(asked.id)
            return before, _entry(caller, Action.REPLAY, Subject.DELIVERY, asked.id, was=before.value)

        before = await self._audit.change(act)
        return schemas.Done(message=f"delivery {asked.id}: was {before.value}, is pending and due now")

    async def discard(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Give a pending or dead delivery up."""
        now = self._clock()

        def act(connection: Connection) -> tuple[DeliveryState, Entry]:
            before = commands.discard(connection, [asked.id], now).get(asked.id)
            if before is None:
                raise unknown_delivery(asked.id)
            if before is DeliveryState.DELIVERED:
                raise ConflictError(f"delivery {asked.id}: delivered already, and stays so")
            return before, _entry(caller, Action.DISCARD, Subject.DELIVERY, asked.id, was=before.value)

        before = await self._audit.change(act)
        return schemas.Done(message=f"delivery {asked.id}: was {before.value}, is discarded")

    async def preview(self, _: Caller, asked: request_schemas.BulkGiven) -> schemas.Extent:
        """Count what a run would touch."""
        found = await self._runs.preview(chosen(asked))
        return schemas.Extent(count=found.count, through=found.through)

    async def begin(self, caller: Caller, asked: request_schemas.RunGiven) -> schemas.Run:
        """Begin a run."""
        return run_shape(await self._runs.begin(caller, asked.action, chosen(asked), asked.through))

    async def runs(self, _: Caller, __: request_schemas.Nothing) -> schemas.RunList:
        """Show the latest runs."""
        return schemas.RunList(runs=[run_shape(each) for each in self._runs.all()])

    async def run(self, _: Caller, asked: request_schemas.NumberGiven) -> schemas.Run:
        """Show one run."""
        found = self._runs.find(asked.id)
        if found is None:
            raise _unknown_run(asked.id)
        return run_shape(found)

    async def cancel(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Run:
        """End a run after the step that it is at."""
        found = self._runs.find(asked.id)
        if found is None:
            raise _unknown_run(asked.id)
        await self._runs.cancel(caller, found)
        return run_shape(found)

    async def pause(self, caller: Caller, asked: request_schemas.PauseGiven) -> schemas.Done:
        """Hold a lane until it is resumed."""

        def act(connection: Connection) -> tuple[None, Entry]:
            self._check_lane(connection, asked.name)
            commands.pause_lane(connection, asked.name, Pause("operator", asked.reason))
            # Not the reason: it is the operator's own words, and may name a person.
            return None, _entry(caller, Action.PAUSE, Subject.LANE, asked.name)

        await self._audit.change(act)
        return schemas.Done(message=f"lane {asked.name}: paused until it is resumed")

    async def resume(self, caller: Caller, asked: request_schemas.LaneGiven) -> schemas.Done:
        """Let a lane go on, whoever has paused it."""

        def act(connection: Connection) -> tuple[bool, Entry]:
            self._check_lane(connection, asked.name)
            was_paused = commands.resume_lane(connection, asked.name)
            return was_paused, _entry(caller, Action.RESUME, Subject.LANE, asked.name)

        was_paused = await self._audit.change(act)
        return schemas.Done(message=f"lane {asked.name}: " + ("resumed" if was_paused else "was not paused"))

    async def release(self, caller: Caller, asked: request_schemas.ReleaseGiven) -> schemas.Done:
        """Verify a refused request again, and accept its events if its signature holds."""
        config = self._config()

        def act(connection: Connection) -> tuple[str, Entry]:
            request = queries.quarantined(connection, asked.id)
            message = (
                reprocess.release(connection, asked.id, request, config, any_age=asked.any_age) if request else None
            )
            if message is None:
                raise _unknown_request(asked.id)
            facts = {"age": "any"} if asked.any_age else {}
            return message, _entry(caller, Action.RELEASE, Subject.REQUEST, asked.id, None, **facts)

        return schemas.Done(message=await self._audit.change(act))

    async def discard_request(self, caller: Caller, asked: request_schemas.NumberGiven) -> schemas.Done:
        """Delete a refused request for good."""

        def act(connection: Connection) -> tuple[str, Entry]:
            if not quarantine.discard(connection, [asked.id]):
                raise _unknown_request(asked.id)
            return f"request {asked.id}: discarded", _entry(caller, Action.DISCARD, Subject.REQUEST, asked.id)

        return schemas.Done(message=await self._audit.change(act))

    def _check_lane(self, connection: Connection, name: str) -> None:
        names = list(self._config().destinations)
        known = names if name in names else [each.name for each in all_lanes(connection, names, 0.0)]
        if name not in known:
            raise NotFoundError(f"{name}: no destination has this name{did_you_mean(name, known)}")


def chosen(asked: request_schemas.BulkGiven) -> DeliverySelection:
    """Give the filter of a request."""
    reason = asked.reason.value if asked.reason else None
    return DeliverySelection(asked.state, asked.chatbot, asked.destination, reason)


def _entry(
    caller: Caller, action: Action, subject: Subject, subject_id: int | str, count: int | None = None, **facts: str
) -> Entry:
    return Entry(caller.who(), action, subject, str(subject_id), count, facts)


def _order(
    path: str,
    summary: str,
    asked: type[request_schemas.Given],
    answer: type[schemas.Shape],
    act: Callable[[Caller, Any], Awaitable[schemas.Shape]],
    failures: tuple[int, ...] = (404,),
) -> Endpoint:
    return Endpoint("POST", path, summary, asked, answer, act, Role.OPERATOR, failures)


def _unknown_request(number: int) -> NotFoundError:
    return NotFoundError(f"{number}: no request in quarantine has this id")


def _unknown_run(number: int) -> NotFoundError:
    return NotFoundError(f"{number}: no run of this process has this number")
