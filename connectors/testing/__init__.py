"""For authors of connectors: sandbox CRMs to write against, in tests and in `leadbridge demo`, and their contract.

They run in the test's own event loop on loopback, speak real HTTP, are strict (what a real API would refuse, they
refuse), remember what arrived, and fail on request.
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
"""Where to import from what not everybody needs: the contract needs pytest, the sandboxes jwt and email-validator."""


def __getattr__(name: str) -> object:
    """Import what is in `_LATER` when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
