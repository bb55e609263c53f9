"""Saved views: filters of the list of leads that a user has named.

A view holds names of the configuration, a state and days. A search for a person cannot be saved, so a view never holds
personal data, and an erasure does not have to look here.

An owner is a user, or all who share a token. Views outlive their user: they are few, and a user of the same name gets
them back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from bridge.errors import ConflictError, NotFoundError
from bridge.store.schema import views
from bridge.store.transaction import insert_missing

VIEWS_LIMIT: Final = 20
"""Most views of one owner."""


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
        raise ConflictError(f"You have {VIEWS_LIMIT} views already. Delete one that you no longer need.")


def delete_view(connection: Connection, owner: str, name: str) -> None:
    """Delete a view. Raises NotFoundError."""
    if not connection.execute(delete(views).where(views.c.owner == owner, views.c.name == name)).rowcount:
        raise NotFoundError("You have no view of this name.")
