"""The requests to the REST API, without the org's address and the token. Pure.

Paths and bodies are those of the REST API Developer Guide: "sObject Collections", "Composite", "Query", "sObject
Describe". A call is one of the org's daily calls, however many records or parts it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson

from connectors.salesforce.records import DESCRIPTION, LONGEST_DESCRIPTION, Row, cut
from connectors.salesforce.settings import SalesforceRoute

MOST_ROWS = 200
"""Records that a collection takes."""
MOST_PARTS = 25
"""Parts that a composite takes; of queries among them five."""
MOST_QUERIES = 5
KEYS_PER_QUERY = 40
"""Keys that one query asks for, so that 200 of them are one composite."""

_JSON = {"Accept": "application/json", "Content-Type": "application/json"}
_REFERENCES = "@{}."  # in the address of a part they stand for what an earlier part gave, so they are not encoded


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceRequest:
    """A request to the org."""

    method: str
    path: str
    """Encoded, with its query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceActivity:
    """The event or task that an appointment becomes."""

    object: str
    """`Event` or `Task`."""
    fields: Mapping[str, Any]
    """Without whom it is with."""
    mark: str
    """Stands in its description, and in no other's: it is found again by it."""


def rule_headers(route: SalesforceRoute, *, is_new: bool, allow: bool = False) -> dict[str, str]:
    """Return the headers that steer assignment and duplicate rules.

    Salesforce runs assignment rules on updates too unless told not to ("Assignment Rule Header"). The duplicate rule
    header lets a record pass a rule that alerts; one that blocks still blocks.

    Args:
        route: The route's settings.
        is_new: Whether the records may be created.
        allow: Whether duplicates are to be saved, whatever the route says.
    """
    assigns = route.assignment == "always" or (route.assignment == "created" and is_new)
    headers = {"Sforce-Auto-Assign": "TRUE" if assigns else "FALSE"}
    # What is written into the record that it belongs to makes no duplicate that was not there before.
    if allow or route.duplicates == "allow" or (route.duplicates == "update" and not is_new):
        passes = "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"
        headers["Sforce-Duplicate-Rule-Header"] = passes
    return headers


