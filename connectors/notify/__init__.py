"""The `notify` connector: sends each lead to people, as an e-mail, a chat message or an SMS."""

from connectors.notify.connector import NotifyConnector

__all__ = ["NotifyConnector"]
