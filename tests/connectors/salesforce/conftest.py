"""Fixtures for tests of the Salesforce connector."""

from collections.abc import AsyncIterator

import pytest

from connectors.salesforce import SalesforceConnector
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import connector


@pytest.fixture
async def org() -> AsyncIterator[SalesforceSandbox]:
    """An org in which time stands still."""
    async with SalesforceSandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
async def target(org: SalesforceSandbox) -> AsyncIterator[SalesforceConnector]:
    """A connector to the org."""
    made = connector(org)
    yield made
    await made.close()
