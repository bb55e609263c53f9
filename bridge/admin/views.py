"""Queries of the API and the pages, with the shapes of their answers."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from sqlalchemy import Connection

from bridge.admin import rows, schemas
from bridge.event import timestamp
from bridge.operations import deliveries as delivery_operations
from bridge.operations import events as event_operations
from bridge.operations.audit import Action
from bridge.operations.masking import Audience, personal
from bridge.store import audit_log, queries, search, statistics
from bridge.store.lane_queries import LaneRow, all_lanes
from bridge.store.quarantine import room_counts
from bridge.store.queries import PageRequest
from bridge.store.search import DeliveryFilter, EventFilter
from connectors.base import Quota

DAY = 86_400

Quotas = Mapping[str, Sequence[Quota]]
"""What each destination has last said is left."""


def events(
    connection: Connection, wanted: Sequence[EventFilter], identity_key: bytes | None = None
) -> schemas.EventPage:
    """Show a page of events: the first of those wanted that has any, or may have some further on.

    `identity_key` is the configuration's own.
    """
    found = event_operations.search(connection, wanted, identity_key)
    return schemas.EventPage(events=[rows.event_shape(row) for row in found.rows], next=found.next)


def event(connection: Connection, beginning: str, configured: Container[str], *, reveal: bool) -> schemas.EventStory:
    """Show one event. Raises NotFoundError."""
    story = event_operations.show(connection, beginning)
    return schemas.EventStory(
        event=rows.event_shape(story.row),
        payload=rows.payload_value(story.payload, reveal=reveal),
        masked=not reveal,
        deliveries=[rows.delivery_shape(each, configured) for each in story.deliveries],
    )


def deliveries(connection: Connection, wanted: DeliveryFilter, configured: Container[str]) -> schemas.DeliveryPage:
    """Show a page of deliveries."""
    found = search.find_deliveries(connection, wanted)
    shapes = [rows.delivery_shape(each, configured) for each in found.rows]
    return schemas.DeliveryPage(deliveries=shapes, next=found.next)


def delivery(
    connection: Connection, number: int, audience: Audience, configured: Container[str]
) -> schemas.DeliveryStory:
    """Show all about a delivery. Raises NotFoundError."""
    story = delivery_operations.show(connection, number)
    if audience.reveal:
        return rows.delivery_story(story, audience, configured)
    payload = queries.payload(connection, event_operations.find_event(connection, story.row.event_id).seq)
    return rows.delivery_story(story, audience, configured, personal(payload))


def lanes(connection: Connection, quotas: Quotas, now: float, audience: Audience) -> schemas.LaneList:
    """Show every lane; `quotas` has the configured destinations."""
    return schemas.LaneList(lanes=_lanes(all_lanes(connection, list(quotas), now), quotas, audience))


def overview(connection: Connection, quotas: Quotas, now: float, audience: Audience) -> schemas.Overview:
    """Count what the last hours have brought, and what waits."""
    day = statistics.day(connection, now)
    found = all_lanes(connection, list(quotas), now)
    hours_today = int(now % DAY) // statistics.HOUR + 1
    waiting = [each.oldest_pending_at for each in found if each.oldest_pending_at is not None]
    return schemas.Overview(
        since=timestamp(day.since),
        accepted_by_hour=day.accepted,
        accepted_today=sum(day.accepted[-hours_today:]),
        deliveries={state.value: count for state, count in day.deliveries.items()},
        complete=day.complete,
        pending=sum(each.pending for each in found),
        dead=sum(each.dead for each in found),
        quarantined=_by_room(connection),
        oldest_pending_at=rows.moment(min(waiting, default=None)),
        causes=causes(connection),
        lanes=_lanes(found, quotas, audience),
    )


def _lanes(found: Sequence[LaneRow], quotas: Quotas, audience: Audience) -> list[schemas.LaneShape]:
    return [rows.lane_shape(each, quotas.get(each.name, ()), audience) for each in found]


def _by_room(connection: Connection) -> dict[str, int]:
    counted = Counter[str]()
    for each in room_counts(connection):
        counted[each.room.value] += each.count
    return dict(counted)


def causes(connection: Connection) -> Sequence[schemas.Cause]:
    """Show the dead letters by cause."""
    return [
        schemas.Cause(destination=each.destination, reason=each.reason, count=each.count)
        for each in statistics.dead_letter_causes(connection)
    ]


def quarantine(connection: Connection, page: PageRequest) -> schemas.QuarantinePage:
    """Show a page of refused requests."""
    found = queries.quarantine_page(connection, page)
    return schemas.QuarantinePage(
        requests=[rows.quarantine_shape(each) for each in found],
        next=found[-1].id if len(found) == page.limit else None,
    )


def audit(connection: Connection, action: Action | None, before: int | None, limit: int) -> schemas.AuditPage:
    """Show a page of the audit log."""
    found = audit_log.list_entries(connection, action, before, limit)
    return schemas.AuditPage(
        entries=[rows.audit_shape(each) for each in found],
        next=found[-1].id if len(found) == limit else None,
    )
