"""Changes by operators: replay, discard and move of deliveries, pause and resume of lanes, release of requests.

Each function runs in a transaction of its caller. Processes that serve the store notice the commit and read their
queues again. Every change may be repeated without harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, case, delete, func, or_, select, update

from bridge.event import EventState
from bridge.store.encryption import keys_of
from bridge.store.filter import EVERYTHING, DeliveryFilter, Scope, SelectionExtent, in_state
from bridge.store.interface import DeliveryState, Pause, RoutedEvent
from bridge.store.lane_queries import keep_pause
from bridge.store.queue import Accept, write
from bridge.store.schema import attempts, deliveries, events, lanes, quarantine
from bridge.store.search import pending_destinations
from bridge.store.tally import add_counts, ended_keys, event_key
from bridge.store.transaction import insert_missing

IDS_LIMIT = 500
"""Most deliveries of one call. Keeps the transaction short and below the engines' limit of parameters."""
COUNT_LIMIT = 1_000_000
"""Most deliveries of one bulk action."""
_UNPAUSED: Mapping[str, Any] = {
    "paused_by": None,
    "pause_reason": None,
    "pause_detail": None,
    "paused_until": None,
    "paused_since": None,
}


class BulkAction(StrEnum):
    """The action on a selection of deliveries."""

    REPLAY = "replay"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class ChosenDeliveries:
    """Deliveries that somebody has selected one by one."""

    ids: tuple[int, ...]
    """At most `IDS_LIMIT`. One that is delivered by the time of the action stays so."""
    again: tuple[int, ...] = ()
    """Those of them that are replayed although they are delivered."""
    leads: int = 0
    """Number of their leads."""
    scope: Scope = EVERYTHING
    """The chatbots whose deliveries the acting person may change."""

    @property
    def conditions(self) -> dict[str, str]:
        """The selection in an entry of the audit log."""
        return {"leads": str(self.leads)}


def replay(connection: Connection, ids: Sequence[int], now: float) -> dict[int, DeliveryState]:
    """Put deliveries into the queue, due now. Returns the previous state of each one that exists.

    A delivery that had ended starts with no failures, so its whole `give_up_after` counts again. It keeps its attempts
    and its memo. A pending delivery becomes due and keeps its failures.
    """
    found = _locked(connection, ids)
    gone = ended_keys(connection, found)
    add_counts(connection, {key: -count for key, count in gone.items()})
    ended = [each for each, state in found.items() if state is not DeliveryState.PENDING]
    waiting = [each for each, state in found.items() if state is DeliveryState.PENDING]
    connection.execute(
        _update(ended).values(
            state=DeliveryState.PENDING.value,
            due_at=now,
            settled_at=None,
            attempts=_tried(),
            failures=0,
            failing_since=None,
            # It belongs to the record that was delivered before.
            warning=None,
        )
    )
    connection.execute(_update(waiting).values(due_at=now))
    return found


def discard(connection: Connection, ids: Sequence[int], now: float) -> dict[int, DeliveryState]:
    """Discard pending and dead deliveries. Returns the previous state of each, as `replay` does.

    Delivered ones stay delivered. A call in progress is not cancelled, but its outcome is not written.
    """
    found = _locked(connection, ids)
    open_ = [each for each, state in found.items() if state in {DeliveryState.PENDING, DeliveryState.DEAD}]
    changes = ended_keys(connection, open_)
    connection.execute(_update(open_).values(state=DeliveryState.DISCARDED.value, due_at=None, settled_at=now))
    discarded = ended_keys(connection, open_)
    discarded.subtract(changes)
    add_counts(connection, discarded)
    return found


def move(connection: Connection, delivery: int, route: str, destination: str, now: float) -> bool:
    """Move a pending or dead delivery to another route, due now. Returns False if its event has a delivery there.

    Like a new delivery, it has no texts of a destination and no memo.
    """
    event_seq = connection.execute(select(deliveries.c.event_seq).where(deliveries.c.id == delivery)).scalar_one()
    taken = select(deliveries.c.id).where(deliveries.c.event_seq == event_seq, deliveries.c.route == route)
    if connection.execute(taken).first():
        return False
    replay(connection, [delivery], now)
    connection.execute(
        _update([delivery]).values(
            route=route,
            destination=destination,
            failures=0,
            failing_since=None,
            reason=None,
            detail=None,
            warning=None,
            remote_id=None,
            remote_url=None,
            memo=None,
        )
    )
    return True


