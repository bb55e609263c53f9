"""Short transactions beside a running `serve`, snapshots, and the inserts that several processes may do at once."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import sqlite
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from bridge.errors import StoreUnavailableError
from bridge.store.driver import Driver, raw
from bridge.store.schema import lanes

TURN: Final = f"pg_advisory_xact_lock({0x6C65616462726461})"
"""PostgreSQL: waits for accepts under way, and has later ones wait until the commit."""
BEGINNINGS: Final = 3
"""Number of attempts to begin a transaction. In each, the engine waits some seconds for a lock."""
_KEPT: Final = "leadbridge_kept"
"""Option of a connection: results of the snapshot under way, by function and arguments."""

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def reading_errors(driver: Driver) -> Iterator[None]:
    """Turn errors of the engine during a read into StoreUnavailableError."""
    try:
        yield
    except driver.errors as error:
        raise StoreUnavailableError(f"the store cannot be read: {driver.safe_error(error)}; try again") from error


@contextmanager
def snapshot(driver: Driver, connection: Connection) -> Iterator[None]:
    """Read one moment of the store, in which a function that is `read_once` reads once."""
    connection.execution_options(**{_KEPT: {}})
    try:
        with driver.snapshot(connection):
            yield
    finally:
        connection.execution_options(**{_KEPT: None})


def read_once(read: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate[Connection, P], T]:
    """Have a function keep its result until the end of a snapshot: several parts of a page ask for the same."""

    @functools.wraps(read)
    def reading(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        kept = connection.get_execution_options().get(_KEPT)
        if kept is None:
            return read(connection, *args, **kwargs)
        key = (read, *args, *kwargs.items())
        if key not in kept:
            kept[key] = read(connection, *args, **kwargs)
        found: T = kept[key]
        return found

    return reading


@contextmanager
def transaction(driver: Driver, *, queue: bool = True) -> Iterator[Connection]:
    """Run a transaction that commits at the end and rolls back on any exception. Raises StoreUnavailableError.

    Processes that serve the store notice the commit and read their queues again (`Driver.begin`). With `queue=False`,
    for a change that does not concern the queues, processes on PostgreSQL do not.
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
            # After an error, a transaction accepts no further statement.
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


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, except those that exist already by a unique index.

    If two processes insert a row at once, one waits for the commit of the other and finds the row. Sort the rows, so
    that the two never wait for each other.
    """
    new = [dict(row) for row in rows]
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - costs memory, and is loaded where it is used

        connection.execute(postgresql.insert(table).on_conflict_do_nothing(), new)
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), new)


def add_lanes(connection: Connection, names: AbstractSet[str]) -> None:
    """Add rows for lanes that have none.

    Call it before any row of a lane is locked: an insert waits for another process that inserts the same row.
    """
    known = set(connection.execute(select(lanes.c.name).where(lanes.c.name.in_(names))).scalars())
    if missing := sorted(names - known):
        insert_missing(connection, lanes, [{"name": name} for name in missing])
