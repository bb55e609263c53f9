"""Endpoints of the API about problems: the list, acknowledgements, and recovery of requests and unrecognised events."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from bridge.admin import request_schemas, schemas
from bridge.admin.api import ReadEndpoints, audience
from bridge.admin.authentication import Caller, Role
from bridge.admin.configuration import findings
from bridge.admin.endpoint import Endpoint
from bridge.admin.jobs import BulkRuns, run_schema
from bridge.admin.presentation import optional_timestamp
from bridge.admin.query_threads import Query
from bridge.alerts.reporter import Reporter
from bridge.errors import ConflictError
from bridge.event import timestamp
from bridge.operations import acknowledgement
from bridge.operations.acknowledgement import ProblemList, named_problem, sort_problems
from bridge.operations.audit import ActionResult
from bridge.operations.problems import Problem, Sample, find_problems, sampled
from bridge.operations.recovery import Recovery
from bridge.operations.report import take_left
from bridge.store.filter import Scope
from bridge.store.quarantine import KeptSelection
from bridge.store.report_log import ReportRow
from bridge.store.user_state import Acknowledgement

RECENT_SECONDS = 10.0
"""Age up to which problems are shown again, on Home and as the number in the navigation, without being read."""
READERS_LIMIT = 100
"""Most readers of different chatbots whose problems are remembered."""


class ProblemEndpoints:
    """The endpoints; any number of calls in parallel."""

    def __init__(self, api: ReadEndpoints, runs: BulkRuns, reporter: Reporter, clock: Callable[[], float]) -> None:
        self._api = api
        self._runs = runs
        self._reporter = reporter
        self._clock = clock
        self._read: dict[Scope, tuple[float, list[Problem]]] = {}
        """Time of the last reading of the open problems of each reader, and the problems."""
        # Who has changed something sees it at once.
        api.audit.on_change = self._read.clear

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        done, operator = schemas.ActionResultSchema, Role.OPERATOR
        listed, acknowledged = request_schemas.ProblemListRequest, request_schemas.AcknowledgeRequest
        preview, begun = request_schemas.RecoveryRequest, request_schemas.RecoveryRunRequest
        known, again = "Acknowledge a problem, or ignore it for some days.", "Show an acknowledged problem as open."
        count = "Count the requests in quarantine, or the unrecognised events, of a recovery."
        recover = "Release or discard requests in quarantine, or route or discard unrecognised events."
        path, recovery = "/api/problems", "/api/recovery"
        return [
            Endpoint("GET", path, "Problems by cause.", listed, schemas.ProblemListSchema, self._list, scoped=True),
            Endpoint(
                "POST",
                f"{path}/acknowledge",
                known,
                acknowledged,
                done,
                self.acknowledge,
                operator,
                (404,),
                scoped=True,
            ),
            Endpoint(
                "POST",
                f"{path}/reopen",
                again,
                request_schemas.CauseRequest,
                done,
                self.reopen,
                operator,
                (404,),
                scoped=True,
            ),
            Endpoint(
                "POST",
                f"{recovery}/preview",
                count,
                preview,
                schemas.ExtentSchema,
                self.preview,
                operator,
                scoped=True,
            ),
            Endpoint("POST", recovery, recover, begun, schemas.RunSchema, self.recover, operator, scoped=True),
            Endpoint(
                "POST",
                "/api/reports/{name}/send",
                "Send a report to the receivers that have not got it.",
                request_schemas.ReportNameRequest,
                done,
                self.send_report,
                operator,
                (404,),
            ),
        ]

    # -- queries that pages use too

    def found(self, connection: Connection, reader: Scope, chatbot: str | None, destination: str | None) -> ProblemList:
        """Read the problems that a reader may see, or of one chatbot or destination, open and acknowledged ones."""
        scope = reader.narrowed(chatbot)
        problems = self._problems(connection, scope)
        if destination:
            problems = [each for each in problems if each.destination == destination]
        return sort_problems(connection, problems, reader, scope, self._clock())

    def recent(self, connection: Connection, reader: Scope) -> list[Problem]:
        """Return the open problems that a reader may see, read no longer than `RECENT_SECONDS` ago."""
        at, found = self._read.get(reader, (float("-inf"), []))
        if 0 <= self._clock() - at < RECENT_SECONDS:
            return found
        still_open = list(self.found(connection, reader, None, None).open)
        if len(self._read) >= READERS_LIMIT:
            self._read.clear()
        self._read[reader] = self._clock(), still_open
        return still_open

    def shown(self, caller: Caller, request: request_schemas.ProblemListRequest) -> Query[schemas.ProblemListSchema]:
        """Return the query of the list."""
        reader = audience(caller)

        def query(connection: Connection) -> schemas.ProblemListSchema:
            found = self.found(connection, caller.scope, request.chatbot, request.destination)
            given: dict[str, Acknowledgement] = {problem.key: each for problem, each in found.acknowledged}
            problems = [*found.open, *(problem for problem, _ in found.acknowledged)]
            samples = sampled(connection, problems, reader)
            return schemas.ProblemListSchema(
                problems=[_problem_schema(each, samples.get(each.key), given.get(each.key)) for each in problems]
            )

        return query

    # -- endpoints

    async def _list(self, caller: Caller, request: request_schemas.ProblemListRequest) -> bytes:
        return await self._api.query_threads.json(self.shown(caller, request))

    async def acknowledge(
        self, caller: Caller, request: request_schemas.AcknowledgeRequest
    ) -> schemas.ActionResultSchema:
        """Acknowledge a problem. Raises NotFoundError for a cause that the caller does not see."""
        return await self.acknowledge_all(caller, [request.cause], request.chatbot, request.days)

    async def acknowledge_all(
        self, caller: Caller, causes: Sequence[str], chatbot: str | None, days: int | None
    ) -> schemas.ActionResultSchema:
        """Acknowledge several problems; without any change if the caller does not see one of them (NotFoundError)."""
        reader, scope = caller.scope, caller.scope.narrowed(chatbot)
        # Read before the changes, and once, because it takes longer than a transaction may.
        known = await self._api.query_threads.ask(partial(self._problems, scope=scope))
        by_key = {each.key: each for each in known}
        chosen = [by_key.get(each) or named_problem((), each) for each in causes]
        who, now, said = caller.who(), self._clock(), []
        for problem in chosen:
            change = partial(acknowledgement.acknowledge, who=who, problem=problem, scope=scope, now=now)
            said.append((await self._api.audit.change(partial(change, days=days, reader=reader))).message)
        return schemas.ActionResultSchema(message="; ".join(said))

    async def reopen(self, caller: Caller, request: request_schemas.CauseRequest) -> schemas.ActionResultSchema:
        """Show a problem as open again. Raises NotFoundError for a cause that the caller does not see."""
        scope = caller.scope.narrowed(request.chatbot)
        named_problem(await self._api.query_threads.ask(partial(self._problems, scope=scope)), request.cause)
        who, now, scopes = caller.who(), self._clock(), {caller.scope, scope}
        done = await self._api.audit.change(
            lambda connection: acknowledgement.reopen(connection, who, request.cause, scopes, now, caller.scope)
        )
        return schemas.ActionResultSchema(message=done.message)

    async def preview(self, caller: Caller, request: request_schemas.RecoveryRequest) -> schemas.ExtentSchema:
        """Count what a recovery would handle."""
        extent = await self._runs.preview(self._recovery(caller, request))
        return schemas.ExtentSchema(count=extent.count, through=extent.through)

    async def recover(self, caller: Caller, request: request_schemas.RecoveryRunRequest) -> schemas.RunSchema:
        """Begin a recovery in the background."""
        return run_schema(await self._runs.begin(caller, self._recovery(caller, request), request.through))

    async def send_report(
        self, caller: Caller, request: request_schemas.ReportNameRequest
    ) -> schemas.ActionResultSchema:
        """Send a report that was noted, and has not reached all its receivers, to these."""
        who, config, now, taken = caller.who(), self._api.config(), self._clock(), list[ReportRow]()

        def take(connection: Connection) -> ActionResult:
            row, result = take_left(connection, who, request.name, config, now)
            taken.append(row)
            return result

        done = await self._api.audit.change(take)
        if failures := await self._reporter.send_left(taken[-1]):
            raise ConflictError("; ".join(f"{label}: {failure}" for label, failure in failures.items()))
        return schemas.ActionResultSchema(message=done.message)

    def _recovery(self, caller: Caller, request: request_schemas.RecoveryRequest) -> Recovery:
        ids = None if request.ids is None else tuple(request.ids)
        chosen = KeptSelection(request.kept, request.chatbot, request.room, ids, caller.scope)
        return Recovery(request.action, chosen, self._api.config(), request.any_age)

    def _problems(self, connection: Connection, scope: Scope) -> list[Problem]:
        config = self._api.config()
        noticed = findings(config) if scope.is_whole else ()
        return find_problems(connection, config, self._clock(), noticed, scope)


def _problem_schema(
    problem: Problem, sample: Sample | None, given: Acknowledgement | None
) -> schemas.ProblemGroupSchema:
    return schemas.ProblemGroupSchema(
        cause=problem.key,
        kind=problem.kind.value,
        title=problem.title,
        why=problem.why,
        fix=problem.fix,
        count=problem.count,
        chatbots=problem.chatbots,
        destination=problem.destination,
        reason=problem.reason,
        first_at=optional_timestamp(problem.first_at),
        last_at=optional_timestamp(problem.last_at),
        sample=schemas.ProblemSampleSchema(event=sample.event, person=sample.person) if sample else None,
        acknowledged=schemas.AcknowledgementSchema(
            user=given.user, at=timestamp(given.at), until=optional_timestamp(given.until)
        )
        if given
        else None,
    )