def replace_unrecognised(connection: Connection, seq: int, routed: RoutedEvent) -> bool:
    """Replace an unrecognised event by its recognised form. Returns True if that is new.

    A recognised event has another id, so it is accepted like a new one, with its first time of receipt, and the
    unrecognised copy is deleted. If the sender has repeated the event meanwhile, it exists already with its deliveries,
    and only the copy is deleted.
    """
    ((new,),) = _accepted(connection, [routed])
    copy = connection.execute(select(events.c.received_at, events.c.chatbot, events.c.state).where(events.c.seq == seq))
    add_counts(connection, {event_key(*row): -1 for row in copy})
    connection.execute(delete(events).where(events.c.seq == seq))
    return new


def discard_unrecognised(connection: Connection, seqs: Sequence[int]) -> int:
    """Delete unrecognised events for good, at most `IDS_LIMIT`. Return how many there were."""
    if len(seqs) > IDS_LIMIT:
        raise ValueError(f"at most {IDS_LIMIT} events in one transaction")
    unrecognised = in_state(events.c.state, EventState.UNRECOGNISED.value)
    return connection.execute(delete(events).where(events.c.seq.in_(seqs), unrecognised)).rowcount


def release(connection: Connection, request: int, routed: Sequence[RoutedEvent]) -> list[bool] | None:
    """Accept the events of a request that has proved authentic, and delete it from the quarantine.

    Returns True for each new event. Returns None, and changes nothing, if the request is gone.
    """
    gone = connection.execute(delete(quarantine).where(quarantine.c.id == request))
    if not gone.rowcount:
        return None
    return _accepted(connection, routed)[0]


def pause_lane(connection: Connection, name: str, pause: Pause) -> None:
    """Pause a destination's lane. The lane need not have been worked before."""
    keys = keys_of(connection)
    held = {
        "paused_by": pause.by,
        "pause_reason": keys.seal_text(pause.reason, "lanes.pause_reason", name),
        "pause_detail": keys.seal_text(pause.detail, "lanes.pause_detail", name),
        "paused_until": pause.until,
        "paused_since": pause.since,
    }
    insert_missing(connection, lanes, [{"name": name, "fence": 0}])
    if pause.since is not None:
        keep_pause(connection, name, pause.since)
    connection.execute(update(lanes).where(lanes.c.name == name).values(held))


def resume_lane(connection: Connection, name: str, now: float) -> bool:
    """End the pause of a destination's lane, an operator's or its own. Returns False if it was not paused."""
    keep_pause(connection, name, now)
    paused = lanes.c.name == name, lanes.c.paused_by.is_not(None)
    return bool(connection.execute(update(lanes).where(*paused).values(_UNPAUSED)).rowcount)


def selection_extent(
    connection: Connection, chosen: DeliveryFilter | ChosenDeliveries, through: int | None = None
) -> SelectionExtent:
    """Count the selected deliveries with ids up to `through`, at most the oldest `COUNT_LIMIT`."""
    if isinstance(chosen, ChosenDeliveries):
        return SelectionExtent(len(chosen.ids), max(chosen.ids, default=0))
    asked = _select(connection, chosen)
    if through is not None:
        asked = asked.where(deliveries.c.id <= through)
    every = asked.limit(COUNT_LIMIT + 1).subquery("every")
    count, last = connection.execute(select(func.count(), func.max(every.c.id))).one()
    if count > COUNT_LIMIT:
        # Sorting takes far longer than counting, so the oldest are selected only if there are too many.
        oldest = asked.order_by(deliveries.c.id).limit(COUNT_LIMIT).subquery("oldest")
        count, last = connection.execute(select(func.count(), func.max(oldest.c.id))).one()
    return SelectionExtent(count, last or 0)


