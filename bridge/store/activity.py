"""Activity of the store, as `leadbridge tail` follows it. Reads only, bounded."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from bridge.store import queries
from bridge.store.filter import DeliveryFilter, EventFilter
from bridge.store.interface import DeliveryState
from bridge.store.quarantine import QuarantineRow, requests_after
from bridge.store.queries import DeliveryRow, EventRow
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.search import find_deliveries, find_events

STEP = 500
"""Most rows of each kind that one look reads."""
OPEN_LIMIT = 5_000
"""Most old deliveries whose changes are noticed: the newest."""
_OPEN = (DeliveryState.PENDING, DeliveryState.DEAD)


@dataclass(frozen=True, slots=True)
class LatestActivity:
    """Events, deliveries and refused requests since the last look, each in order of receipt."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    """Deliveries that were tried since the last look. Pending ones have failed and will be retried."""
    refused: list[QuarantineRow]


@dataclass(slots=True)
class Follower:
    """Position of one reader of the activity. Call `begin` first.

    No index leads to the deliveries that were settled last, so the follower remembers the open ones (pending or dead)
    and compares them. A delivered one that is replayed is not noticed.
    """

    _event: int = 0
    _delivery: int = 0
    _refused: int = 0
    _open: dict[int, tuple[str, int]] = field(default_factory=dict)
    """State and number of attempts of each open delivery."""

    def begin(self, connection: Connection, back: int) -> None:
        """Skip everything in the store, except the last `back` events."""
        newest = find_events(connection, EventFilter(limit=back + 1)).rows if back else []
        last_event = connection.execute(select(func.max(events.c.seq))).scalar() or 0
        self._event = newest[-1].seq if len(newest) > back else 0 if back else last_event
        # Deliveries are in the order of their events, except those of events that were routed again.
        query = select(func.min(deliveries.c.id)).where(deliveries.c.event_seq > self._event)
        first = connection.execute(query).scalar()
        last = connection.execute(select(func.max(deliveries.c.id))).scalar() or 0
        self._delivery = last if first is None else first - 1
        self._refused = connection.execute(select(func.max(quarantine.c.id))).scalar() or 0
        for state in _OPEN:
            page = DeliveryFilter(state=state, before=self._delivery + 1, limit=OPEN_LIMIT // len(_OPEN))
            for each in find_deliveries(connection, page).rows:
                self._open[each.id] = (each.state.value, each.attempts)

    def look(self, connection: Connection) -> LatestActivity:
        """Return the activity since the last look."""
        found = LatestActivity(self._events(connection), list(self._deliveries(connection)), self._refusals(connection))
        for each in sorted(self._open)[:-OPEN_LIMIT]:
            del self._open[each]
        return found

    def _events(self, connection: Connection) -> list[EventRow]:
        query = select(events.c.seq).where(events.c.seq > self._event).order_by(events.c.seq).limit(STEP)
        seqs = list(connection.execute(query).scalars())
        self._event = seqs[-1] if seqs else self._event
        return queries.events_in(connection, seqs)[::-1]

    def _deliveries(self, connection: Connection) -> Iterator[DeliveryRow]:
        query = select(deliveries.c.id).where(deliveries.c.id > self._delivery).order_by(deliveries.c.id).limit(STEP)
        new = list(connection.execute(query).scalars())
        self._delivery = new[-1] if new else self._delivery
        for each in (*queries.deliveries_in(connection, self._moved(connection))[::-1], *_rows(connection, new)):
            tries = self._open.pop(each.id, ("", 0))[1]
            if each.state in _OPEN:
                self._open[each.id] = (each.state.value, each.attempts)
            if each.state is not DeliveryState.PENDING or each.attempts > tries:
                yield each

    def _moved(self, connection: Connection) -> list[int]:
        """Return the remembered deliveries that have changed."""
        moved: list[int] = []
        known = sorted(self._open)
        for start in range(0, len(known), STEP):
            query = select(deliveries.c.id, deliveries.c.state, deliveries.c.attempts).where(
                deliveries.c.id.in_(known[start : start + STEP])
            )
            moved += [each for each, *now in connection.execute(query) if tuple(now) != self._open[each]]
        return moved

    def _refusals(self, connection: Connection) -> list[QuarantineRow]:
        found = requests_after(connection, self._refused, STEP)
        self._refused = found[-1].id if found else self._refused
        return found


def _rows(connection: Connection, ids: list[int]) -> list[DeliveryRow]:
    return queries.deliveries_in(connection, ids)[::-1]
