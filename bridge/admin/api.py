"""The API's endpoints that only look, and the list of all endpoints."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from bridge.admin import configured, given, rows, shapes
from bridge.admin.audit_log import AuditLog
from bridge.admin.desk import Desk
from bridge.admin.endpoint import Endpoint, NotFoundError
from bridge.admin.login import Caller, RefusedError, Role
from bridge.admin.masking import personal
from bridge.audit import Action, Subject
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.event import timestamp
from bridge.lanes import Lanes
from bridge.store import counts, questions, search
from bridge.store.lane_rows import LaneRow, all_lanes
from bridge.store.questions import EventRow, Page
from bridge.store.search import DeliveriesWanted, EventsWanted
from connectors.base import Quota

DAY = 86_400


class Api:
    """Looks; any number of calls in parallel.

    `config` gives the configuration in use, `files` where it is on disk.
    """

    def __init__(
        self,
        desk: Desk,
        audit: AuditLog,
        lanes: Lanes,
        config: Callable[[], Config],
        files: Files | None,
        clock: Callable[[], float],
    ) -> None:
        self.desk = desk
        self.audit = audit
        self.config = config
        self._lanes = lanes
        self._files = files
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Give the endpoints that look."""
        return [
            Endpoint("GET", "/api/overview", "How it goes.", given.Nothing, shapes.Overview, self.overview),
            Endpoint("GET", "/api/events", "Events, newest first.", given.EventsGiven, shapes.EventPage, self.events),
            Endpoint(
                "POST",
                "/api/events/search",
                "Events of a person, newest first.",
                given.SearchGiven,
                shapes.EventPage,
                self.search,
            ),
            Endpoint(
                "GET",
                "/api/events/{id}",
                "An event, what it holds, and its deliveries.",
                given.EventGiven,
                shapes.EventStory,
                self.event,
                failures=(404,),
            ),
            Endpoint(
                "GET",
                "/api/deliveries",
                "Deliveries, newest first.",
                given.DeliveriesGiven,
                shapes.DeliveryPage,
                self.deliveries,
            ),
            Endpoint(
                "GET",
                "/api/deliveries/{id}",
                "All about a delivery, with its attempts.",
                given.DeliveryGiven,
                shapes.DeliveryStory,
                self.delivery,
                failures=(404,),
            ),
            Endpoint("GET", "/api/lanes", "How each destination does.", given.Nothing, shapes.LaneList, self.lanes),
            Endpoint(
                "GET",
                "/api/quarantine",
                "Requests whose signature did not hold.",
                given.QuarantineGiven,
                shapes.QuarantinePage,
                self.quarantine,
            ),
            Endpoint("GET", "/api/chatbots", "The chatbots.", given.Nothing, shapes.ChatbotList, self.chatbots),
            Endpoint(
                "GET",
                "/api/destinations",
                "The destinations.",
                given.Nothing,
                shapes.DestinationList,
                self.destinations,
            ),
            Endpoint(
                "GET",
                "/api/configuration",
                "The configuration in use, and what is wrong with the one on disk.",
                given.Nothing,
                shapes.ConfigurationShape,
                self.configuration,
            ),
        ]

    async def overview(self, _: Caller, __: given.Nothing) -> shapes.Overview:
        """Count what the last hours have brought, and what waits."""
        now = self._clock()
        names = list(self.config().destinations)

        def ask(connection: Connection) -> tuple[counts.Day, list[LaneRow], list[counts.Cause]]:
            return (
                counts.day(connection, now),
                all_lanes(connection, names, now),
                counts.causes(connection),
            )

        day, found, causes = await self.desk.ask(ask)
        hours_today = int(now % DAY) // counts.HOUR + 1
        waiting = [each.oldest_pending_at for each in found if each.oldest_pending_at is not None]
        return shapes.Overview(
            since=timestamp(day.since),
            accepted_by_hour=day.accepted,
            accepted_today=sum(day.accepted[-hours_today:]),
            deliveries={state.value: count for state, count in day.deliveries.items()},
            complete=day.complete,
            pending=sum(each.pending for each in found),
            dead=sum(each.dead for each in found),
            oldest_pending_at=rows.moment(min(waiting, default=None)),
            causes=[
                shapes.Cause(destination=each.destination, reason=each.reason, count=each.count) for each in causes
            ],
            lanes=[self._lane(each) for each in found],
        )

    async def events(self, _: Caller, asked: given.EventsGiven) -> shapes.EventPage:
        """Find a page of events."""
        wanted = EventsWanted(
            asked.chatbot,
            asked.state,
            since=_seconds(asked.since),
            until=_seconds(asked.until),
            before=asked.before,
            limit=asked.limit,
        )
        return await self._found(wanted)

    async def search(self, caller: Caller, asked: given.SearchGiven) -> shapes.EventPage:
        """Find the events of a person."""
        if asked.email_part and not caller.may(Role.OPERATOR):
            # Whoever may ask for parts learns the whole address, character by character.
            raise RefusedError(403, "only operators look for a part of an address: write the whole of it")
        wanted = EventsWanted(
            asked.chatbot,
            asked.state,
            email=asked.email,
            email_part=asked.email_part,
            phone=asked.phone,
            since=_seconds(asked.since),
            until=_seconds(asked.until),
            before=asked.before,
            limit=asked.limit,
        )
        by = next((name for name in ("email", "phone", "email_part") if getattr(asked, name)), None)
        if by:
            await self.audit.note(caller, Action.SEARCH, by=by)
        return await self._found(wanted)

    async def event(self, caller: Caller, asked: given.EventGiven) -> shapes.EventStory:
        """Show one event."""
        _may_reveal(caller, reveal=asked.reveal)

        def ask(connection: Connection) -> tuple[EventRow, bytes, Sequence[questions.DeliveryRow]]:
            row = one_event(connection, asked.id)
            return row, questions.payload(connection, row.seq), questions.deliveries_of(connection, row.seq)

        row, payload, deliveries = await self.desk.ask(ask)
        if asked.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.EVENT, row.id)
        return shapes.EventStory(
            event=rows.event_shape(row),
            payload=rows.payload_value(payload, reveal=asked.reveal),
            masked=not asked.reveal,
            deliveries=[rows.delivery_shape(each) for each in deliveries],
        )

    async def deliveries(self, _: Caller, asked: given.DeliveriesGiven) -> shapes.DeliveryPage:
        """Find a page of deliveries."""
        wanted = DeliveriesWanted(
            asked.chatbot,
            asked.destination,
            asked.state,
            asked.reason.value if asked.reason else None,
            _seconds(asked.since),
            _seconds(asked.until),
            asked.before,
            asked.limit,
        )
        found = await self.desk.ask(lambda connection: search.find_deliveries(connection, wanted))
        return shapes.DeliveryPage(deliveries=[rows.delivery_shape(each) for each in found.rows], next=found.next)

    async def delivery(self, caller: Caller, asked: given.DeliveryGiven) -> shapes.DeliveryStory:
        """Show one delivery."""
        _may_reveal(caller, reveal=asked.reveal)

        def ask(connection: Connection) -> tuple[questions.DeliveryStory, bytes]:
            story = questions.delivery_story(connection, asked.id)
            if story is None:
                raise unknown_delivery(asked.id)
            return story, questions.payload(connection, one_event(connection, story.row.event_id).seq)

        story, payload = await self.desk.ask(ask)
        if asked.reveal:
            await self.audit.note(caller, Action.REVEAL, Subject.DELIVERY, str(asked.id))
        return rows.delivery_story(story, None if asked.reveal else personal(payload))

    async def lanes(self, _: Caller, __: given.Nothing) -> shapes.LaneList:
        """Show every lane."""
        names, now = list(self.config().destinations), self._clock()
        found = await self.desk.ask(lambda connection: all_lanes(connection, names, now))
        return shapes.LaneList(lanes=[self._lane(each) for each in found])

    async def quarantine(self, _: Caller, asked: given.QuarantineGiven) -> shapes.QuarantinePage:
        """Show a page of refused requests."""
        page = Page(asked.chatbot, before=asked.before, limit=asked.limit)
        found = await self.desk.ask(lambda connection: questions.quarantine_page(connection, page))
        return shapes.QuarantinePage(
            requests=[rows.quarantine_shape(each) for each in found],
            next=found[-1].id if len(found) == asked.limit else None,
        )

    async def chatbots(self, _: Caller, __: given.Nothing) -> shapes.ChatbotList:
        """Show the chatbots."""
        return shapes.ChatbotList(chatbots=[configured.chatbot_shape(each) for each in self.config().chatbots.values()])

    async def destinations(self, _: Caller, __: given.Nothing) -> shapes.DestinationList:
        """Show the destinations."""
        found = self.config().destinations.values()
        return shapes.DestinationList(destinations=[configured.destination_shape(each) for each in found])

    async def configuration(self, _: Caller, __: given.Nothing) -> shapes.ConfigurationShape:
        """Show the configuration in use, and check the one on disk."""
        problems = await asyncio.to_thread(configured.problems, self._files)
        return configured.configuration_shape(self.config(), problems)

    async def _found(self, wanted: EventsWanted) -> shapes.EventPage:
        found = await self.desk.ask(lambda connection: search.find_events(connection, wanted))
        return shapes.EventPage(events=[rows.event_shape(each) for each in found.rows], next=found.next)

    def _lane(self, row: LaneRow) -> shapes.LaneShape:
        return rows.lane_shape(row, self.config().destinations, self._quotas(row.name))

    def _quotas(self, name: str) -> Sequence[Quota]:
        destination = self._lanes.destinations.get(name)
        return destination.connector.quotas() if destination else ()


def one_event(connection: Connection, beginning: str) -> EventRow:
    """Find the one event whose id begins so. Raises NotFoundError."""
    found = questions.events_like(connection, beginning)
    if not found:
        raise NotFoundError(f"{beginning}: no event has this id")
    if len(found) > 1:
        raise NotFoundError(f"{beginning}: several events have an id that begins so; write more digits of it")
    return found[0]


def unknown_delivery(number: int) -> NotFoundError:
    """Say that there is no such delivery."""
    return NotFoundError(f"{number}: no delivery has this id")


def _may_reveal(caller: Caller, *, reveal: bool) -> None:
    if reveal and not caller.may(Role.OPERATOR):
        raise RefusedError(403, "personal data is shown to operators only: use server.admin_token")


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
