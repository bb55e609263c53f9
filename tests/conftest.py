"""What most tests stand on: a store on each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bridge.store.driver import Driver
from bridge.store.migrate import migrate
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """An engine with an empty, migrated store."""
    made = SqliteDriver(make_url(f"sqlite:///{tmp_path}/leadbridge.db"))
    migrate(made.engine())
    return made


@pytest.fixture
async def store(driver: Driver) -> AsyncIterator[SqlStore]:
    """A store that is open."""
    opened = SqlStore(driver)
    yield opened
    await opened.close()
