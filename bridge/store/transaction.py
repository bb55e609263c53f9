"""What a person changes: one short transaction, beside whoever serves the store."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import sqlite
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from bridge.errors import StoreUnavailableError
from bridge.store.driver import Driver, raw
from bridge.store.schema import lanes

TURN: Final = f"pg_advisory_xact_lock({0x6C65616462726461})"
"""PostgreSQL: waits for accepts under way, and has later ones wait until the commit."""


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


BEGINNINGS: Final = 3
"""How often a change tries to begin; each time the engine itself waits some seconds for a lock that another holds."""


@contextmanager
def transaction(driver: Driver, *, queue: bool = True) -> Iterator[Connection]:
    """Change something: commits at the end, changes nothing if anything is raised.

    Whoever serves the store notices it and reads its queues anew (`Driver.begin`); without `queue`, for what changes
    nothing in them, PostgreSQL's processes do not. Raises StoreUnavailableError.
    """
    connection = driver.connect()
    try:
        _begin(driver, connection, driver.begin if queue else driver.begin_own)
        yield connection
        raw(connection).execute("COMMIT")
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the store cannot be changed: {driver.safe_error(error)}; nothing of this change was kept"
        ) from error
    finally:
        # Rolls back what is not committed.
        connection.close()


def _begin(driver: Driver, connection: Connection, statement: str) -> None:
    def begin() -> None:
        try:
            raw(connection).execute(statement)
        except driver.errors:
            # A transaction in which something has failed takes nothing more.
            driver.roll_back(connection)
            raise

    tries = Retrying(stop=stop_after_attempt(BEGINNINGS), retry=retry_if_exception_type(driver.errors), reraise=True)
    try:
        tries(begin)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the store does not let a change begin: {driver.safe_error(error)}; nothing was changed. "
            "See what else uses it (a backup, a shell), then try again"
        ) from error
