"""The requests to the REST API, without the org's address and the token, and the activities of appointments. Pure.

Paths and bodies are those of the REST API Developer Guide: "sObject Collections", "Composite", "Query", "sObject
Describe". A call counts as one of the org's daily calls, however many records or parts it has.
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
"""Maximum number of records in a collection."""
MOST_PARTS = 25
"""Maximum number of parts in a composite; at most five of them queries."""
MOST_QUERIES = 5
KEYS_PER_QUERY = 40
"""Number of keys in one query, so that 200 of them fit into one composite."""

_JSON = {"Accept": "application/json", "Content-Type": "application/json"}
_REFERENCES = "@{}."  # references to the results of earlier parts, which must not be encoded


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceRequest:
    """A request to the org."""

    method: str
    path: str
    """Encoded path with its query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceActivity:
    """The event or task that an appointment becomes."""

    object: str
    """`Event` or `Task`."""
    fields: Mapping[str, Any]
    """Fields without the person concerned."""
    mark: str
    """Text in its description, and in no other's, by which it is found."""


def rule_headers(route: SalesforceRoute, *, is_new: bool, allow: bool = False) -> dict[str, str]:
    """Return the headers that control assignment and duplicate rules.

    Salesforce runs assignment rules on updates too, unless a header forbids it ("Assignment Rule Header"). The
    duplicate rule header lets a record pass a rule that alerts; a rule that blocks still blocks.

    Args:
        route: Settings of the route.
        is_new: True if the records may be created.
        allow: True to save duplicates, whatever the route says.
    """
    assigns = route.assignment == "always" or (route.assignment == "created" and is_new)
    headers = {"Sforce-Auto-Assign": "TRUE" if assigns else "FALSE"}
    # A write into the matching record creates no new duplicate.
    if allow or route.duplicates == "allow" or (route.duplicates == "update" and not is_new):
        passes = "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"
        headers["Sforce-Duplicate-Rule-Header"] = passes
    return headers


class SalesforceRequests:
    """Builder of requests for one version of the API."""

    def __init__(self, api_version: str) -> None:
        self._base = f"/services/data/v{api_version}"

    def describe(self, name: str) -> SalesforceRequest:
        """Return the request for an object's fields."""
        return SalesforceRequest("GET", f"{self._base}/sobjects/{name}/describe", {"Accept": "application/json"})

    def limits(self) -> SalesforceRequest:
        """Return the request for the org's limits, which needs no right except to use the API."""
        return SalesforceRequest("GET", f"{self._base}/limits", {"Accept": "application/json"})

    def upsert(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Return the request that writes rows by their keys; the results have the same order."""
        kind = {"type": route.object}
        records = [{"attributes": kind, route.external_id: key, **fields} for key, fields in rows]
        path = f"{self._base}/composite/sobjects/{route.object}/{route.external_id}"
        return self._collection(path, records, headers)

    def update(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Return the request that writes rows into records of known ids; the results have the same order."""
        kind = {"type": route.object}
        records = [{"attributes": kind, "id": record_id, **fields} for record_id, fields in rows]
        return self._collection(f"{self._base}/composite/sobjects", records, headers)

    def each(
        self, route: SalesforceRoute, rows: Sequence[tuple[str, Mapping[str, Any]]], headers: Mapping[str, str]
    ) -> SalesforceRequest:
        """Return the request that writes rows as separate parts: only such an answer names a duplicate's match.

        Parts are named by position. At most `MOST_PARTS`.
        """
        parts = [
            self._write(route, key, None, fields, headers, str(number)) for number, (key, fields) in enumerate(rows)
        ]
        return self._composite(parts, headers, all_or_none=False)

    def existing(
        self, route: SalesforceRoute, field_name: str, keys: Sequence[str], *, description: bool
    ) -> SalesforceRequest:
        """Return the query for records with these values in a field: parts named by position, `MOST_ROWS` keys."""
        names = ["Id"] + [field_name] * (field_name != "Id") + [DESCRIPTION] * description
        chunks = [keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY)]
        select = f"SELECT {', '.join(names)} FROM {route.object} WHERE {field_name} IN"  # noqa: S608 - values are quoted
        parts = [
            self._query(f"{select} ({', '.join(map(_literal, chunk))})", str(number))
            for number, chunk in enumerate(chunks)
        ]
        return self._composite(parts, {}, all_or_none=False)

    def look(self, row: Row, target: str | None, activity: SalesforceActivity) -> SalesforceRequest:
        """Return the query for an appointment's record (`record`) and its activities (`activities`).

        Args:
            row: The appointment.
            target: Record ID to write into, if it is not the record of the row's key.
            activity: Activity to create.
        """
        place = self._place(row.route, row.key, target)
        record = {"method": "GET", "url": f"{place}?fields=Id", "referenceId": "record"}
        # Descriptions are long texts, which a query can return but not search.
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
        """Return the request that writes an appointment (`record`) and its activity (`activity`): both, or neither.

        Args:
            row: The appointment.
            target: Record ID to write into, if it is not the record of the row's key.
            fields: Fields of the record.
            activity: The event or task; None if it exists already.
            headers: Headers of the record's part.
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
    """Return the activity of an appointment: an event if its start is known, else a task.

    Args:
        row: The appointment.
        text: Text for the description.
        start: Start of the appointment; None if unknown.
        day: Due day of the task, `YYYY-MM-DD`: the day on which the appointment was made.
    """
    mark = f"Leadbridge {row.record.id}"
    description = cut(text, LONGEST_DESCRIPTION - len(mark) - 2)
    fields: dict[str, Any] = {
        "Subject": "Appointment",
        DESCRIPTION: f"{description}\n\n{mark}" if description else mark,
    }
    if start is None:
        return SalesforceActivity("Task", {**fields, "ActivityDate": day} if day else fields, mark)
    end = start + timedelta(minutes=row.route.appointment.minutes)
    times = {"StartDateTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "EndDateTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    return SalesforceActivity("Event", {**fields, **times}, mark)


def _who(route: SalesforceRoute) -> str:
    """Return the field of an activity that names its person, or its subject if the record is not a person."""
    return "WhoId" if route.object.lower() in ("lead", "contact") else "WhatId"


def _literal(text: str) -> str:
    r"""Return a text quoted for SOQL, which escapes with backslashes ("Quoted String Escape Sequences")."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"
