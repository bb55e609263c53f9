"""How the rows of the store are shown: JSON values by their names, times in ISO 8601 (UTC)."""

from typing import Any

from bridge.event import timestamp
from bridge.store.questions import AttemptRow, DeliveryRow, EventRow


def event_row(row: EventRow) -> dict[str, Any]:
    """Give an event, without what it holds."""
    return {
        "id": row.id,
        "state": row.state.value,
        "chatbot": row.chatbot,
        "type": row.type,
        "form": row.form.value,
        "received_at": timestamp(row.received_at),
        "deliveries": {state.value: count for state, count in row.deliveries.items()},
    }


def delivery_row(row: DeliveryRow) -> dict[str, Any]:
    """Give a delivery, without anything that its event or the destination said."""
    return {
        "id": row.id,
        "state": row.state.value,
        "chatbot": row.chatbot,
        "destination": row.destination,
        "route": row.route,
        "event": row.event_id,
        "received_at": timestamp(row.received_at),
        "due_at": moment(row.due_at),
        "settled_at": moment(row.settled_at),
        "tries": row.attempts,
        "failures": row.failures,
        "reason": row.reason,
    }


def attempt_row(row: AttemptRow) -> dict[str, Any]:
    """Give one try of a delivery."""
    return {
        "number": row.number,
        "started_at": timestamp(row.started_at),
        "seconds": round(row.duration, 3),
        "outcome": row.outcome,
        "reason": row.reason,
        "status": row.status,
        "detail": row.detail,
    }


def moment(seconds: float | None) -> str | None:
    """Write a time that may not be there."""
    return None if seconds is None else timestamp(seconds)
