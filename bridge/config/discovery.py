"""Finding connectors and transforms: by their entry points, never by importing them."""

import importlib.metadata
from collections.abc import Mapping

from connectors.base import Connector, DestinationSettings, RouteSettings

GROUP = "leadbridge.connectors"
TRANSFORMS = "leadbridge.transforms"


def connector_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Give the entry points of all installed connectors by name; none of them is loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def connector_class(entry: importlib.metadata.EntryPoint) -> type[Connector]:
    """Load a connector.

    Raises:
        ImportError: it cannot be loaded, or what is there is no connector; the message is meant for a person.
    """
    try:
        found = entry.load()
    except Exception as error:  # whatever a foreign module does while it is imported
        raise ImportError(f"the connector `{entry.name}` ({entry.value}) cannot be loaded: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise ImportError(f"`{entry.value}` is not a subclass of connectors.base.Connector")  # noqa: TRY004 - see Raises
    for name, wanted in (("destination_settings", DestinationSettings), ("route_settings", RouteSettings)):
        settings = getattr(found, name, None)
        if not (isinstance(settings, type) and issubclass(settings, wanted)):
            wrong = f"`{entry.value}` needs a {name}: a subclass of connectors.base.{wanted.__name__}"
            raise ImportError(wrong)  # noqa: TRY004 - see Raises
    return found


def transform_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Give the entry points of all installed modules with transforms by name; none of them is loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=TRANSFORMS)}
