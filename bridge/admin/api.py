"""Endpoints of the API that read."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

import orjson

from bridge.admin import configuration, presentation, request_schemas, schemas
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.endpoint import Endpoint
from bridge.admin.query_threads import Query, QueryThreads
from bridge.admin.searches import Searches
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.errors import NotFoundError
from bridge.operations import deliveries, events, recovery
from bridge.operations.audit import Action, Subject
from bridge.operations.lanes import chatbots_by_destination
from bridge.operations.masking import Audience
from bridge.operations.report import span_before, span_until_today
from bridge.store import quarantine
from bridge.store.filter import DeliveryFilter, EventFilter, Scope


class ReadEndpoints:
    """Endpoints that read; any number of calls in parallel.

    `config` returns the configuration in use, `files` its files.
    """

    def __init__(
        self,
        query_threads: QueryThreads,
        audit: AuditLog,
        lanes: Lanes,
        *,
        config: Callable[[], Config],
        files: Callable[[], Files | None],
        clock: Callable[[], float],
    ) -> None:
        self.query_threads = query_threads
        self.audit = audit
        self.config = config
        self._lanes = lanes
        self.files = files
        self._clock = clock
        self._searches = Searches(audit, clock)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        return [
            Endpoint(
                "GET",
                "/api/overview",
                "Counts of the last hours, of waiting deliveries and of dead letters.",
                request_schemas.EmptyRequest,
                schemas.OverviewSchema,
                self._overview,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/report",
                "Leads and deliveries of the last days, for all and by chatbot.",
                request_schemas.ReportRequest,
                schemas.ReportSchema,
                self._report,
                failures=(404,),
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/events",
                "Events, newest first.",
                request_schemas.EventListRequest,
                schemas.EventPageSchema,
                self._events,
                scoped=True,
            ),
            Endpoint(
                "POST",
                "/api/events/search",
                "Events of a person, newest first.",
                request_schemas.SearchRequest,
                schemas.EventPageSchema,
                self._search,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/events/{id}",
                "An event with its payload and its deliveries.",
                request_schemas.EventRequest,
                schemas.EventDetailsSchema,
                self._event,
                failures=(404,),
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/deliveries",
                "Deliveries, newest first.",
                request_schemas.DeliveryListRequest,
                schemas.DeliveryPageSchema,
                self._deliveries,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/deliveries/{id}",
                "A delivery with its attempts.",
                request_schemas.DeliveryRequest,
                schemas.DeliveryDetailsSchema,
                self._delivery,
                failures=(404,),
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/lanes",
                "State of each destination.",
                request_schemas.LaneListRequest,
                schemas.LaneListSchema,
                self._lane_list,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/quarantine",
                "Requests with a bad signature.",
                request_schemas.QuarantineListRequest,
                schemas.QuarantinePageSchema,
                self._quarantine,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/chatbots",
                "The chatbots.",
                request_schemas.EmptyRequest,
                schemas.ChatbotListSchema,
                self._chatbots,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/destinations",
                "The destinations.",
                request_schemas.EmptyRequest,
                schemas.DestinationListSchema,
                self._destinations,
                scoped=True,
            ),
            Endpoint(
                "GET",
                "/api/configuration",
                "The configuration in use, and the problems of its files.",
                request_schemas.EmptyRequest,
                schemas.ConfigurationSchema,
                self._configuration,
            ),
            Endpoint(
                "GET",
                "/api/audit",
                "Entries of the audit log, newest first.",
                request_schemas.AuditListRequest,
                schemas.AuditPageSchema,
                self._audit_page,
                Role.OPERATOR,
            ),
        ]

    # -- queries that pages use too

    def overview_shown(self, audience: Audience) -> Query[schemas.OverviewSchema]:
        """Return the query of the overview."""
        return partial(
            presentation.show_overview,
            config=self.config(),
            quotas=self._quotas(audience),
            now=self._clock(),
            audience=audience,
        )

    def report_shown(self, caller: Caller, request: request_schemas.ReportRequest) -> Query[schemas.ReportSchema]:
        """Return the query of a report. Raises NotFoundError."""
        config, now, scope = self.config(), self._clock(), caller.scope
        if request.chatbot is not None:
            if request.chatbot not in config.chatbots or not caller.sees(request.chatbot):
                raise NotFoundError(f"There is no chatbot {request.chatbot!r}.")
            scope = Scope(frozenset({request.chatbot}))
        span = span_until_today if request.until == "today" else span_before
        return partial(presentation.show_report, config=config, span=span(now, request.days), now=now, scope=scope)

    def events_shown(self, caller: Caller, request: request_schemas.EventListRequest) -> Query[schemas.EventPageSchema]:
        """Return the query of a page of events."""
        return partial(presentation.show_events, filters=[_events_wanted(caller, request)])

    async def person_shown(
        self, caller: Caller, *request: request_schemas.SearchRequest
    ) -> Query[schemas.EventPageSchema]:
        """Return the query of a person's events, which uses the first of the requests that finds any."""
        wanted = await self.person_criteria(caller, *request)
        return partial(presentation.show_events, filters=wanted, identity_key=self.config().store.identity_key)

    async def person_criteria(self, caller: Caller, *request: request_schemas.SearchRequest) -> list[EventFilter]:
        """Admit and log a search, and return its filters. Raises RequestRefusedError."""
        await self._searches.begin(caller, request)
        return [
            replace(
                _events_wanted(caller, each),
                email=each.email,
                email_part=each.email_part,
                person_part=each.person_part,
                phone=each.phone,
            )
            for each in request
        ]

    def deliveries_shown(
        self, caller: Caller, request: request_schemas.DeliveryListRequest
    ) -> Query[schemas.DeliveryPageSchema]:
        """Return the query of a page of deliveries."""
        wanted = DeliveryFilter(
            request.chatbot,
            request.destination,
            request.state,
            request.reason.value if request.reason else None,
            seconds(request.since),
            seconds(request.until),
            request.before,
            request.limit,
            request.warning,
            caller.scope,
        )
        return partial(presentation.show_deliveries, criteria=wanted, configured=self.config().destinations)

    def lanes_shown(self, audience: Audience) -> Query[schemas.LaneListSchema]:
        """Return the query of the lanes that the reader may see."""
        return partial(
            presentation.show_lanes,
            config=self.config(),
            quotas=self._quotas(audience),
            now=self._clock(),
            audience=audience,
        )

    def quarantine_shown(
        self, caller: Caller, request: request_schemas.QuarantineListRequest
    ) -> Query[schemas.QuarantinePageSchema]:
        """Return the query of a page of refused requests."""
        scope = caller.scope.narrowed(request.chatbot)
        return partial(presentation.show_quarantine, scope=scope, before=request.before, limit=request.limit)

    def audit_shown(self, request: request_schemas.AuditListRequest) -> Query[schemas.AuditPageSchema]:
        """Return the query of a page of the audit log."""
        return partial(presentation.show_audit_log, action=request.action, before=request.before, limit=request.limit)

    def configuration_shown(self) -> Query[schemas.ConfigurationSchema]:
        """Return the query of the configuration in use."""
        config = self.config()
        return lambda _: configuration.configuration_schema(config)

    # -- endpoints

    async def _overview(self, caller: Caller, _: request_schemas.EmptyRequest) -> bytes:
        return await self.query_threads.json(self.overview_shown(audience(caller)))

    async def _report(self, caller: Caller, request: request_schemas.ReportRequest) -> bytes:
        return await self.query_threads.json(self.report_shown(caller, request))

    async def _events(self, caller: Caller, request: request_schemas.EventListRequest) -> bytes:
        return await self.query_threads.json(self.events_shown(caller, request))

    async def _search(self, caller: Caller, request: request_schemas.SearchRequest) -> bytes:
        return await self.query_threads.json(await self.person_shown(caller, request))

    async def _event(self, caller: Caller, request: request_schemas.EventRequest) -> bytes:
        may_reveal(caller, reveal=request.reveal)
        await permit_event(self.query_threads, caller, request.id)
        configured = self.config().destinations
        query = partial(presentation.show_event, beginning=request.id, configured=configured, reveal=request.reveal)
        made = await self.query_threads.json(query)
        if request.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.EVENT, orjson.loads(made)["event"]["id"])
        return made

    async def _deliveries(self, caller: Caller, request: request_schemas.DeliveryListRequest) -> bytes:
        return await self.query_threads.json(self.deliveries_shown(caller, request))

    async def _delivery(self, caller: Caller, request: request_schemas.DeliveryRequest) -> bytes:
        may_reveal(caller, reveal=request.reveal)
        await permit_delivery(self.query_threads, caller, request.id)
        shown = audience(caller, reveal=request.reveal)
        configured = self.config().destinations
        query = partial(presentation.show_delivery, delivery=request.id, audience=shown, configured=configured)
        made = await self.query_threads.json(query)
        if request.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.DELIVERY, str(request.id))
        return made

    async def _lane_list(self, caller: Caller, request: request_schemas.LaneListRequest) -> bytes:
        may_reveal(caller, reveal=request.reveal)
        if request.reveal and not caller.scope.is_whole:
            raise RequestRefusedError(403, "only users of all chatbots see what a shared destination said")
        if request.reveal:
            await self.audit.note(caller, Action.REVEAL, where="lanes")
        return await self.query_threads.json(self.lanes_shown(audience(caller, reveal=request.reveal)))

    async def _quarantine(self, caller: Caller, request: request_schemas.QuarantineListRequest) -> bytes:
        return await self.query_threads.json(self.quarantine_shown(caller, request))

    async def _audit_page(self, _: Caller, request: request_schemas.AuditListRequest) -> bytes:
        return await self.query_threads.json(self.audit_shown(request))

    async def _chatbots(self, caller: Caller, _: request_schemas.EmptyRequest) -> bytes:
        return await self.query_threads.json(lambda _: configuration.chatbot_list(self.config(), caller.scope))

    async def _destinations(self, caller: Caller, _: request_schemas.EmptyRequest) -> bytes:
        return await self.query_threads.json(lambda _: configuration.destination_list(self.config(), caller.scope))

    async def _configuration(self, _: Caller, __: request_schemas.EmptyRequest) -> bytes:
        return await self.query_threads.json(self.configuration_shown())

    def _quotas(self, audience: Audience) -> presentation.Quotas:
        """Return the quotas of each configured destination, as far as this process knows them.

        The quota of an account that other clients use too would tell a client how much they use it.
        """
        config, worked = self.config(), self._lanes.destinations
        chatbots = chatbots_by_destination(config)
        return {
            name: list(worked[name].connector.quotas())
            if name in worked and all(map(audience.sees, chatbots.get(name, ())))
            else []
            for name in config.destinations
        }


