"""The API's endpoints that only look, and the list of all endpoints."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

import orjson

from bridge.admin import configuration, request_schemas, schemas, views
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, RefusedError, Role
from bridge.admin.desk import Desk, Query
from bridge.admin.endpoint import Endpoint
from bridge.admin.searches import Searches
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.operations.audit import Action, Subject
from bridge.operations.masking import Audience
from bridge.store.queries import PageRequest
from bridge.store.search import DeliveryFilter, EventFilter


class Api:
    """Looks; any number of calls in parallel.

    `config` returns the configuration in use, `files` its files.
    """

    def __init__(
        self,
        desk: Desk,
        audit: AuditLog,
        lanes: Lanes,
        *,
        config: Callable[[], Config],
        files: Callable[[], Files | None],
        clock: Callable[[], float],
    ) -> None:
        self.desk = desk
        self.audit = audit
        self.config = config
        self._lanes = lanes
        self.files = files
        self._clock = clock
        self._searches = Searches(audit, clock)

    def endpoints(self) -> list[Endpoint]:
        """Give the endpoints that look."""
        return [
            Endpoint("GET", "/api/overview", "How it goes.", request_schemas.Nothing, schemas.Overview, self._overview),
            Endpoint(
                "GET",
                "/api/events",
                "Events, newest first.",
                request_schemas.EventsGiven,
                schemas.EventPage,
                self._events,
            ),
            Endpoint(
                "POST",
                "/api/events/search",
                "Events of a person, newest first.",
                request_schemas.SearchGiven,
                schemas.EventPage,
                self._search,
            ),
            Endpoint(
                "GET",
                "/api/events/{id}",
                "An event, what it holds, and its deliveries.",
                request_schemas.EventGiven,
                schemas.EventStory,
                self._event,
                failures=(404,),
            ),
            Endpoint(
                "GET",
                "/api/deliveries",
                "Deliveries, newest first.",
                request_schemas.DeliveriesGiven,
                schemas.DeliveryPage,
                self._deliveries,
            ),
            Endpoint(
                "GET",
                "/api/deliveries/{id}",
                "All about a delivery, with its attempts.",
                request_schemas.DeliveryGiven,
                schemas.DeliveryStory,
                self._delivery,
                failures=(404,),
            ),
            Endpoint(
                "GET",
                "/api/lanes",
                "How each destination does.",
                request_schemas.LanesGiven,
                schemas.LaneList,
                self._lane_list,
            ),
            Endpoint(
                "GET",
                "/api/quarantine",
                "Requests whose signature did not hold.",
                request_schemas.QuarantineGiven,
                schemas.QuarantinePage,
                self._quarantine,
            ),
            Endpoint(
                "GET", "/api/chatbots", "The chatbots.", request_schemas.Nothing, schemas.ChatbotList, self._chatbots
            ),
            Endpoint(
                "GET",
                "/api/destinations",
                "The destinations.",
                request_schemas.Nothing,
                schemas.DestinationList,
                self._destinations,
            ),
            Endpoint(
                "GET",
                "/api/configuration",
                "The configuration in use, and what is wrong with the one on disk.",
                request_schemas.Nothing,
                schemas.ConfigurationShape,
                self._configuration,
            ),
            Endpoint(
                "GET",
                "/api/audit",
                "Who has done what, newest first.",
                request_schemas.AuditGiven,
                schemas.AuditPage,
                self._audit_page,
                Role.OPERATOR,
            ),
        ]

    # -- what pages show too

    def overview_shown(self, audience: Audience) -> Query[schemas.Overview]:
        """Count what the last hours have brought, and what waits."""
        return partial(views.overview, quotas=self._quotas(), now=self._clock(), audience=audience)

    def events_shown(self, asked: request_schemas.EventsGiven) -> Query[schemas.EventPage]:
        """Find a page of events."""
        return partial(views.events, wanted=[_events_wanted(asked)])

    async def person_shown(self, caller: Caller, *asked: request_schemas.SearchGiven) -> Query[schemas.EventPage]:
        """Find the events of a person: by the first of what is asked that finds some."""
        await self._searches.begin(caller, asked)
        wanted = [
            replace(_events_wanted(each), email=each.email, email_part=each.email_part, phone=each.phone)
            for each in asked
        ]
        return partial(views.events, wanted=wanted, identity_key=self.config().store.identity_key)

    def deliveries_shown(self, asked: request_schemas.DeliveriesGiven) -> Query[schemas.DeliveryPage]:
        """Find a page of deliveries."""
        wanted = DeliveryFilter(
            asked.chatbot,
            asked.destination,
            asked.state,
            asked.reason.value if asked.reason else None,
            _seconds(asked.since),
            _seconds(asked.until),
            asked.before,
            asked.limit,
        )
        return partial(views.deliveries, wanted=wanted, configured=self.config().destinations)

    def quarantine_shown(self, asked: request_schemas.QuarantineGiven) -> Query[schemas.QuarantinePage]:
        """Find a page of refused requests."""
        return partial(views.quarantine, page=PageRequest(asked.chatbot, before=asked.before, limit=asked.limit))

    def audit_shown(self, asked: request_schemas.AuditGiven) -> Query[schemas.AuditPage]:
        """Find a page of the audit log."""
        return partial(views.audit, action=asked.action, before=asked.before, limit=asked.limit)

    def configuration_shown(self) -> Query[schemas.ConfigurationShape]:
        """Show the configuration in use, and check the one on disk."""
        config, files = self.config(), self.files()
        return lambda _: configuration.configuration_shape(config, configuration.problems(files))

    # -- what only programs are shown

    async def _overview(self, caller: Caller, _: request_schemas.Nothing) -> bytes:
        return await self.desk.json(self.overview_shown(audience(caller)))

    async def _events(self, _: Caller, asked: request_schemas.EventsGiven) -> bytes:
        return await self.desk.json(self.events_shown(asked))

    async def _search(self, caller: Caller, asked: request_schemas.SearchGiven) -> bytes:
        return await self.desk.json(await self.person_shown(caller, asked))

    async def _event(self, caller: Caller, asked: request_schemas.EventGiven) -> bytes:
        _may_reveal(caller, reveal=asked.reveal)
        configured = self.config().destinations
        work = partial(views.event, beginning=asked.id, configured=configured, reveal=asked.reveal)
        made = await self.desk.json(work)
        if asked.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.EVENT, orjson.loads(made)["event"]["id"])
        return made

    async def _deliveries(self, _: Caller, asked: request_schemas.DeliveriesGiven) -> bytes:
        return await self.desk.json(self.deliveries_shown(asked))

    async def _delivery(self, caller: Caller, asked: request_schemas.DeliveryGiven) -> bytes:
        _may_reveal(caller, reveal=asked.reveal)
        shown = audience(caller, reveal=asked.reveal)
        configured = self.config().destinations
        work = partial(views.delivery, number=asked.id, audience=shown, configured=configured)
        made = await self.desk.json(work)
        if asked.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.DELIVERY, str(asked.id))
        return made

    async def _lane_list(self, caller: Caller, asked: request_schemas.LanesGiven) -> bytes:
        _may_reveal(caller, reveal=asked.reveal)
        if asked.reveal:
            await self.audit.note(caller, Action.REVEAL, where="lanes")
        shown = audience(caller, reveal=asked.reveal)
        return await self.desk.json(partial(views.lanes, quotas=self._quotas(), now=self._clock(), audience=shown))

    async def _quarantine(self, _: Caller, asked: request_schemas.QuarantineGiven) -> bytes:
        return await self.desk.json(self.quarantine_shown(asked))

    async def _audit_page(self, _: Caller, asked: request_schemas.AuditGiven) -> bytes:
        return await self.desk.json(self.audit_shown(asked))

    async def _chatbots(self, _: Caller, __: request_schemas.Nothing) -> bytes:
        return await self.desk.json(lambda _: configuration.chatbots(self.config()))

    async def _destinations(self, _: Caller, __: request_schemas.Nothing) -> bytes:
        return await self.desk.json(lambda _: configuration.destinations(self.config()))

    async def _configuration(self, _: Caller, __: request_schemas.Nothing) -> bytes:
        return await self.desk.json(self.configuration_shown())

    def _quotas(self) -> views.Quotas:
        """Give what is left of them, as far as this process knows, for every destination of the configuration."""
        worked = self._lanes.destinations
        return {
            name: list(worked[name].connector.quotas()) if name in worked else [] for name in self.config().destinations
        }


def _events_wanted(asked: request_schemas.EventsGiven) -> EventFilter:
    return EventFilter(
        asked.chatbot,
        asked.state,
        since=_seconds(asked.since),
        until=_seconds(asked.until),
        before=asked.before,
        limit=asked.limit,
    )


def audience(caller: Caller, *, reveal: bool = False) -> Audience:
    """Return the reader's audience, which decides how personal data is masked."""
    return Audience(caller.may(Role.OPERATOR), reveal)


def _may_reveal(caller: Caller, *, reveal: bool) -> None:
    if reveal and not caller.may(Role.OPERATOR):
        raise RefusedError(403, "personal data is shown to operators only: use server.admin_token")


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
