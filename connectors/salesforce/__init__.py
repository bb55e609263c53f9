"""The `salesforce` connector: writes leads, or any other object, and appointments into a Salesforce org."""

from connectors.salesforce.connector import SalesforceConnector

__all__ = ["SalesforceConnector"]
