"""From the store's rows to what the API answers and the commands list. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.admin import shapes
from bridge.admin.masking import masked_payload, masked_words
from bridge.event import decode, timestamp
from bridge.store import questions
from bridge.store.auditing import AuditRow
from bridge.store.lane_rows import LaneRow, ShardRow
from bridge.store.questions import AttemptRow, DeliveryRow, EventRow, QuarantineRow
from connectors.base import Quota


def event_shape(row: EventRow) -> shapes.EventShape:
    """Show an event, without what it holds."""
    return shapes.EventShape(
        id=row.id,
        state=row.state.value,
        chatbot=row.chatbot,
        type=row.type,
        form=row.form.value,
        received_at=timestamp(row.received_at),
        deliveries={state.value: count for state, count in row.deliveries.items()},
    )


def delivery_shape(row: DeliveryRow) -> shapes.DeliveryShape:
    """Show a delivery, without anything that its event or the destination said."""
    return shapes.DeliveryShape(
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
    )


def attempt_shape(row: AttemptRow, known: Sequence[str] | None) -> shapes.AttemptShape:
    """Show one try; `known` is what is masked in the destination's words, None where nothing is."""
    return shapes.AttemptShape(
        number=row.number,
        started_at=timestamp(row.started_at),
        seconds=round(row.duration, 3),
        outcome=row.outcome,
        reason=row.reason,
        status=row.status,
        detail=row.detail if known is None else masked_words(row.detail, known),
    )


def delivery_story(story: questions.DeliveryStory, known: Sequence[str] | None) -> shapes.DeliveryStory:
    """Show all about a delivery; see `attempt_shape`."""

    def words(text: str | None) -> str | None:
        return text if known is None else masked_words(text, known)

    return shapes.DeliveryStory(
        delivery=delivery_shape(story.row),
        failing_since=moment(story.failing_since),
        detail=words(story.detail),
        warning=words(story.warning),
        remote_id=story.remote_id,
        remote_url=story.remote_url,
        memo={name: words(value) or "" for name, value in story.memo.items()},
        masked=known is not None,
        attempts=[attempt_shape(each, known) for each in story.tries],
    )


def lane_shape(row: LaneRow, configured: Mapping[str, object], quotas: Sequence[Quota]) -> shapes.LaneShape:
    """Show a lane."""
    pause = row.pause
    known = row.name in configured
    return shapes.LaneShape(
        name=row.name,
        state=row.state,
        configured=known,
        pending=row.pending,
        oldest_pending_at=moment(row.oldest_pending_at),
        dead=row.dead,
        owner=row.owner,
        paused_by=pause.by if pause else None,
        reason=row.why(configured=known),
        detail=pause.detail if pause else None,
        paused_until=moment(pause.until) if pause else None,
        quotas=[
            shapes.QuotaShape(name=each.name, limit=each.limit, remaining=each.remaining, until=timestamp(each.until))
            for each in quotas
        ],
        shards=[_shard(each) for each in row.shards],
    )


def _shard(row: ShardRow) -> shapes.ShardShape:
    return shapes.ShardShape(
        number=row.number,
        state=row.state,
        owner=row.owner,
        reason=row.pause.reason if row.pause else None,
        detail=row.pause.detail if row.pause else None,
        paused_until=moment(row.pause.until) if row.pause else None,
    )


def quarantine_shape(row: QuarantineRow) -> shapes.QuarantineShape:
    """Show a refused request, without its body."""
    return shapes.QuarantineShape(
        id=row.id, chatbot=row.chatbot, received_at=timestamp(row.received_at), bytes=row.size
    )


def audit_shape(row: AuditRow) -> shapes.AuditShape:
    """Show an entry of the audit log."""
    return shapes.AuditShape(
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
    except ValueError:
        value = payload.decode("utf-8", "replace")
    return value if reveal else masked_payload(value)


def moment(seconds: float | None) -> str | None:
    """Write a time that may not be there."""
    return None if seconds is None else timestamp(seconds)
