"""Changes to all deliveries that a filter or a person selects: a preview, then steps of a few hundred deliveries.

Each step is a transaction of the caller and takes deliveries in order of receipt, so that those of a contact stay in
order. Between two steps the caller may show the progress, or stop. The audit log has one entry for a bulk replay or
discard, whose count grows with each step, and one entry for each delivery that is moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import ConflictError, NotFoundError
from bridge.operations import deliveries
from bridge.operations.audit import Action, Entry, Subject, Who
from bridge.operations.leads import LeadState
from bridge.store import audit_log, commands, queries
from bridge.store.commands import IDS_LIMIT, BulkAction, ChosenDeliveries
from bridge.store.filter import DeliveryFilter, Scope, SelectionExtent
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
    """Deliveries that it would change and that are not delivered."""
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
    scope: Scope,
) -> LeadSelection:
    """Find the deliveries of selected leads.

    Args:
        connection: Connection to the store.
        seqs: Numbers of their events.
        act: Action.
        state: Only deliveries in this state, as the filter of the list says; None for all.
        destination: Only deliveries to this destination.
        scope: Chatbots that the acting person sees.

    Raises:
        NotFoundError: One of the leads is gone, or the person does not see it.
        ConflictError: Too many deliveries for one action.
    """
    rows = queries.events_in(connection, seqs)
    if len(rows) < len(set(seqs)) or not all(scope.sees(row.chatbot) for row in rows):
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
    connection: Connection, ids: Sequence[int], again: Sequence[int], scope: Scope
) -> ChosenDeliveries:
    """Return the deliveries of a confirmed action. Raises NotFoundError as `select_deliveries` does."""
    every = sorted({*ids, *again})
    rows = queries.deliveries_in(connection, every)
    if len(rows) < len(every) or not all(scope.sees(row.chatbot) for row in rows):
        raise NotFoundError(_GONE)
    return ChosenDeliveries(tuple(every), tuple(again), len({row.event_id for row in rows}), scope)


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


_ACTIONS = {BulkAction.REPLAY: Action.REPLAY_ALL, BulkAction.DISCARD: Action.DISCARD_ALL}


@dataclass(frozen=True, slots=True)
class Bulk:
    """A change to all deliveries that a filter selects, or that were chosen one by one."""

    act: BulkAction
    filter: DeliveryFilter | ChosenDeliveries

    def chosen(self) -> dict[str, str]:
        """Return the conditions that are set, by name."""
        return self.filter.conditions

    def extent(self, connection: Connection, through: int | None = None) -> SelectionExtent:
        """Count what the filter selects; with `through`, up to this id."""
        return commands.selection_extent(connection, self.filter, through)

    def entry(self, who: Who, extent: SelectionExtent, job: int | None = None) -> Entry:
        """Return the audit entry; see `audit_entry`."""
        return audit_entry(who, self, extent, job)

    def step(self, connection: Connection, who: Who, progress: "Progress", now: float) -> "Progress":
        """Change the next ones; see the function `step`."""
        return step(connection, who, self, progress, now)


@dataclass(frozen=True, slots=True)
class Progress:
    """Position of a bulk change between two steps."""

    extent: SelectionExtent
    """Result of the preview: later deliveries are not touched."""
    entry: int | None = None
    """Id of the audit entry; None until the first step writes it."""
    after: int = 0
    """Id of the last delivery that was handled."""
    done: int = 0
    """Number of deliveries that were changed."""
    refused: int = 0
    """Number of deliveries that cannot be changed."""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class MoveStep:
    """Results of one step of a bulk move."""

    lines: Sequence[str]
    refusals: Sequence[str]
    after: int | None
    """Id of the last delivery that was handled; None if there are no more."""


def audit_entry(who: Who, bulk: Bulk, extent: SelectionExtent, job: int | None = None) -> Entry:
    """Return the audit entry of a bulk change, with a count of zero; `job` is its number if it runs in background."""
    facts: dict[str, str | int] = {"of": extent.count}
    if job is None:
        return Entry(who, _ACTIONS[bulk.act], count=0, facts={**facts, **bulk.filter.conditions})
    facts["through"] = extent.through
    return Entry(who, _ACTIONS[bulk.act], Subject.RUN, str(job), 0, {**facts, **bulk.filter.conditions})


def step(connection: Connection, who: Who, bulk: Bulk, progress: Progress, now: float) -> Progress:
    """Replay or discard the next deliveries, and return the new position."""
    through = progress.extent.through
    ids = commands.change_next(connection, bulk.filter, bulk.act, progress.after, through, now)
    if not ids:
        return replace(progress, ended=True)
    entry = progress.entry
    if entry is None:
        entry = audit_log.add_entry(connection, audit_entry(who, bulk, progress.extent), now)
    audit_log.add(connection, entry, len(ids))
    return replace(progress, entry=entry, after=ids[-1], done=progress.done + len(ids))


def move_step(
    connection: Connection,
    who: Who,
    chosen: DeliveryFilter,
    to: str,
    config: Config,
    *,
    after: int,
    through: int,
    now: float,
) -> MoveStep:
    """Move the next deliveries to another route of their chatbot; return a line for each."""
    ids = commands.next_ids(connection, chosen, after, through)
    lines, refusals = list[str](), list[str]()
    for each in ids:
        try:
            lines += deliveries.move(connection, who, each, to, config, now).lines
        except (ConflictError, NotFoundError) as error:
            refusals.append(str(error))
    return MoveStep(lines, refusals, ids[-1] if ids else None)
