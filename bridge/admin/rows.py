"""From the store's rows to what the API answers and the commands list. Pure."""

import json
from collections.abc import Container, Sequence
from typing import Any

from bridge.admin import schemas
from bridge.event import decode, timestamp
from bridge.operations.masking import HELD, Audience, masked_payload, reason_text, visible_detail
from bridge.store import queries
from bridge.store.audit_log import AuditRow
from bridge.store.lane_queries import LaneRow
from bridge.store.queries import AttemptRow, DeliveryRow, EventRow, QuarantineRow
from connectors.base import Quota


def event_shape(row: EventRow) -> schemas.EventShape:
    """Show an event, without what it holds."""
    return schemas.EventShape(
        id=row.id,
        state=row.state.value,
        chatbot=row.chatbot,
        type=row.type,
        form=row.form.value,
        received_at=timestamp(row.received_at),
        deliveries={state.value: count for state, count in row.deliveries.items()},
    )


def delivery_shape(row: DeliveryRow, configured: Container[str]) -> schemas.DeliveryShape:
    """Show a delivery, without anything that its event or the destination said.

    `configured` has the destinations of the configuration.
    """
    return schemas.DeliveryShape(
        id=row.id,
        state=row.state.value,
        chatbot=row.chatbot,
        destination=row.destination,
        route=row.route,
        event=row.event_id,
        received_at=timestamp(row.received_at),
        due_at=moment(row.due_at),
        settled_at=moment(row.settled_at),
        tries=row.attempts,
        failures=row.failures,
        reason=row.reason,
        configured=row.destination in configured,
    )


def attempt_shape(row: AttemptRow, audience: Audience, known: Sequence[str] = ()) -> schemas.AttemptShape:
    """Show one try; `known` is what an event says of a person."""
    return schemas.AttemptShape(
        number=row.number,
        started_at=timestamp(row.started_at),
        seconds=round(row.duration, 3),
        outcome=row.outcome,
        reason=row.reason,
        meaning=reason_text(row.reason),
        status=row.status,
        detail=visible_detail(row.detail, row.reason, audience, known),
    )


def delivery_story(
    story: queries.DeliveryDetails, audience: Audience, configured: Container[str], known: Sequence[str] = ()
) -> schemas.DeliveryStory:
    """Show all about a delivery; see `attempt_shape`. Only a reveal shows what the destination gave back."""
    reveal = audience.reveal
    return schemas.DeliveryStory(
        delivery=delivery_shape(story.row, configured),
        failing_since=moment(story.failing_since),
        meaning=reason_text(story.row.reason),
        detail=visible_detail(story.detail, story.row.reason, audience, known),
        warned=bool(story.warning),
        warning=story.warning if reveal else None,
        remote_id=story.remote_id if reveal else None,
        remote_url=story.remote_url if reveal else None,
        memo=story.memo if reveal else {},
        masked=not reveal,
        attempts=[attempt_shape(each, audience, known) for each in story.tries],
    )


def lane_shape(row: LaneRow, quotas: Sequence[Quota], audience: Audience) -> schemas.LaneShape:
    """Show a lane; operators read what one of them has given as the reason of a pause."""
    pause = row.pause if row.configured else None
    held = pause is not None and pause.by == "operator"
    return schemas.LaneShape(
        name=row.name,
        state=row.state,
        configured=row.configured,
        pending=row.pending,
        oldest_pending_at=moment(row.oldest_pending_at),
        dead=row.dead,
        owner=row.owner,
        paused_by=pause.by if pause else None,
        reason="by an operator" if held and not audience.operator else row.why(),
        meaning=HELD if held else reason_text(pause.reason) if pause else None,
        detail=visible_detail(pause.detail, pause.reason, audience) if pause else None,
        paused_until=moment(pause.until) if pause else None,
        quotas=[
            schemas.QuotaShape(name=each.name, limit=each.limit, remaining=each.remaining, until=timestamp(each.until))
            for each in quotas
        ],
    )


def quarantine_shape(row: QuarantineRow) -> schemas.QuarantineShape:
    """Show a refused request, without its body."""
    return schemas.QuarantineShape(
        id=row.id,
        chatbot=row.chatbot,
        received_at=timestamp(row.received_at),
        bytes=row.size,
        room=row.room.value,
    )


def audit_shape(row: AuditRow) -> schemas.AuditShape:
    """Show an entry of the audit log."""
    return schemas.AuditShape(
        id=row.id,
        at=timestamp(row.at),
        action=row.action,
        role=row.role,
        means=row.means,
        session=row.session,
        address=row.address,
        subject=row.subject,
        subject_id=row.subject_id,
        count=row.count,
        facts=row.facts,
    )


def payload_value(payload: bytes, *, reveal: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Give the payload's JSON value, or its text where it is no JSON that can be written again."""
    try:
        value = decode(payload)
        json.dumps(value, allow_nan=False)
        return value if reveal else masked_payload(value)
    except (ValueError, RecursionError):
        value = payload.decode("utf-8", "replace")
    return value if reveal else masked_payload(value)


def moment(seconds: float | None) -> str | None:
    """Write a time that may not be there."""
    return None if seconds is None else timestamp(seconds)
