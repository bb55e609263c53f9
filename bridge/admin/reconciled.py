"""What the API answers to whether every lead has arrived: its models, and what they are made of."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from sqlalchemy import Connection

from bridge.admin.inquiries import Inquiry
from bridge.admin.shapes import Shape
from bridge.event import timestamp
from bridge.reconciliation import Counted, Line, lines, missing
from bridge.store import reconciling
from bridge.store.search import seq_at

NEWEST = 20_000
"""Events that the page and the API count, at most: they are there within a tenth of a second."""


class LineShape(Shape):
    """What became of a chatbot's events at one destination."""

    chatbot: str | None = Field(description="None, and no destination, for all that was not recognised.")
    destination: str | None = Field(description="None for events that no route took.")
    received: int
    delivered: int
    waiting: int
    dead: int
    discarded: int
    quarantined: int = Field(description="Refused requests that may be leads; not among those received.")
    held: int | None = Field(
        description="Of those delivered, the records that the destination still has; null unasked."
    )
    gone: int | None = Field(description="Those that it has no more.")
    untold: int | None = Field(description="Those of which it has said nothing.")


class Reconciled(Shape):
    """What was received, and what became of it."""

    since: str = Field(description="The time from which on events were counted.")
    complete: bool = Field(description="False where there is so much that only the newest part was counted.")
    lines: Sequence[LineShape]
    dead: int = Field(description="Missing: their deliveries are dead.")
    unrecognised: int = Field(description="Missing: nobody knows what they are.")
    quarantined: int = Field(description="Missing, perhaps: refused requests that may be leads.")


class GoneShape(Shape):
    """A delivery whose record the destination has no more."""

    destination: str
    delivery: int
    event: str
    chatbot: str


class InquiryShape(Shape):
    """Destinations that are asked whether they still hold what they were given."""

    id: int
    span: str
    since: str
    state: Literal["running", "done", "cancelled", "failed"]
    asked: int
    total: int = Field(description="Records that are to be asked for; 0 until they are counted.")
    error: str | None
    lines: Sequence[LineShape]
    gone: Sequence[GoneShape] = Field(description="The newest hundred of each destination; `lines` counts all.")


class InquiryList(Shape):
    """The latest of them in this process, newest first."""

    inquiries: Sequence[InquiryShape]


def received(connection: Connection, since: float) -> Reconciled:
    """Count what was received; of very much only the newest `NEWEST` events: an inquiry counts all."""
    first, last = seq_at(connection, since), reconciling.last_event(connection)
    low = max(first, last + 1 - NEWEST)
    counted = reconciling.count(connection, low, last) + reconciling.quarantined(connection, since)
    return reconciled(counted, since, complete=low == first)


def line_shape(line: Line) -> LineShape:
    """Show a line."""
    return LineShape(
        chatbot=line.chatbot,
        destination=line.destination,
        received=line.received,
        delivered=line.delivered,
        waiting=line.waiting,
        dead=line.dead,
        discarded=line.discarded,
        quarantined=line.quarantined,
        held=line.held,
        gone=line.gone,
        untold=line.untold,
    )


def reconciled(counted: Counted, since: float, *, complete: bool) -> Reconciled:
    """Show what was counted."""
    found = missing(counted)
    return Reconciled(
        since=timestamp(since),
        complete=complete,
        lines=[line_shape(each) for each in lines(counted)],
        dead=found.dead,
        unrecognised=found.unrecognised,
        quarantined=found.quarantined,
    )


def inquiry_shape(inquiry: Inquiry) -> InquiryShape:
    """Show an inquiry as far as it is."""
    return InquiryShape.model_validate(
        {
            "id": inquiry.id,
            "span": inquiry.span,
            "since": timestamp(inquiry.since),
            "state": inquiry.state,
            "asked": inquiry.asked,
            "total": inquiry.total,
            "error": inquiry.error,
            "lines": [line_shape(each) for each in inquiry.lines()],
            "gone": [
                GoneShape(destination=name, delivery=each.id, event=each.event_id, chatbot=each.chatbot)
                for name, answered in inquiry.answered.items()
                for each in answered.named
            ],
        }
    )
