"""The options in the Sforce headers of a call. Pure.

From the REST API Developer Guide, Headers: Duplicate Rule Header (52.0 and later) and Assignment Rule Header.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.testing.salesforce.problems import refused
from connectors.testing.salesforce.values import full_id

_DUPLICATES = "sforce-duplicate-rule-header"
_ASSIGNMENT = "sforce-auto-assign"
_DUPLICATES_SINCE = 52.0
_KNOWN = ("allowsave", "includerecorddetails", "runascurrentuser")


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