def _events_wanted(caller: Caller, request: request_schemas.EventListRequest) -> EventFilter:
    return EventFilter(
        request.chatbot,
        request.state,
        since=seconds(request.since),
        until=seconds(request.until),
        before=request.before,
        limit=request.limit,
        scope=caller.scope,
    )


async def permit_event(query_threads: QueryThreads, caller: Caller, beginning: str) -> None:
    """Raise NotFoundError for an event of a chatbot that the caller does not see, as if there were none."""
    if not caller.scope.is_whole:
        # The same words for several events, of which some are another client's.
        unseen = NotFoundError(f"{beginning}: none of your events has this id; write all of its digits", "events")
        try:
            event = await query_threads.ask(partial(events.find_event, beginning=beginning))
        except NotFoundError as error:
            raise unseen from error
        if not caller.sees(event.chatbot):
            raise unseen


async def permit_request(query_threads: QueryThreads, caller: Caller, request: int) -> None:
    """Raise NotFoundError for a refused request that names a chatbot that the caller does not see."""
    if not caller.scope.is_whole:
        found = await query_threads.ask(partial(quarantine.quarantined, request=request))
        if found is None or not caller.sees(found.chatbot):
            raise recovery.unknown(request)


async def permit_delivery(query_threads: QueryThreads, caller: Caller, delivery: int) -> None:
    """Raise NotFoundError for a delivery of a chatbot that the caller does not see, as if there were none."""
    if not caller.scope.is_whole:
        details = await query_threads.ask(partial(deliveries.show, delivery=delivery))
        if not caller.sees(details.row.chatbot):
            raise NotFoundError(f"{delivery}: no delivery has this id", "deliveries")


def audience(caller: Caller, *, reveal: bool = False) -> Audience:
    """Return the reader's audience, which decides how personal data is masked."""
    return Audience(caller.may(Role.OPERATOR), reveal, caller.scope)


def may_reveal(caller: Caller, *, reveal: bool) -> None:
    """Refuse a reveal to a viewer. Raises RequestRefusedError."""
    if reveal and not caller.may(Role.OPERATOR):
        raise RequestRefusedError(403, "only operators see personal data: use server.admin_token")


def seconds(moment: datetime | None) -> float | None:
    """Return a moment as the store has it."""
    return None if moment is None else moment.timestamp()
