"""State of the users of the dashboard: acknowledgements of problems, and saved views.

They hold names of the configuration and of users, no word of a lead.

A view holds names of the configuration, a state and days. A search for a person cannot be saved, so a view never holds
personal data, and an erasure does not have to look here.

An owner is a user, or all who share a token. Views outlive their user: they are few, and a user of the same name gets
them back.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from bridge.errors import ConflictError, NotFoundError
from bridge.store.schema import acknowledgements, views
from bridge.store.transaction import insert_missing

KEPT_SECONDS: Final = 180 * 86_400.0
"""Age at which an acknowledgement is deleted with the next one, so that those of former causes go."""

VIEWS_LIMIT: Final = 20
"""Most views of one owner."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One person's statement that a cause needs nobody else for now."""

    cause: str
    chatbots: str
    """Result of `scope_text`."""
    at: float
    user: str
    through: float
    """Time of the latest case that the person knew of."""
    until: float | None
    """End of an ignored cause; None if the next case ends it."""

    def covers(self, latest_at: float | None, now: float) -> bool:
        """Return True if a problem whose latest case is from a time is still acknowledged. Pure."""
        if self.until is not None:
            return now < self.until
        return latest_at is None or latest_at <= self.through


def scope_text(reader: AbstractSet[str] | None, only: AbstractSet[str] | None) -> str:
    """Return the text that names whose acknowledgement it is, and for which part of a problem.

    Empty for all chatbots, `* acme` for a part that a user of all chatbots has acknowledged, `acme` for a user of some.
    """
    if only is None:
        return ""
    return " ".join([*(["*"] if reader is None else []), *sorted(only)])


def acknowledged(connection: Connection, scopes: Iterable[str]) -> list[Acknowledgement]:
    """Read the acknowledgements for these scopes."""
    query = select(acknowledgements).where(acknowledgements.c.chatbots.in_([*scopes]))
    return [
        Acknowledgement(row.cause, row.chatbots, row.at, row.user, row.through, row.until)
        for row in connection.execute(query)
    ]


def acknowledge(connection: Connection, given: Acknowledgement) -> None:
    """Store an acknowledgement in place of an earlier one of the same cause and scope."""
    reopen(connection, given.cause, given.chatbots)
    connection.execute(delete(acknowledgements).where(acknowledgements.c.at < given.at - KEPT_SECONDS))
    row = {
        "cause": given.cause,
        "chatbots": given.chatbots,
        "at": given.at,
        "user": given.user,
        "through": given.through,
        "until": given.until,
    }
    connection.execute(insert(acknowledgements).values(row))


def reopen(connection: Connection, cause: str, scope: str) -> bool:
    """Delete an acknowledgement. Returns False if there is none."""
    chosen = acknowledgements.c.cause == cause, acknowledgements.c.chatbots == scope
    return bool(connection.execute(delete(acknowledgements).where(*chosen)).rowcount)


@dataclass(frozen=True, slots=True)
class View:
    """A filter with a name."""

    name: str
    query: str
    """The filter as the query of an address."""


def list_views(connection: Connection, owner: str) -> Sequence[View]:
    """Return the views of an owner, by name."""
    found = select(views.c.name, views.c.query).where(views.c.owner == owner).order_by(func.lower(views.c.name))
    return [View(*row) for row in connection.execute(found)]


def save_view(connection: Connection, owner: str, view: View) -> None:
    """Save a view; one of the same name is replaced. Raises ConflictError if the owner has too many."""
    insert_missing(connection, views, [{"owner": owner, "name": view.name, "query": view.query}])
    mine = views.c.owner == owner
    connection.execute(update(views).where(mine, views.c.name == view.name).values(query=view.query))
    if connection.execute(select(func.count()).where(mine)).scalar_one() > VIEWS_LIMIT:
        raise ConflictError(f"You have {VIEWS_LIMIT} views already. Delete one first.")


def delete_view(connection: Connection, owner: str, name: str) -> None:
    """Delete a view. Raises NotFoundError."""
    if not connection.execute(delete(views).where(views.c.owner == owner, views.c.name == name)).rowcount:
        raise NotFoundError("You have no view of this name.")
