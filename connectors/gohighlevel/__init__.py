"""The `gohighlevel` connector: writes leads into the contacts of a HighLevel location."""

from connectors.gohighlevel.connector import GoHighLevelConnector

__all__ = ["GoHighLevelConnector"]
