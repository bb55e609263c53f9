"""The connectors that are installed, for the commands that show them."""

from bridge.config import discovery
from bridge.errors import OperatorError
from bridge.spelling import did_you_mean
from connectors.base import Connector


def connectors() -> dict[str, type[Connector]]:
    """Give all installed connectors by name. Raises OperatorError for one that cannot be loaded."""
    return {name: connector(name) for name in sorted(discovery.connector_entries())}


def connector(name: str) -> type[Connector]:
    """Load the connector of a name. Raises OperatorError where there is none, or it cannot be loaded."""
    entries = discovery.connector_entries()
    if name not in entries:
        hint = did_you_mean(name, entries) or f"; installed: {', '.join(sorted(entries)) or 'none'}"
        raise OperatorError(f"there is no connector `{name}`{hint}")
    try:
        return discovery.connector_class(entries[name])
    except ImportError as error:
        raise OperatorError(f"{error}; install it anew, or remove the package that brings it") from error
