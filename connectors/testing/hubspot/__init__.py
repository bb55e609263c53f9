"""A HubSpot account in memory (`HubSpotSandbox`), and HubSpot's typical faults (`faults`)."""

from connectors.testing.hubspot import faults
from connectors.testing.hubspot.auth import OAuthApp
from connectors.testing.hubspot.limits import Limits
from connectors.testing.hubspot.sandbox import ACCESS_TOKEN, HubSpotSandbox
from connectors.testing.hubspot.schema import ObjectType, Property
from connectors.testing.hubspot.store import StoredObject

__all__ = [
    "ACCESS_TOKEN",
    "HubSpotSandbox",
    "Limits",
    "OAuthApp",
    "ObjectType",
    "Property",
    "StoredObject",
    "faults",
]
