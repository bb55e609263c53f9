"""The store that most tests use, on one engine or on both."""

import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy.engine import make_url

from bridge.admin.query_threads import QueryThreads
from bridge.store.driver import Driver
from bridge.store.preparation import migrate
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from tests.folders import fast_folder

ENGINES = ("sqlite", "postgresql")

settings.register_profile("no wall clock", deadline=None)  # a busy machine is no fault of the program
settings.load_profile("no wall clock")


def pytest_configure(config: pytest.Config) -> None:
    """Put temporary folders into memory, except for the tests of the real program, which are about disks too."""
    if not any("acceptance" in each for each in config.args):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(fast_folder()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a store on SQLite, or once per engine where it is marked `each_engine`."""
    marked = metafunc.definition.get_closest_marker
    if "driver" in metafunc.fixturenames and not marked("own_engine"):
        metafunc.parametrize("driver", ENGINES if marked("each_engine") else ENGINES[:1], indirect=True)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated store with nothing in it. To make one takes 17 ms of processor and some forty syncs of the disk."""
    path = tmp_path_factory.mktemp("empty") / "leadbridge.db"
    engine = SqliteDriver(make_url(f"sqlite:///{path}")).engine()
    migrate(engine)
    engine.dispose()
    return path.read_bytes()


@pytest.fixture
def embedded(tmp_path: Path, empty_store: bytes) -> SqliteDriver:
    """SQLite, with an empty, migrated store."""
    made = SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db"))
    made.path.write_bytes(empty_store)
    made.path.chmod(0o600)
    return made


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a PostgreSQL database with an empty, migrated store."""
    from tests import postgresql

    with postgresql.database() as url:
        yield url
        left = [each for each in threading.enumerate() if each.name == "store-listener"]
        assert not left, "a store was not closed: its listener would write to the log of each later test"


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Driver:
    """An engine with an empty, migrated store."""
    if request.param == "sqlite":
        embedded: SqliteDriver = request.getfixturevalue("embedded")
        return embedded
    from tests.postgresql import ToldDriver

    return ToldDriver(request.getfixturevalue("database"))


@pytest.fixture
async def store(driver: Driver) -> AsyncIterator[SqlStore]:
    """A store that is open."""
    opened = SqlStore(driver)
    yield opened
    await opened.close()


@pytest.fixture
async def embedded_store(embedded: SqliteDriver) -> AsyncIterator[SqlStore]:
    """A store that is open, on SQLite."""
    opened = SqlStore(embedded)
    yield opened
    await opened.close()


@pytest.fixture
async def query_threads(driver: Driver) -> AsyncIterator[QueryThreads]:
    """The threads that read a store for operators."""
    made = QueryThreads(driver)
    yield made
    await made.close()
