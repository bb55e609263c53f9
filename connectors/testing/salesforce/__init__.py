"""The Salesforce sandbox: an org in memory behind real HTTP on loopback, for tests and for `leadbridge demo`."""

from connectors.testing.salesforce import faults
from connectors.testing.salesforce.objects import Field
from connectors.testing.salesforce.rows import Row
from connectors.testing.salesforce.sandbox import SalesforceSandbox
from connectors.testing.salesforce.tokens import Client

__all__ = ["Client", "Field", "Row", "SalesforceSandbox", "faults"]
