"""Tools for authors of connectors: sandbox CRMs for tests and `leadbridge demo`, and the contract as tests.

The sandboxes run in the test's own event loop on loopback and speak real HTTP. They refuse everything that a real API
would refuse, record every request, and fail on demand.
"""

import importlib
from typing import TYPE_CHECKING

from connectors.testing.contacts import Stored
from connectors.testing.faults import Fault, Faults
from connectors.testing.sandbox import Sandbox
from connectors.testing.server import Arrival

if TYPE_CHECKING:
    from connectors.testing.contract import ConnectorContract
    from connectors.testing.hubspot import HubSpotSandbox
    from connectors.testing.salesforce import SalesforceSandbox

__all__ = [
    "Arrival",
    "ConnectorContract",
    "Fault",
    "Faults",
    "HubSpotSandbox",
    "SalesforceSandbox",
    "Sandbox",
    "Stored",
]

_LATER = {
    "ConnectorContract": "connectors.testing.contract",
    "HubSpotSandbox": "connectors.testing.hubspot",
    "SalesforceSandbox": "connectors.testing.salesforce",
}
"""Modules of names that are imported on demand: the contract needs pytest, the sandboxes jwt and email-validator."""


def __getattr__(name: str) -> object:
    """Import a name in `_LATER` on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
