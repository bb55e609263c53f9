"""Fixtures for tests of alerts and reports."""

from collections.abc import AsyncIterator

import pytest

from tests.alerts.test_watch import Target


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A service that takes messages."""
    made = Target()
    await made.server.start_server()
    yield made
    await made.server.close()