class SalesforceRequests:
    """Makes the requests for one version of the API."""

    def __init__(self, api_version: str) -> None:
        self._base = f"/services/data/v{api_version}"

    def describe(self, name: str) -> SalesforceRequest:
        """Ask for an object's fields."""
        return SalesforceRequest("GET", f"{self._base}/sobjects/{name}/describe", {"Accept": "application/json"})

    def limits(self) -> SalesforceRequest:
        """Ask for the org's limits: it needs no right but to use the API."""
        return SalesforceRequest("GET", f"{self._base}/limits", {"Accept": "application/json"})

    def upsert(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Write rows, each by its key; the results come in their order."""
        kind = {"type": route.object}
        records = [{"attributes": kind, route.external_id: key, **fields} for key, fields in rows]
        path = f"{self._base}/composite/sobjects/{route.object}/{route.external_id}"
        return self._collection(path, records, headers)

    def update(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Write rows into records of known ids; the results come in their order."""
        kind = {"type": route.object}
        records = [{"attributes": kind, "id": record_id, **fields} for record_id, fields in rows]
        return self._collection(f"{self._base}/composite/sobjects", records, headers)

    def each(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Write rows, each as a request of its own: only the answer to such a one names a duplicate's match.

        Named by position. At most `MOST_PARTS`.
        """
        parts = [
            self._write(route, key, None, fields, headers, str(number)) for number, (key, fields) in enumerate(rows)
        ]
        return self._composite(parts, headers, all_or_none=False)

    def existing(
        self, route: SalesforceRoute, field_name: str, keys: Sequence[str], *, description: bool
    ) -> SalesforceRequest:
        """Ask which records have these values in a field. Named by position; at most `MOST_ROWS` keys."""
        names = ["Id"] + [field_name] * (field_name != "Id") + [DESCRIPTION] * description
        chunks = [keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY)]
        select = f"SELECT {', '.join(names)} FROM {route.object} WHERE {field_name} IN"  # noqa: S608 - values are quoted
        parts = [
            self._query(f"{select} ({', '.join(map(_literal, chunk))})", str(number))
            for number, chunk in enumerate(chunks)
        ]
        return self._composite(parts, {}, all_or_none=False)

    def look(self, row: Row, target: str | None, activity: SalesforceActivity) -> SalesforceRequest:
        """Ask for an appointment's record (`record`) and for what has been arranged with it (`activities`).

        Args:
            row: The appointment.
            target: The id of the record to write into, where it is not the one of the row's key.
            activity: What is to be created.
        """
        place = self._place(row.route, row.key, target)
        record = {"method": "GET", "url": f"{place}?fields=Id", "referenceId": "record"}
        # Descriptions are long texts, which a query can give and not search.
        select = f"SELECT Id, {DESCRIPTION} FROM {activity.object} WHERE {_who(row.route)} = '@{{record.Id}}'"  # noqa: S608 - no value in it
        return self._composite([record, self._query(select, "activities")], {}, all_or_none=False)

    def appointment(
        self,
        row: Row,
        target: str | None,
        fields: Mapping[str, Any],
        activity: SalesforceActivity | None,
        headers: Mapping[str, str],
    ) -> SalesforceRequest:
        """Write an appointment's record (`record`) and what is arranged with it (`activity`): both, or neither.

        Args:
            row: The appointment.
            target: The id of the record to write into, where it is not the one of the row's key.
            fields: What is written into the record.
            activity: The event or task; None where Salesforce has it already.
            headers: Of the record's part.
        """
        parts = [self._write(row.route, row.key, target, fields, headers, "record")]
        if activity is not None:
            who = target or "@{record.id}"
            url = f"{self._base}/sobjects/{activity.object}"
            made = {**activity.fields, _who(row.route): who}
            parts.append({"method": "POST", "url": url, "referenceId": "activity", "body": made})
        return self._composite(parts, headers, all_or_none=True)

    def _write(
        self,
        route: SalesforceRoute,
        key: str,
        target: str | None,
        fields: Mapping[str, Any],
        headers: Mapping[str, str],
        name: str,
    ) -> dict[str, Any]:
        return {
            "method": "PATCH",
            "url": self._place(route, key, target),
            "referenceId": name,
            "httpHeaders": headers,
            "body": fields,
        }

    def _place(self, route: SalesforceRoute, key: str, target: str | None) -> str:
        end = target or f"{route.external_id}/{quote(key, safe='')}"
        return f"{self._base}/sobjects/{route.object}/{end}"

    def _query(self, select: str, name: str) -> dict[str, Any]:
        return {"method": "GET", "url": f"{self._base}/query?q={quote(select, safe=_REFERENCES)}", "referenceId": name}

    def _collection(
        self, path: str, records: Sequence[Mapping[str, Any]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        document = {"allOrNone": False, "records": records}
        return SalesforceRequest("PATCH", path, {**_JSON, **headers}, orjson.dumps(document))

    def _composite(
        self, parts: Sequence[Mapping[str, Any]], headers: Mapping[str, str], *, all_or_none: bool
    ) -> SalesforceRequest:
        document = {"allOrNone": all_or_none, "compositeRequest": parts}
        return SalesforceRequest("POST", f"{self._base}/composite", {**_JSON, **headers}, orjson.dumps(document))


def salesforce_activity(row: Row, text: str, start: datetime | None, day: str) -> SalesforceActivity:
    """Return what an appointment becomes: an event where its start is known, else a task.

    Args:
        row: The appointment.
        text: What is said of it.
        start: When it begins; None where nobody knows.
        day: The day that the task is due, `YYYY-MM-DD`: the one on which the appointment was made.
    """
    mark = f"Leadbridge {row.record.id}"
    said = cut(text, LONGEST_DESCRIPTION - len(mark) - 2)
    fields: dict[str, Any] = {"Subject": "Appointment", DESCRIPTION: f"{said}\n\n{mark}" if said else mark}
    if start is None:
        return SalesforceActivity("Task", {**fields, "ActivityDate": day} if day else fields, mark)
    end = start + timedelta(minutes=row.route.appointment.minutes)
    times = {"StartDateTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "EndDateTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    return SalesforceActivity("Event", {**fields, **times}, mark)


def _who(route: SalesforceRoute) -> str:
    """Return the field of an activity that names whom it is with; what is not a person is what it is about."""
    return "WhoId" if route.object.lower() in ("lead", "contact") else "WhatId"


def _literal(text: str) -> str:
    r"""Quote a text for SOQL, which escapes with backslashes ("Quoted String Escape Sequences")."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"
