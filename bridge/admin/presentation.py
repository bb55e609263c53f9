"""Responses of the API, which pages and commands show too: the queries, and schemas of the store's rows."""

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from bridge.admin import schemas
from bridge.config.model import Config
from bridge.event import decode, timestamp
from bridge.operations import deliveries, events, lanes
from bridge.operations.audit import Action
from bridge.operations.masking import HELD, Audience, masked_payload, personal, reason_text, visible_detail
from bridge.operations.overview import read_overview
from bridge.operations.report import ReportLine, ReportSpan, read_report
from bridge.operations.tally import TallyTotals
from bridge.store import audit_log, figures, quarantine, queries
from bridge.store.audit_log import AuditRow
from bridge.store.filter import EVERYTHING, DeliveryFilter, EventFilter, Scope
from bridge.store.lane_queries import LaneRow
from bridge.store.quarantine import QuarantineRow
from bridge.store.queries import AttemptRow, DeliveryRow, EventRow
from bridge.store.search import find_deliveries
from bridge.store.tally import DAY
from connectors.base import Exchange, Quota

Quotas = Mapping[str, Sequence[Quota]]
"""Quotas of each configured destination, as it last reported them."""


# -- answers


def show_events(
    connection: Connection, filters: Sequence[EventFilter], identity_key: bytes | None = None
) -> schemas.EventPageSchema:
    """Read a page of events for the first of the filters that has any; see `bridge.operations.events.search`."""
    page = events.search(connection, filters, identity_key)
    return schemas.EventPageSchema(events=[event_schema(row) for row in page.rows], next=page.next)


def show_event(
    connection: Connection, beginning: str, configured: Container[str], *, reveal: bool
) -> schemas.EventDetailsSchema:
    """Read one event by the beginning of its id. Raises NotFoundError."""
    event = events.show(connection, beginning)
    return schemas.EventDetailsSchema(
        event=event_schema(event.row),
        payload=payload_value(event.payload, reveal=reveal),
        masked=not reveal,
        deliveries=[delivery_schema(each, configured) for each in event.deliveries],
    )


def show_deliveries(
    connection: Connection, criteria: DeliveryFilter, configured: Container[str]
) -> schemas.DeliveryPageSchema:
    """Read a page of deliveries."""
    page = find_deliveries(connection, criteria)
    rows = [delivery_schema(each, configured) for each in page.rows]
    return schemas.DeliveryPageSchema(deliveries=rows, next=page.next)


def show_delivery(
    connection: Connection, delivery: int, audience: Audience, configured: Container[str]
) -> schemas.DeliveryDetailsSchema:
    """Read all about a delivery. Raises NotFoundError."""
    details = deliveries.show(connection, delivery, exchanges=audience.reveal)
    if audience.reveal:
        return delivery_details_schema(details, audience, configured)
    payload = events.show(connection, details.row.event_id).payload
    return delivery_details_schema(details, audience, configured, personal(payload))


def show_lanes(
    connection: Connection, config: Config, quotas: Quotas, now: float, audience: Audience
) -> schemas.LaneListSchema:
    """Read the lanes that the reader may see."""
    rows = (
        lanes.list_lanes(connection, config, now)
        if audience.scope.is_whole
        else lanes.own_lanes(connection, config, now, audience.scope)
    )
    return schemas.LaneListSchema(lanes=_lane_schemas(rows, quotas, audience))


def show_overview(
    connection: Connection, config: Config, quotas: Quotas, now: float, audience: Audience
) -> schemas.OverviewSchema:
    """Count the leads of the last hours, and the waiting deliveries, that the reader may see."""
    overview = read_overview(connection, config, now, audience.scope)
    return schemas.OverviewSchema(
        since=timestamp(overview.day.since),
        accepted_by_hour=overview.day.accepted,
        accepted_today=overview.accepted_today,
        deliveries={state.value: count for state, count in overview.day.deliveries.items()},
        complete=overview.day.complete,
        pending=overview.pending,
        dead=overview.dead,
        quarantined={room.value: count for room, count in overview.quarantined.items()},
        oldest_pending_at=optional_timestamp(overview.oldest_pending_at),
        causes=_cause_schemas(overview.causes),
        lanes=_lane_schemas(overview.lanes, quotas, audience),
    )


