"""Leads that a person has selected in a list: the deliveries that an action would change, in a sentence. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from bridge.errors import ConflictError, NotFoundError
from bridge.operations.leads import LeadState
from bridge.store import queries
from bridge.store.commands import IDS_LIMIT, BulkAction, ChosenDeliveries
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryRow

_GONE: Final = "Some of these leads are not there any more. Reload the list, and select them again."
_NAMED: Final = 3
"""Most destinations that a sentence names."""
_UNFINISHED: Final = {DeliveryState.PENDING, DeliveryState.DEAD}


@dataclass(frozen=True, slots=True)
class LeadSelection:
    """An action on selected leads."""

    act: BulkAction
    changed: Sequence[DeliveryRow]
    """Deliveries that it would change, without those that are delivered."""
    delivered: Sequence[DeliveryRow]
    """Delivered ones: a replay sends them again, a discard leaves them alone."""
    idle: int
    """Leads without a delivery that it could change."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the deliveries that are not delivered and would change."""
        return tuple(each.id for each in self.changed)

    @property
    def again(self) -> tuple[int, ...]:
        """Ids of the delivered ones that would be sent again."""
        return tuple(each.id for each in self.delivered) if self.act is BulkAction.REPLAY else ()

    @property
    def sentences(self) -> Sequence[str]:
        """Plain words for the action, and for what it would leave alone."""
        replays = self.act is BulkAction.REPLAY
        every = [*self.changed, *self.delivered] if replays else self.changed
        done, waiting = len(self.delivered), sum(each.state is DeliveryState.PENDING for each in self.changed)
        if every:
            deliveries = numbered(len(every), "delivery", "deliveries")
            leads = numbered(len({each.event_id for each in every}), "lead", "leads")
            said = [
                f"{self.act.value.capitalize()} {deliveries} of {leads} {'to' if replays else 'at'} {_places(every)}."
            ]
        else:
            said = [f"None of these leads has a delivery to {self.act.value}."]
        if every and not replays:
            said.append("A discarded delivery is not tried again until somebody replays it.")
        if replays and waiting:
            said.append(f"{numbered(waiting, 'still waits and is', 'still wait and are')} tried now.")
        if replays and done:
            said.append(f"{numbered(done, 'was', 'were')} already delivered and would be sent again.")
        elif done:
            said.append(f"{numbered(done, 'was already delivered and stays', 'were already delivered and stay')} so.")
        if self.idle and every:
            said.append(f"{numbered(self.idle, 'other lead has', 'other leads have')} no delivery to {self.act.value}.")
        return said


def select_deliveries(
    connection: Connection,
    seqs: Sequence[int],
    act: BulkAction,
    state: LeadState | None,
    destination: str | None,
    chatbots: frozenset[str] | None,
) -> LeadSelection:
    """Find the deliveries of selected leads.

    Args:
        connection: Connection to the store.
        seqs: Numbers of their events.
        act: Action.
        state: Only deliveries in this state, as the filter of the list says; None for all.
        destination: Only deliveries to this destination.
        chatbots: The only chatbots that the acting person sees; None for all.

    Raises:
        NotFoundError: One of the leads is gone, or the person does not see it.
        ConflictError: Too many deliveries for one action.
    """
    rows = queries.events_in(connection, seqs)
    if len(rows) < len(set(seqs)) or any(chatbots is not None and row.chatbot not in chatbots for row in rows):
        raise NotFoundError(_GONE)
    found = queries.deliveries_of_events(connection, [row.seq for row in rows])
    mine = [each for row in rows for each in found.get(row.seq, ()) if _matches(each, state, destination)]
    delivered = [each for each in mine if each.state is DeliveryState.DELIVERED]
    changed = [each for each in mine if each.state in _UNFINISHED]
    if act is BulkAction.REPLAY:
        changed = [each for each in mine if each.state is not DeliveryState.DELIVERED]
    touched = {each.event_id for each in (*changed, *delivered)}
    selection = LeadSelection(act, changed, delivered, len(rows) - len(touched))
    if len(selection.ids) + len(selection.again) > IDS_LIMIT:
        raise ConflictError(f"These leads have more than {IDS_LIMIT} deliveries. Select fewer leads.")
    return selection


def chosen_deliveries(
    connection: Connection, ids: Sequence[int], again: Sequence[int], chatbots: frozenset[str] | None
) -> ChosenDeliveries:
    """Return the deliveries of a confirmed action. Raises NotFoundError as `select_deliveries` does."""
    every = sorted({*ids, *again})
    rows = queries.deliveries_in(connection, every)
    if len(rows) < len(every) or any(chatbots is not None and row.chatbot not in chatbots for row in rows):
        raise NotFoundError(_GONE)
    return ChosenDeliveries(tuple(every), tuple(again), len({row.event_id for row in rows}), chatbots)


def numbered(count: int, one: str, many: str) -> str:
    """Write a number with the words that agree with it: `1 lead`, `2 leads`."""
    return f"{count} {one if count == 1 else many}"


def _matches(delivery: DeliveryRow, state: LeadState | None, destination: str | None) -> bool:
    if destination is not None and delivery.destination != destination:
        return False
    match state:
        case None | LeadState.TEST | LeadState.UNRECOGNISED:
            return True
        case LeadState.WARNING:
            return delivery.warned
        case _:
            return delivery.state.value == state.value


def _places(deliveries: Sequence[DeliveryRow]) -> str:
    """Name the destinations: `crm`, `crm and sheet`, `a, b, c and 2 more`."""
    names = sorted({each.destination for each in deliveries})
    shown = names[:_NAMED]
    if more := len(names) - len(shown):
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
