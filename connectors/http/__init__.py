"""The `http` connector: writes leads into any HTTP API, as its settings describe it."""

from connectors.http.connector import HttpConnector

__all__ = ["HttpConnector"]