def show_report(
    connection: Connection, config: Config, span: ReportSpan, now: float, scope: Scope = EVERYTHING
) -> schemas.ReportSchema:
    """Read the numbers of some days, for the chatbots of a scope together, and for each."""
    found = read_report(connection, config, span, now, scope)
    return schemas.ReportSchema(
        days=span.days,
        since=timestamp(float(span.first * DAY)),
        until=timestamp(min(now, float(span.end * DAY))),
        whole=_report_line(found.whole),
        chatbots=[_report_line(each) for each in found.chatbots],
        problems=[
            schemas.ReportProblemSchema(title=each.title, why=each.why, count=each.count) for each in found.problems
        ],
    )


def show_quarantine(
    connection: Connection, scope: Scope, before: int | None, limit: int
) -> schemas.QuarantinePageSchema:
    """Read a page of refused requests."""
    rows = quarantine.quarantine_page(connection, scope, before, limit)
    return schemas.QuarantinePageSchema(
        requests=[quarantine_schema(each) for each in rows], next=rows[-1].id if len(rows) == limit else None
    )


def show_audit_log(
    connection: Connection, action: Action | None, before: int | None, limit: int
) -> schemas.AuditPageSchema:
    """Read a page of the audit log."""
    rows = audit_log.list_entries(connection, action, before, limit)
    return schemas.AuditPageSchema(
        entries=[audit_entry_schema(each) for each in rows], next=rows[-1].id if len(rows) == limit else None
    )


# -- schemas


def _report_line(line: ReportLine) -> schemas.ReportLineSchema:
    return schemas.ReportLineSchema(
        chatbot=line.chatbot, numbers=_report_numbers(line.numbers), before=_report_numbers(line.before)
    )


def _report_numbers(totals: TallyTotals) -> schemas.ReportNumbersSchema:
    return schemas.ReportNumbersSchema(
        leads=totals.received,
        delivered=totals.delivered,
        waiting=totals.waiting,
        dead=totals.dead,
        warnings=totals.warned,
        share=totals.share,
        median=totals.quantile(0.5),
        p95=totals.quantile(0.95),
    )


def event_schema(row: EventRow) -> schemas.EventSchema:
    """Return an event without its payload."""
    return schemas.EventSchema(
        id=row.id,
        state=row.state.value,
        chatbot=row.chatbot,
        type=row.type,
        form=row.form.value,
        received_at=timestamp(row.received_at),
        deliveries={state.value: count for state, count in row.deliveries.items()},
    )


def delivery_schema(row: DeliveryRow, configured: Container[str]) -> schemas.DeliverySchema:
    """Return a delivery without any text of its event or destination.

    `configured` has the destinations of the configuration.
    """
    return schemas.DeliverySchema(
        id=row.id,
        state=row.state.value,
        chatbot=row.chatbot,
        destination=row.destination,
        route=row.route,
        event=row.event_id,
        received_at=timestamp(row.received_at),
        due_at=optional_timestamp(row.due_at),
        settled_at=optional_timestamp(row.settled_at),
        tries=row.attempts,
        failures=row.failures,
        reason=row.reason,
        warned=row.warned,
        configured=row.destination in configured,
    )


def attempt_schema(row: AttemptRow, audience: Audience, known: Sequence[str] = ()) -> schemas.AttemptSchema:
    """Return one attempt; `known` texts, which are personal data of its event, are masked."""
    return schemas.AttemptSchema(
        number=row.number,
        started_at=timestamp(row.started_at),
        seconds=round(row.duration, 3),
        outcome=row.outcome,
        reason=row.reason,
        meaning=reason_text(row.reason),
        status=row.status,
        detail=visible_detail(row.detail, row.reason, audience, known),
        exchanges=[exchange_schema(each) for each in row.exchanges] if audience.reveal else [],
    )


