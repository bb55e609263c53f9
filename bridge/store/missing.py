"""Rows that are added only where there are none yet, in the words of each engine."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite


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
