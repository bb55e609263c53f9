"""Fixtures for tests of connectors."""

from collections.abc import AsyncIterator

import pytest

from connectors.testing import Sandbox
from tests.connectors.building import Certificates


@pytest.fixture
async def crm() -> AsyncIterator[Sandbox]:
    """A sandbox CRM that finds its contacts by e-mail."""
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A private certificate authority and what it has signed."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
