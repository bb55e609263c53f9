"""For authors of connectors: sandbox CRMs to write against, in tests and in `leadbridge demo`, and their contract.

They run in the test's own event loop on loopback, speak real HTTP, are strict (what a real API would refuse, they
refuse), remember what arrived, and fail on request.
"""

from typing import TYPE_CHECKING

from connectors.testing.contacts import Stored
from connectors.testing.faults import Fault, Faults
from connectors.testing.sandbox import Sandbox
from connectors.testing.serving import Arrival

if TYPE_CHECKING:
    from connectors.testing.contract import ConnectorContract

__all__ = ["Arrival", "ConnectorContract", "Fault", "Faults", "Sandbox", "Stored"]


def __getattr__(name: str) -> object:
    """Import the contract when it is asked for: it needs pytest, which the demo does without."""
    if name != "ConnectorContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors.testing.contract import ConnectorContract  # noqa: PLC0415 - see above

    return ConnectorContract
