"""A store with any number of pending deliveries: one that the program has made itself, many times over."""

import contextlib
import sqlite3
from pathlib import Path

import psycopg

_NUMBERS = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)"


def multiply(path: Path, count: int) -> None:
    """Copy the newest event and its delivery so many times, each for a contact of its own. Nobody may have it open."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        (first,) = connection.execute("SELECT max(seq) FROM events").fetchone()
        _copy(connection, "events", {"seq": ":first + n", "id": "randomblob(16)"}, first, count)
        delivery = {"id": "(SELECT max(id) FROM deliveries) + n", "event_seq": ":first + n", "contact": "random() >> 1"}
        _copy(connection, "deliveries", delivery, first, count)


def multiply_in_database(url: str, count: int) -> None:
    """Do the same in PostgreSQL, and have the server know how large its tables are. Nobody may write meanwhile."""
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        (first,) = connection.execute("SELECT max(seq) FROM events").fetchone() or (0,)
        event = {"seq": "nextval('events_seq_seq')", "id": "decode(replace(gen_random_uuid()::text, '-', ''), 'hex')"}
        _copy_in_database(connection, "events", event, first, count)
        delivery = {
            "id": "nextval('deliveries_id_seq')",
            "event_seq": "t.event_seq + n",
            "contact": "(random() * 9e18)::bigint",
        }
        _copy_in_database(connection, "deliveries", delivery, first, count)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) events")
        connection.execute("VACUUM (ANALYZE) deliveries")
        connection.execute("CHECKPOINT")


def _copy_in_database(
    connection: "psycopg.Connection[tuple[object, ...]]", table: str, changed: dict[str, str], first: int, count: int
) -> None:
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
    names = [str(row[0]) for row in connection.execute(columns, (table,))]
    given = {name: changed.get(name, f"t.{name}") for name in names}
    key = "seq" if table == "events" else "event_seq"
    statement = (
        f"INSERT INTO {table} ({', '.join(given)}) SELECT {', '.join(given.values())} "
        f"FROM generate_series(1, {count}) AS n, {table} t WHERE t.{key} = {first} ORDER BY n"
    )
    connection.execute(statement.encode())


def _copy(connection: sqlite3.Connection, table: str, changed: dict[str, str], first: int, count: int) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changed.get(name, name) for name in names)
    key = "seq" if table == "events" else "event_seq"
    # In order of the numbers: rows come to lie side by side, as those do that are accepted one after the other.
    connection.execute(
        f"INSERT INTO {table} ({', '.join(names)}) {_NUMBERS} "
        f"SELECT {values} FROM number CROSS JOIN {table} WHERE {key} = :first ORDER BY n",
        {"count": count, "first": first},
    )
