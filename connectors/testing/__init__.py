"""For authors of connectors: sandbox CRMs to write against, in tests and in `leadbridge demo`.

They run in the test's own event loop on loopback, speak real HTTP, are strict (what a real API would refuse, they
refuse), remember what arrived, and fail on request.
"""

from connectors.testing.contacts import Stored
from connectors.testing.faults import Fault, Faults
from connectors.testing.sandbox import Sandbox
from connectors.testing.serving import Arrival

__all__ = ["Arrival", "Fault", "Faults", "Sandbox", "Stored"]
