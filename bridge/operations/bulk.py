"""Changes to all deliveries that a filter or a person selects: a preview, then steps of a few hundred deliveries.

Each step is a transaction of the caller and takes deliveries in order of receipt, so that those of a contact stay in
order. Between two steps the caller may show the progress, or stop. The audit log has one entry for a bulk replay or
discard, whose count grows with each step, and one entry for each delivery that is moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import ConflictError, NotFoundError
from bridge.operations import deliveries
from bridge.operations.audit import Action, Entry, Subject, Who
from bridge.store import audit_log, commands
from bridge.store.commands import BulkAction, ChosenDeliveries, DeliverySelection, SelectionExtent

_ACTIONS = {BulkAction.REPLAY: Action.REPLAY_ALL, BulkAction.DISCARD: Action.DISCARD_ALL}


@dataclass(frozen=True, slots=True)
class Bulk:
    """A change to all deliveries that a filter selects, or that were chosen one by one."""

    act: BulkAction
    filter: DeliverySelection | ChosenDeliveries

    def chosen(self) -> dict[str, str]:
        """Return the conditions that are set, by name."""
        return selection(self.filter)

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
    """Number of those that stay as they were, because they cannot be changed."""
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
        return Entry(who, _ACTIONS[bulk.act], count=0, facts={**facts, **selection(bulk.filter)})
    facts["through"] = extent.through
    return Entry(who, _ACTIONS[bulk.act], Subject.RUN, str(job), 0, {**facts, **selection(bulk.filter)})


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
    chosen: DeliverySelection,
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


def selection(chosen: DeliverySelection | ChosenDeliveries) -> dict[str, str]:
    """Return the conditions of a filter by name, without those that are not set."""
    if isinstance(chosen, ChosenDeliveries):
        return {"leads": str(chosen.leads)}
    conditions = {
        "state": chosen.state.value,
        "chatbot": chosen.chatbot,
        "destination": chosen.destination,
        "reason": chosen.reason,
    }
    return {name: value for name, value in conditions.items() if value is not None}