def exchange_schema(exchange: Exchange) -> schemas.ExchangeSchema:
    """Return one request of an attempt with its answer."""
    return schemas.ExchangeSchema(
        method=exchange.method,
        url=exchange.url,
        sent=exchange.sent,
        status=exchange.status,
        received=exchange.received,
        fault=exchange.fault,
        shared=exchange.shared,
    )


def delivery_details_schema(
    details: queries.DeliveryDetails, audience: Audience, configured: Container[str], known: Sequence[str] = ()
) -> schemas.DeliveryDetailsSchema:
    """Show all about a delivery; see `attempt_schema`. Only a reveal shows what the destination gave back."""
    reveal = audience.reveal
    return schemas.DeliveryDetailsSchema(
        delivery=delivery_schema(details.row, configured),
        failing_since=optional_timestamp(details.failing_since),
        meaning=reason_text(details.row.reason),
        detail=visible_detail(details.detail, details.row.reason, audience, known),
        warning=details.warning if reveal else None,
        remote_id=details.remote_id if reveal else None,
        remote_url=details.remote_url if reveal else None,
        memo=details.memo if reveal else {},
        masked=not reveal,
        attempts=[attempt_schema(each, audience, known) for each in details.tries],
    )


def lane_schema(row: LaneRow, quotas: Sequence[Quota], audience: Audience) -> schemas.LaneSchema:
    """Return a lane. Only operators of all chatbots see the words of an operator or a destination about a pause.

    These words may name another client, or one of its leads.
    """
    pause = row.pause if row.configured else None
    held = pause is not None and pause.by == "operator"
    whole = audience.scope.is_whole
    return schemas.LaneSchema(
        name=row.name,
        state=row.state,
        configured=row.configured,
        pending=row.pending,
        oldest_pending_at=optional_timestamp(row.oldest_pending_at),
        dead=row.dead,
        owner=row.owner,
        paused_by=pause.by if pause else None,
        reason="by an operator" if held and not (audience.operator and whole) else row.why(),
        meaning=HELD if held else reason_text(pause.reason) if pause else None,
        detail=visible_detail(pause.detail, pause.reason, audience) if pause and whole else None,
        paused_until=optional_timestamp(pause.until) if pause else None,
        paused_since=optional_timestamp(pause.since) if pause else None,
        quotas=[
            schemas.QuotaSchema(name=each.name, limit=each.limit, remaining=each.remaining, until=timestamp(each.until))
            for each in quotas
        ],
    )


def quarantine_schema(row: QuarantineRow) -> schemas.QuarantineSchema:
    """Return a refused request without its body."""
    return schemas.QuarantineSchema(
        id=row.id,
        chatbot=row.chatbot,
        received_at=timestamp(row.received_at),
        bytes=row.size,
        room=row.room.value,
    )


def audit_entry_schema(row: AuditRow) -> schemas.AuditEntrySchema:
    """Return an entry of the audit log."""
    return schemas.AuditEntrySchema(
        id=row.id,
        at=timestamp(row.at),
        action=row.action,
        role=row.role,
        user=row.user,
        means=row.means,
        session=row.session,
        address=row.address,
        subject=row.subject,
        subject_id=row.subject_id,
        count=row.count,
        facts=row.facts,
    )


def payload_value(payload: bytes, *, reveal: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Return the payload's JSON value, or its text if it is not JSON or cannot be written as JSON again."""
    try:
        value = decode(payload)
        json.dumps(value, allow_nan=False)
        return value if reveal else masked_payload(value)
    except (ValueError, RecursionError):
        value = payload.decode("utf-8", "replace")
    return value if reveal else masked_payload(value)


def optional_timestamp(seconds: float | None) -> str | None:
    """Write a time, or return None for None."""
    return None if seconds is None else timestamp(seconds)


def _lane_schemas(rows: Sequence[LaneRow], quotas: Quotas, audience: Audience) -> list[schemas.LaneSchema]:
    return [lane_schema(each, quotas.get(each.name, ()), audience) for each in rows]


def _cause_schemas(causes: Sequence[figures.DeadLetterCause]) -> list[schemas.CauseSchema]:
    return [schemas.CauseSchema(destination=each.destination, reason=each.reason, count=each.count) for each in causes]
