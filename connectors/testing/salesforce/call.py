"""A parsed call of the REST API. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from connectors.testing.salesforce.problems import ProblemError, not_found, refused

_ROOT = ("", "services", "data")
_OLDEST = 31.0  # older versions are retired (REST API Developer Guide, API End-of-Life Policy)


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
    """Headers by name, in any case."""
    document: Any = None
    """The body as JSON; None if there is none."""

    @property
    def number(self) -> float:
        """Return the version as a number, for comparison."""
        return float(self.version)

    @property
    def root(self) -> str:
        """Return the path of the version."""
        return f"/services/data/v{self.version}"

    @property
    def record(self) -> Mapping[str, Any]:
        """Return the body if it is an object. Raises `ProblemError`."""
        if not isinstance(self.document, dict):
            raise refused(400, "JSON_PARSER_ERROR", "The body must be one JSON object")
        return self.document

    def allow(self, *methods: str) -> None:
        """Raise `ProblemError` for another method."""
        if self.method not in methods:
            raise method_not_allowed(self.method, *methods)


def read_target(target: str, newest: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Return version, parts and parameters of a path and query; the version is empty for the list of versions.

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
    """Return the 405 of an address for other methods."""
    message = f"HTTP Method '{method}' not allowed. Allowed are {','.join(methods)}"
    return refused(405, "METHOD_NOT_ALLOWED", message)
