"""Rows that are added only where there are none yet, in the words of each engine."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import sqlite

from bridge.store.schema import lanes


def add_lanes(connection: Connection, names: AbstractSet[str]) -> None:
    """Add rows of lanes that have none yet, and write nothing where all have one.

    Call it before any of their rows is locked: who adds one waits for whoever adds it at this moment.
    """
    known = set(connection.execute(select(lanes.c.name).where(lanes.c.name.in_(names))).scalars())
    if missing := sorted(names - known):
        insert_missing(connection, lanes, [{"name": name} for name in missing])


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add those of the rows that collide with none in a unique index; the others change nothing.

    Two processes may do it at once: one adds the row, and the other waits for its commit and finds it added. So that
    they never wait for each other, several rows must be given in one order.
    """
    given = [dict(row) for row in rows]
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - costs memory, and is loaded where it is used

        connection.execute(postgresql.insert(table).on_conflict_do_nothing(), given)
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), given)
