"""Selections of what is kept without a delivery: requests in quarantine, and unrecognised events. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Select, false, func, select

from bridge.event import EventState, Room
from bridge.store.commands import SelectionExtent
from bridge.store.queries import in_state
from bridge.store.schema import events, quarantine


class Kept(StrEnum):
    """Things that are kept without a delivery."""

    REQUESTS = "requests"
    """Requests in quarantine."""
    EVENTS = "events"
    """Unrecognised events."""


@dataclass(frozen=True, slots=True)
class KeptSelection:
    """Filter of requests in quarantine, or of unrecognised events. A field that is None matches all."""

    kept: Kept
    chatbot: str | None = None
    room: Room | None = None
    """For requests only."""
    ids: tuple[int, ...] | None = None
    """For requests only: the ids of those that were selected."""
    chatbots: frozenset[str] | None = None
    """The only chatbots whose things the acting person may change; None for all."""

    def conditions(self) -> dict[str, str]:
        """Return the conditions that are set, by name."""
        found = {
            "kept": self.kept.value,
            "chatbot": self.chatbot,
            "room": None if self.room is None else self.room.value,
            "selected": None if self.ids is None else str(len(self.ids)),
        }
        return {name: value for name, value in found.items() if value is not None}


def kept_extent(connection: Connection, chosen: KeptSelection, through: int | None = None) -> SelectionExtent:
    """Count the selected things; with `through`, up to this id."""
    rows = _select(chosen).subquery("selected")
    query = select(func.count(), func.max(rows.c.id))
    if through is not None:
        query = query.where(rows.c.id <= through)
    count, last = connection.execute(query).one()
    return SelectionExtent(count, last or 0)


def next_kept(connection: Connection, chosen: KeptSelection, after: int, through: int, limit: int) -> Sequence[int]:
    """Return the next selected ids above `after`, in order of receipt. An empty result means that none are left."""
    rows = _select(chosen).subquery("selected")
    query = select(rows.c.id).where(rows.c.id > after, rows.c.id <= through).order_by(rows.c.id).limit(limit)
    return connection.execute(query).scalars().all()


def _select(chosen: KeptSelection) -> Select[tuple[int]]:
    if chosen.kept is Kept.REQUESTS:
        query, chatbot = select(quarantine.c.id), quarantine.c.chatbot
        if chosen.room is not None:
            query = query.where(quarantine.c.room == chosen.room.value)
        if chosen.ids is not None:
            query = query.where(quarantine.c.id.in_(chosen.ids))
    else:
        query = select(events.c.seq.label("id")).where(in_state(events.c.state, EventState.UNRECOGNISED.value))
        if chosen.room is not None or chosen.ids is not None:
            # An event has neither a room nor such an id, so none is meant.
            query = query.where(false())
        chatbot = events.c.chatbot
    if chosen.chatbot is not None:
        query = query.where(chatbot == chosen.chatbot)
    if chosen.chatbots is not None:
        query = query.where(chatbot.in_(chosen.chatbots))
    return query
