"""The `zoho` connector: writes leads into the modules of a Zoho CRM account."""

from connectors.zoho.connector import ZohoConnector

__all__ = ["ZohoConnector"]
