"""The duplicate rule of the org: its matches, and its errors. Pure.

A rule matches leads with leads and contacts with contacts, by e-mail. A rule that alerts lets a record through if the
call allows it; a rule that blocks never does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectors.testing.salesforce.options import Options
from connectors.testing.salesforce.problems import Problem
from connectors.testing.salesforce.rows import Row

_MESSAGE = "Use one of these records?"

Mode = Literal["none", "alert", "block"]


@dataclass(slots=True)
class DuplicateRule:
    """The org's rule. A test may change its mode at any time."""

    mode: Mode = "none"
    spelling: Literal["duplicateResut", "duplicateResult"] = "duplicateResut"
    """The key in the answer: older versions of the API lack the `l`."""

    def problem(self, object_name: str, matches: Sequence[Row], options: Options, version: str) -> Problem | None:
        """Return the problem of a record with these matches; None if it may be written."""
        if self.mode == "none" or not matches or (self.mode == "alert" and options.allow_save):
            return None
        found = {
            "entityType": object_name,
            "errors": [],
            "matchEngine": "ExactMatchEngine",
            "matchRecords": [_match(each, options, version) for each in matches],
            "rule": f"Standard_{object_name}_Match_Rule_v1_0",
            "size": len(matches),
            "success": True,
        }
        result = {
            "allowSave": self.mode == "alert",
            "duplicateRule": f"Standard_{object_name}_Duplicate_Rule",
            "duplicateRuleEntityType": object_name,
            "errorMessage": _MESSAGE,
            "matchResults": [found],
        }
        return Problem("DUPLICATES_DETECTED", _MESSAGE, (), {self.spelling: result})


def _match(row: Row, options: Options, version: str) -> dict[str, Any]:
    details = row.fields if options.record_details else {"Id": row.id}
    record = {"attributes": row.attributes(version), **details}
    return {"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": record}