def change_next(
    connection: Connection,
    chosen: DeliveryFilter | ChosenDeliveries,
    act: BulkAction,
    after: int,
    through: int,
    now: float,
) -> Sequence[int]:
    """Replay or discard the next deliveries in order of receipt, up to `IDS_LIMIT`; return their ids."""
    if isinstance(chosen, ChosenDeliveries):
        ids = _still_open(connection, chosen, after, through)
    else:
        ids = next_ids(connection, chosen, after, through)
    if ids:
        (replay if act is BulkAction.REPLAY else discard)(connection, ids, now)
    return ids


def next_ids(connection: Connection, chosen: DeliveryFilter, after: int, through: int) -> Sequence[int]:
    """Return the next deliveries with ids above `after`, up to `IDS_LIMIT`, in order of receipt.

    The order keeps the deliveries of each contact in sequence. An empty result means that none are left.
    """
    limit = IDS_LIMIT
    ids: list[int] = []
    for each in _by_destination(connection, chosen):
        selected = _select(connection, each).where(deliveries.c.id > after, deliveries.c.id <= through)
        ids += connection.execute(selected.order_by(deliveries.c.id).limit(limit)).scalars()
    return sorted(ids)[:limit]


def _still_open(connection: Connection, chosen: ChosenDeliveries, after: int, through: int) -> Sequence[int]:
    """Return the chosen deliveries with ids above `after` that are not delivered, and those replayed all the same."""
    left = [each for each in sorted(chosen.ids) if after < each <= through][:IDS_LIMIT]
    asked = select(deliveries.c.id).where(deliveries.c.id.in_(left)).order_by(deliveries.c.id)
    undelivered = deliveries.c.state != DeliveryState.DELIVERED.value
    asked = asked.where(or_(undelivered, deliveries.c.id.in_(chosen.again)))
    if not chosen.scope.is_whole:
        asked = asked.select_from(deliveries.join(events)).where(chosen.scope.of(events.c.chatbot))
    return connection.execute(asked).scalars().all()


def _by_destination(connection: Connection, chosen: DeliveryFilter) -> list[DeliveryFilter]:
    """Divide a selection of pending deliveries by destination, since their index is in order for each destination."""
    if chosen.state is DeliveryState.PENDING and chosen.destination is None:
        return [replace(chosen, destination=name) for name in pending_destinations(connection)]
    return [chosen]


def _select(connection: Connection, chosen: DeliveryFilter) -> Select[int]:
    asked = chosen.narrow(select(deliveries.c.id), deliveries)
    if chosen.state is not None:
        asked = asked.where(in_state(deliveries.c.state, chosen.state.value))
    if chosen.state is DeliveryState.PENDING and chosen.destination is None:
        # With the destinations named, the index answers. Without, all deliveries would be searched for pending ones.
        asked = asked.where(deliveries.c.destination.in_(pending_destinations(connection)))
    return asked


def _locked(connection: Connection, ids: Sequence[int]) -> dict[int, DeliveryState]:
    """Read the states and lock the rows until the commit. SQLite's transaction locks them anyway."""
    asked = select(deliveries.c.id, deliveries.c.state).where(_among(ids)).order_by(deliveries.c.id)
    return {each: DeliveryState(state) for each, state in connection.execute(asked.with_for_update())}


def _tried() -> ColumnElement[int]:
    """Return the SQL for the number of the last attempt, so that the next attempt gets another number.

    An attempt that ended after its delivery was discarded is only in the table `attempts`.
    """
    last = select(func.max(attempts.c.number)).where(attempts.c.delivery_id == deliveries.c.id).scalar_subquery()
    return case((last > deliveries.c.attempts, last), else_=deliveries.c.attempts)


def _update(ids: Sequence[int]) -> Update:
    return update(deliveries).where(_among(ids))


def _among(ids: Sequence[int]) -> ColumnElement[bool]:
    if len(ids) > IDS_LIMIT:
        raise ValueError(f"at most {IDS_LIMIT} deliveries in one transaction")
    return deliveries.c.id.in_(ids)


def _accepted(connection: Connection, routed: Sequence[RoutedEvent]) -> list[list[bool]]:
    return [result for result in write(connection, [Accept(routed)]) if isinstance(result, list)]
