"""Recovery of requests in quarantine and of unrecognised events, one by one or all that a filter selects.

Functions that change something run inside the caller's transaction and write their audit entry there. All are changed
as in `bridge.operations.bulk`: a preview, then steps. A request or an event that stays as it was is counted as refused,
and does not hold up the others.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import ConflictError, NotFoundError
from bridge.ingress import reprocess
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.operations.bulk import Progress
from bridge.store import audit_log, commands, quarantine, queries
from bridge.store.filter import EVERYTHING, Scope, SelectionExtent
from bridge.store.quarantine import Kept, KeptSelection, kept_extent, next_kept


def all_ids(connection: Connection) -> list[int]:
    """Return the id of every request, oldest first; their number is bounded for each chatbot."""
    ids: list[int] = []
    rows = None
    while rows is None or rows:
        rows = quarantine.quarantine_page(connection, before=ids[-1] if ids else None)
        ids += [row.id for row in rows]
    return ids[::-1]


def release(
    connection: Connection,
    who: Who,
    request: int,
    config: Config,
    now: float,
    *,
    any_age: bool = False,
    scope: Scope = EVERYTHING,
) -> ActionResult:
    """Verify a request again, and accept its events if its signature holds now.

    With `any_age` the signature may be older or newer than the chatbot's tolerance. With `scope`, all of its events
    must be of these chatbots. Raises NotFoundError, or ConflictError if the request stays in quarantine.
    """
    quarantined = quarantine.quarantined(connection, request)
    if quarantined is None:
        raise unknown(request)
    line = reprocess.release_request(connection, request, quarantined, config, any_age=any_age, scope=scope)
    if line is None:
        raise unknown(request)
    entry = Entry(who, Action.RELEASE, Subject.REQUEST, str(request), facts={"age": "any"} if any_age else {})
    audit_log.add_entry(connection, entry, now)
    return ActionResult((line,), (entry,))


def discard(
    connection: Connection,
    who: Who,
    request: int,
    now: float,
    config: Config | None = None,
    scope: Scope = EVERYTHING,
) -> ActionResult:
    """Delete a request for good.

    With `scope`, it must name no other chatbot of the configuration. Raises NotFoundError, or ConflictError if it does.
    """
    if config is not None and not scope.is_whole and (found := quarantine.quarantined(connection, request)):
        reprocess.check_chatbots_of(request, found, config, scope)
    if not quarantine.discard(connection, [request]):
        raise unknown(request)
    entry = Entry(who, Action.DISCARD, Subject.REQUEST, str(request))
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"request {request}: discarded",), (entry,))


def unknown(request: int) -> NotFoundError:
    """Return the error for an id that no request has."""
    return NotFoundError(f"{request}: no request in quarantine has this id", "quarantine")


STEP: Final = 20
"""Most requests or events that one transaction verifies or routes: each can be a megabyte."""


class RecoveryAction(StrEnum):
    """Changes to things that are kept."""

    RELEASE = "release"
    """Requests are verified again with the keys of today. Events are routed again."""
    DISCARD = "discard"
    """They are deleted for good."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """A change to all things that a filter selects."""

    act: RecoveryAction
    filter: KeptSelection
    config: Config = field(repr=False)
    """The configuration whose keys and routes count, from the beginning to the end."""
    any_age: bool = False
    """True to accept signatures that are too old or too new. Their key must match."""

    def chosen(self) -> dict[str, str]:
        """Return the conditions of the filter by name."""
        return self.filter.conditions()

    def extent(self, connection: Connection, through: int | None = None) -> SelectionExtent:
        """Count what the filter selects; with `through`, up to this id."""
        return kept_extent(connection, self.filter, through)

    def entry(self, who: Who, extent: SelectionExtent, job: int | None = None) -> Entry:
        """Return the audit entry with a count of zero; `job` is its number if it runs in the background."""
        action = Action.DISCARD_ALL if self.act is RecoveryAction.DISCARD else Action.RELEASE_ALL
        facts: dict[str, str | int] = {"of": extent.count, **self.chosen(), **({"age": "any"} if self.any_age else {})}
        if job is None:
            return Entry(who, action, count=0, facts=facts)
        return Entry(who, action, Subject.RUN, str(job), 0, facts)

    def step(self, connection: Connection, who: Who, progress: Progress, now: float) -> Progress:
        """Change the next ones, and return the new position."""
        discards = self.act is RecoveryAction.DISCARD
        reads = not discards or (self.filter.kept is Kept.REQUESTS and not self.filter.scope.is_whole)
        limit = STEP if reads else commands.IDS_LIMIT
        ids = next_kept(connection, self.filter, progress.after, progress.extent.through, limit)
        if not ids:
            return replace(progress, ended=True)
        entry = progress.entry
        if entry is None:
            entry = audit_log.add_entry(connection, self.entry(who, progress.extent), now)
        if not discards:
            done = sum(self._released(connection, each) for each in ids)
        elif self.filter.kept is Kept.REQUESTS:
            done = quarantine.discard(connection, [each for each in ids if self._may_discard(connection, each)])
        else:
            done = commands.discard_unrecognised(connection, ids)
        audit_log.add(connection, entry, done)
        refused = len(ids) - done if reads else 0
        return replace(
            progress, entry=entry, after=ids[-1], done=progress.done + done, refused=progress.refused + refused
        )

    def _may_discard(self, connection: Connection, number: int) -> bool:
        """Return False for a request that also names a chatbot that the acting person may not change."""
        scope = self.filter.scope
        found = None if scope.is_whole else quarantine.quarantined(connection, number)
        if found is None:
            return True
        try:
            reprocess.check_chatbots_of(number, found, self.config, scope)
        except ConflictError:
            return False
        return True

    def _released(self, connection: Connection, number: int) -> bool:
        """Release a request or route an event; return False if it stays as it was."""
        scope = self.filter.scope
        try:
            if self.filter.kept is Kept.EVENTS:
                for event in queries.events_in(connection, [number]):
                    reprocess.route_again(connection, event, queries.payload(connection, number), self.config, scope)
                return True
            found = quarantine.quarantined(connection, number)
            return found is not None and bool(
                reprocess.release_request(connection, number, found, self.config, any_age=self.any_age, scope=scope)
            )
        except ConflictError:
            return False
