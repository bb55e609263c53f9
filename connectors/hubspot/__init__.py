"""The `hubspot` connector: writes leads and appointments into a HubSpot account."""

from connectors.hubspot.connector import HubSpotConnector

__all__ = ["HubSpotConnector"]
