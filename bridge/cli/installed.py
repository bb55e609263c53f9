"""The connectors that are installed, and those of plugin folders, for the commands that show them."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint

from bridge.config import discovery
from bridge.errors import OperatorError
from bridge.spelling import did_you_mean
from connectors.base import Connector


def connectors(entries: Mapping[str, EntryPoint] | None = None) -> dict[str, type[Connector]]:
    """Give all connectors by name: all installed ones, or those of the entries.

    Raises:
        OperatorError: one of them cannot be loaded.
    """
    found = discovery.connector_entries() if entries is None else entries
    return {name: connector(name, found) for name in sorted(found)}


def connector(name: str, entries: Mapping[str, EntryPoint] | None = None) -> type[Connector]:
    """Load the connector of a name, as `connectors` does.

    Raises:
        OperatorError: there is none, or it cannot be loaded.
    """
    found = discovery.connector_entries() if entries is None else entries
    if name not in found:
        hint = did_you_mean(name, found) or f"; installed: {', '.join(sorted(found)) or 'none'}"
        raise OperatorError(f"there is no connector `{name}`{hint}")
    try:
        return discovery.connector_class(found[name])
    except ImportError as error:
        raise OperatorError(f"{error}; install it anew, or remove the package that brings it") from error
