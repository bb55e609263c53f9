"""Requests in quarantine: list, release and discard them.

Functions that change something run inside the caller's transaction and write their audit entry there.
"""

from collections.abc import Set as AbstractSet

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import NotFoundError
from bridge.ingress import reprocess
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.store import audit_log, queries
from bridge.store import quarantine as rooms
from bridge.store.queries import PageRequest


def all_ids(connection: Connection) -> list[int]:
    """Return the id of every request, oldest first; their number is bounded for each chatbot."""
    ids: list[int] = []
    rows = None
    while rows is None or rows:
        rows = queries.quarantine_page(connection, PageRequest(before=ids[-1] if ids else None))
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
    only: AbstractSet[str] | None = None,
) -> ActionResult:
    """Verify a request again, and accept its events if its signature holds now.

    With `any_age` the signature may be older or newer than the chatbot's tolerance. With `only`, all of its events
    must be of these chatbots. Raises NotFoundError, or ConflictError if the request stays in quarantine.
    """
    quarantined = queries.quarantined(connection, request)
    if quarantined is None:
        raise unknown(request)
    line = reprocess.release_request(connection, request, quarantined, config, any_age=any_age, only=only)
    if line is None:
        raise unknown(request)
    entry = Entry(who, Action.RELEASE, Subject.REQUEST, str(request), facts={"age": "any"} if any_age else {})
    audit_log.add_entry(connection, entry, now)
    return ActionResult((line,), (entry,))


def discard(connection: Connection, who: Who, request: int, now: float) -> ActionResult:
    """Delete a request for good. Raises NotFoundError."""
    if not rooms.discard(connection, [request]):
        raise unknown(request)
    entry = Entry(who, Action.DISCARD, Subject.REQUEST, str(request))
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"request {request}: discarded",), (entry,))


def unknown(request: int) -> NotFoundError:
    """Return the error for an id that no request has."""
    return NotFoundError(f"{request}: no request in quarantine has this id", "quarantine")
