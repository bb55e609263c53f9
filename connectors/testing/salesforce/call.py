"""A call of the REST API, taken apart. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from connectors.testing.salesforce.problems import ProblemError, not_found, refused

_ROOT = ("", "services", "data")
_OLDEST = 31.0  # what is older has been retired (REST API Developer Guide, API End-of-Life Policy)


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or one part of a composite call."""

    method: str
    version: str
    """Such as `68.0`."""
    parts: tuple[str, ...]
    """The path below the version, decoded; without an empty one at the end."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By names in any case."""
    document: Any = None
    """The body, read as JSON; None where there is none."""

    @property
    def number(self) -> float:
        """The version, to be compared."""
        return float(self.version)

    @property
    def root(self) -> str:
        """The path of the version."""
        return f"/services/data/v{self.version}"

    @property
    def record(self) -> Mapping[str, Any]:
        """The body, where it must be an object. Raises `ProblemError`."""
        if not isinstance(self.document, dict):
            raise refused(400, "JSON_PARSER_ERROR", "The body must be one JSON object")
        return self.document

    def allow(self, *methods: str) -> None:
        """Refuse another method. Raises `ProblemError`."""
        if self.method not in methods:
            raise method_not_allowed(self.method, *methods)


def read_target(target: str, newest: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Read path and query into version, parts and parameters; the version is empty for the list of versions.

    Raises:
        ProblemError: 410 for a retired version (GONE), 404 for an unknown one or another path.
    """
    path, _, query = target.partition("?")
    parts = [unquote(each) for each in path.split("/")]
    if len(parts) > len(_ROOT) and not parts[-1]:
        parts.pop()
    if tuple(parts[: len(_ROOT)]) != _ROOT:
        raise not_found()
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if len(parts) == len(_ROOT):
        return "", (), parameters
    version = parts[len(_ROOT)].removeprefix("v")
    whole, _, fraction = version.partition(".")
    if parts[len(_ROOT)] == version or not whole.isdecimal() or fraction != "0" or float(version) > float(newest):
        raise not_found()
    if float(version) < _OLDEST:
        raise refused(410, "GONE", f"API version {version} has been retired. Use a newer version of the API.")
    return version, tuple(parts[len(_ROOT) + 1 :]), parameters


def method_not_allowed(method: str, *methods: str) -> ProblemError:
    """Make the 405 of an address that takes other methods."""
    message = f"HTTP Method '{method}' not allowed. Allowed are {','.join(methods)}"
    return refused(405, "METHOD_NOT_ALLOWED", message)
