"""What has happened since somebody looked last: for `leadbridge tail`. Reads only, bounded.

A change of an old delivery is found by remembering those that are open, pending or dead: no index leads to what was
settled last. A delivered one that is replayed is not noticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from bridge.event import Room
from bridge.store import questions
from bridge.store.base import DeliveryState
from bridge.store.encryption import plain_size
from bridge.store.questions import DeliveryRow, EventRow, Page, QuarantineRow
from bridge.store.schema import deliveries, events, quarantine

STEP = 500
"""Rows of each kind that one look gives at most; the next look goes on from there."""
OPEN_LIMIT = 5_000
"""The most old deliveries whose changes are noticed: the newest."""

_OPEN = (DeliveryState.PENDING, DeliveryState.DEAD)


@dataclass(frozen=True, slots=True)
class News:
    """What one look has found, each kind in the order of receipt."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    """Tried since the last look: pending ones have failed and will be tried again."""
    refused: list[QuarantineRow]


@dataclass(slots=True)
class Follower:
    """Remembers what has been seen. `begin` comes first; for one reader."""

    _event: int = 0
    _delivery: int = 0
    _refused: int = 0
    _open: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Of deliveries that were open, the state, and how often each had been tried."""

    def begin(self, connection: Connection, back: int) -> None:
        """Take what is there for seen, but the last `back` events."""
        newest = questions.event_page(connection, Page(limit=back + 1)) if back else []
        last_event = connection.execute(select(func.max(events.c.seq))).scalar() or 0
        self._event = newest[-1].seq if len(newest) > back else 0 if back else last_event
        # Deliveries stand in the order of their events, but for those of events that were routed again.
        asked = select(func.min(deliveries.c.id)).where(deliveries.c.event_seq > self._event)
        first = connection.execute(asked).scalar()
        last = connection.execute(select(func.max(deliveries.c.id))).scalar() or 0
        self._delivery = last if first is None else first - 1
        self._refused = connection.execute(select(func.max(quarantine.c.id))).scalar() or 0
        page = Page(before=self._delivery + 1, limit=OPEN_LIMIT // len(_OPEN))
        for state in _OPEN:
            for each in questions.delivery_page(connection, page, state):
                self._open[each.id] = (each.state.value, each.attempts)

    def look(self, connection: Connection) -> News:
        """Give what has happened since the last look."""
        found = News(self._events(connection), list(self._deliveries(connection)), self._refusals(connection))
        for each in sorted(self._open)[:-OPEN_LIMIT]:
            del self._open[each]
        return found

    def _events(self, connection: Connection) -> list[EventRow]:
        asked = select(events.c.seq).where(events.c.seq > self._event).order_by(events.c.seq).limit(STEP)
        seqs = list(connection.execute(asked).scalars())
        self._event = seqs[-1] if seqs else self._event
        return questions.events_in(connection, seqs)[::-1]

    def _deliveries(self, connection: Connection) -> Iterator[DeliveryRow]:
        asked = select(deliveries.c.id).where(deliveries.c.id > self._delivery).order_by(deliveries.c.id).limit(STEP)
        new = list(connection.execute(asked).scalars())
        self._delivery = new[-1] if new else self._delivery
        for each in (*questions.deliveries_in(connection, self._moved(connection))[::-1], *_rows(connection, new)):
            tries = self._open.pop(each.id, ("", 0))[1]
            if each.state in _OPEN:
                self._open[each.id] = (each.state.value, each.attempts)
            if each.state is not DeliveryState.PENDING or each.attempts > tries:
                yield each

    def _moved(self, connection: Connection) -> list[int]:
        """Give those of the remembered deliveries that are not as they were."""
        moved: list[int] = []
        known = sorted(self._open)
        for start in range(0, len(known), STEP):
            asked = select(deliveries.c.id, deliveries.c.state, deliveries.c.attempts).where(
                deliveries.c.id.in_(known[start : start + STEP])
            )
            moved += [each for each, *now in connection.execute(asked) if tuple(now) != self._open[each]]
        return moved

    def _refusals(self, connection: Connection) -> list[QuarantineRow]:
        size = plain_size(quarantine.c.body)
        asked = (
            select(quarantine.c.id, quarantine.c.chatbot, quarantine.c.received_at, size, quarantine.c.room)
            .where(quarantine.c.id > self._refused)
            .order_by(quarantine.c.id)
            .limit(STEP)
        )
        found = [QuarantineRow(*row[:-1], Room(row.room)) for row in connection.execute(asked)]
        self._refused = found[-1].id if found else self._refused
        return found


def _rows(connection: Connection, ids: list[int]) -> list[DeliveryRow]:
    return questions.deliveries_in(connection, ids)[::-1]
