"""Fixtures for tests of operations."""

import pytest
from sqlalchemy import Connection

from bridge.store.sqlite import SqliteDriver


@pytest.fixture
def connection(embedded: SqliteDriver) -> Connection:
    """A connection to an empty store."""
    return embedded.connect()
