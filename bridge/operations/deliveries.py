"""Deliveries: list them; show, replay, discard and move one of them, or those of one event.

Each function that changes something runs inside the caller's transaction and writes its audit entry there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from bridge.config.model import Config, Route
from bridge.errors import ConflictError, NotFoundError
from bridge.event import EventState
from bridge.ingress import reprocess
from bridge.operations import events
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.store import audit_log, commands, queries
from bridge.store.filter import EVERYTHING, DeliveryFilter, Scope
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryDetails, DeliveryRow, EventRow
from bridge.store.search import find_deliveries

OPEN_STATES = frozenset({DeliveryState.PENDING, DeliveryState.DEAD})
"""States in which a delivery can be discarded or moved."""


def show(connection: Connection, delivery: int, *, exchanges: bool = False) -> DeliveryDetails:
    """Read all about a delivery, with its requests and answers if asked for. Raises NotFoundError."""
    story = queries.delivery_details(connection, delivery, exchanges=exchanges)
    if story is None:
        raise unknown(delivery)
    return story


def list_deliveries(connection: Connection, criteria: DeliveryFilter) -> Sequence[DeliveryRow]:
    """Return up to `limit` deliveries, newest first, from as many pages as that takes."""
    rows, page = list[DeliveryRow](), find_deliveries(connection, criteria)
    while True:
        rows += page.rows
        if page.next is None or len(rows) >= criteria.limit:
            return rows[: criteria.limit]
        page = find_deliveries(connection, replace(criteria, before=page.next))


def replay(connection: Connection, who: Who, delivery: int, now: float) -> ActionResult:
    """Put a delivery into the queue, due now. Raises NotFoundError."""
    before = commands.replay(connection, [delivery], now).get(delivery)
    if before is None:
        raise unknown(delivery)
    entry = _keep(connection, who, Action.REPLAY, delivery, now, was=before.value)
    return ActionResult((_replayed(delivery, before),), (entry,))


def replay_event(
    connection: Connection,
    who: Who,
    event_id: str,
    config: Config,
    now: float,
    *,
    one_entry: bool,
    scope: Scope = EVERYTHING,
) -> ActionResult:
    """Replay the dead deliveries of an event, or route it again if it is unrecognised.

    With `one_entry` the audit log has one entry for the event, otherwise one for each delivery. With `scope`, an
    unrecognised event must turn out to be of one of these chatbots.
    Raises NotFoundError, or ConflictError if there is nothing to replay or the event stays unrecognised.
    """
    event = events.find_event(connection, event_id)
    if event.state is EventState.UNRECOGNISED:
        line = reprocess.route_again(connection, event, queries.payload(connection, event.seq), config, scope)
        entry = Entry(who, Action.REPLAY, Subject.EVENT, event.id, facts={"was": event.state.value})
        audit_log.add_entry(connection, entry, now)
        return ActionResult((line,), (entry,))
    dead = _in_states(connection, event, {DeliveryState.DEAD})
    if not dead:
        raise ConflictError(f"event {event.id}: no dead delivery to replay; name a delivery to replay another one")
    if not one_entry:
        return _for_each(dead, lambda each: replay(connection, who, each, now))
    commands.replay(connection, dead, now)
    entry = Entry(who, Action.REPLAY, Subject.EVENT, event.id, len(dead), {"was": DeliveryState.DEAD.value})
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"event {event.id}: {len(dead)} pending and due now",), (entry,))


def discard(connection: Connection, who: Who, delivery: int, now: float) -> ActionResult:
    """Discard a pending or dead delivery. Raises NotFoundError, or ConflictError if it is delivered."""
    before = commands.discard(connection, [delivery], now).get(delivery)
    if before is None:
        raise unknown(delivery)
    if before is DeliveryState.DELIVERED:
        raise ConflictError(f"delivery {delivery}: delivered already, and stays so")
    entry = _keep(connection, who, Action.DISCARD, delivery, now, was=before.value)
    return ActionResult((f"delivery {delivery}: was {before.value}, is discarded",), (entry,))


def discard_event(connection: Connection, who: Who, event_id: str, now: float) -> ActionResult:
    """Discard the pending and dead deliveries of an event. Raises NotFoundError, or ConflictError if it has none."""
    event = events.find_event(connection, event_id)
    deliveries = _in_states(connection, event, OPEN_STATES)
    if not deliveries:
        hint = "; `leadbridge events discard` deletes it" if event.state is EventState.UNRECOGNISED else ""
        raise ConflictError(f"event {event.id}: no pending or dead delivery to discard{hint}")
    return _for_each(deliveries, lambda each: discard(connection, who, each, now))


def move(connection: Connection, who: Who, delivery: int, to: str, config: Config, now: float) -> ActionResult:
    """Move a pending or dead delivery to another route of its chatbot, due now.

    Raises NotFoundError, or ConflictError if the delivery or the route does not allow it; then nothing is changed.
    """
    row = show(connection, delivery).row
    if row.state not in OPEN_STATES:
        raise ConflictError(f"delivery {delivery}: is {row.state.value}; only pending and dead ones are moved")
    route = _route(config, row.chatbot, to)
    if route is None:
        raise ConflictError(f"delivery {delivery}: chatbot {row.chatbot} has no route {to} in the configuration")
    if not commands.move(connection, delivery, route.name, route.destination, now):
        raise ConflictError(f"delivery {delivery}: its event goes to {to} already; discard this one instead")
    entry = _keep(connection, who, Action.MOVE, delivery, now, was=row.route, to=route.name)
    return ActionResult((f"delivery {delivery}: goes to {to} now, and is due",), (entry,))


def unknown(delivery: int) -> NotFoundError:
    """Return the error for an id that no delivery has."""
    return NotFoundError(f"{delivery}: no delivery has this id", "deliveries")


def _replayed(delivery: int, before: DeliveryState) -> str:
    return f"delivery {delivery}: was {before.value}, is pending and due now"


def _route(config: Config, chatbot: str | None, name: str) -> Route | None:
    known = config.chatbots.get(chatbot or "")
    return next((each for each in known.routes if each.name == name), None) if known else None


def _in_states(
    connection: Connection, event: EventRow, states: set[DeliveryState] | frozenset[DeliveryState]
) -> list[int]:
    return [each.id for each in queries.deliveries_of(connection, event.seq) if each.state in states]


def _for_each(deliveries: Sequence[int], act: Callable[[int], ActionResult]) -> ActionResult:
    results = [act(each) for each in deliveries]
    return ActionResult(
        tuple(line for each in results for line in each.lines),
        tuple(entry for each in results for entry in each.entries),
    )


def _keep(connection: Connection, who: Who, action: Action, delivery: int, now: float, **facts: str) -> Entry:
    entry = Entry(who, action, Subject.DELIVERY, str(delivery), facts=facts)
    audit_log.add_entry(connection, entry, now)
    return entry
