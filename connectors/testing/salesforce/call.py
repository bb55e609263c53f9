"""A parsed call of the REST API, and the options in its Sforce headers. Pure.

From the REST API Developer Guide, Headers: Duplicate Rule Header (52.0 and later) and Assignment Rule Header.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from connectors.testing.salesforce.problems import ProblemError, not_found, refused
from connectors.testing.salesforce.values import full_id

_ROOT = ("", "services", "data")
_OLDEST = 31.0  # older versions are retired (REST API Developer Guide, API End-of-Life Policy)

_DUPLICATES = "sforce-duplicate-rule-header"
_ASSIGNMENT = "sforce-auto-assign"
_DUPLICATES_SINCE = 52.0
_KNOWN = ("allowsave", "includerecorddetails", "runascurrentuser")


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


@dataclass(frozen=True, slots=True)
class Options:
    """Options for the write of a record."""

    allow_save: bool = False
    """True to write in spite of a duplicate rule that only alerts."""
    record_details: bool = False
    """True to return all fields of a duplicate, not only its id."""
    as_user: bool = False
    """True to let a duplicate rule find only records that the user may see; else it finds all."""
    assign: bool = True
    """True to run the lead assignment rule. The default applies to updates too."""


def read_options(headers: Mapping[str, str], version: float) -> Options:
    """Return the options in the headers of a call, or of a part of a composite. Raises `ProblemError`.

    Args:
        headers: By name, in any case.
        version: API version of the call.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    rule = _pairs(by_name.get(_DUPLICATES, "")) if version >= _DUPLICATES_SINCE else {}
    return Options(
        allow_save=rule.get("allowsave", False),
        record_details=rule.get("includerecorddetails", False),
        as_user=rule.get("runascurrentuser", False),
        assign=_assigns(by_name.get(_ASSIGNMENT, "TRUE")),
    )


def _pairs(value: str) -> dict[str, bool]:
    found = {}
    for part in filter(None, map(str.strip, value.replace(",", ";").split(";"))):
        name, _, said = part.partition("=")
        if name.strip().lower() not in _KNOWN or said.strip().lower() not in ("true", "false"):
            raise refused(400, "INVALID_HEADER", f"Sforce-Duplicate-Rule-Header: cannot read {part}")
        found[name.strip().lower()] = said.strip().lower() == "true"
    return found


def _assigns(value: str) -> bool:
    said = value.strip()
    if said.lower() in ("true", "false"):
        return said.lower() == "true"
    if full_id(said) is not None and said.startswith("01Q"):
        return True
    raise refused(400, "INVALID_ID_FIELD", "Sforce-Auto-Assign: must be TRUE, FALSE or the id of an assignment rule")
