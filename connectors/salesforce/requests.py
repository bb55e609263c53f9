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

from connectors.activities import stated_time
from connectors.salesforce.descriptions import cut
from connectors.salesforce.records import DESCRIPTION, LONGEST_DESCRIPTION, Row
from connectors.salesforce.settings import SalesforceRoute

MOST_ROWS = 200
"""Maximum number of records in a collection."""
MOST_PARTS = 25
"""Maximum number of parts in a composite; at most five of them queries."""
MOST_QUERIES = 5
_KEYS_PER_QUERY = 40
"""Number of keys in one query, so that 200 of them fit into one composite."""

_LONGEST_SUBJECT = 255
_PRIORITIES = {"low": "Low", "medium": "Normal", "high": "High"}
_QUEUE = "00G"  # begins the ids of queues, which own leads and tasks only
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
    rows: Sequence[Mapping[str, Any]] = ()
    """Rows of a collection, in the order of the results."""


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
    rules = route.assignment == "always" or (route.assignment == "created" and is_new)
    assigns = rules and route.owner is None  # a rule would replace the owner
    headers = {"Sforce-Auto-Assign": "TRUE" if assigns else "FALSE"}
    # A write into the matching record creates no new duplicate.
    if allow or route.duplicates == "allow" or (route.duplicates == "update" and not is_new):
        passes = "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"
        headers["Sforce-Duplicate-Rule-Header"] = passes
    return headers


@dataclass(frozen=True, slots=True, repr=False)
class Selection:
    """The choice of an object's records by their values in a field."""

    object: str
    field: str
    keys: Sequence[str]
    names: Sequence[str] = ()
    """Further fields to read."""
    where: str = ""
    """Further condition, without values of a lead."""
    newest_first: bool = False

    @property
    def head(self) -> str:
        """Return the query up to its keys."""
        names = dict.fromkeys(("Id", self.field, *self.names))
        return f"SELECT {', '.join(names)} FROM {self.object} WHERE {self.field} IN"  # noqa: S608 - values are quoted

    @property
    def tail(self) -> str:
        """Return the query after its keys."""
        where = f" AND {self.where}" if self.where else ""
        return where + (" ORDER BY CreatedDate DESC" if self.newest_first else "")

    def chunks(self, size: int) -> list[Sequence[str]]:
        """Return the keys of each query."""
        return [self.keys[start : start + size] for start in range(0, len(self.keys), size)]

    def parts(self, number: int, size: int) -> list[str]:
        """Return the names of its parts in the answer, as the selection with this number."""
        return [f"q{number}x{chunk}" for chunk in range(-(-len(self.keys) // size))]


def keys_per_query(selections: Sequence[Selection]) -> int:
    """Return the number of keys in each query, so that all of them fit into one composite."""
    size = _KEYS_PER_QUERY
    while sum(-(-len(each.keys) // size) for each in selections) > MOST_QUERIES:
        size += _KEYS_PER_QUERY
    return size


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
        self,
        route: SalesforceRoute,
        rows: Sequence[tuple[str, str | None, Mapping[str, Any]]],
        headers: Mapping[str, str],
    ) -> SalesforceRequest:
        """Return the request that writes rows as separate parts: only such an answer names a duplicate's match.

        Parts are named by position. At most `MOST_PARTS`. A row is a key, the id of the record if it is another one
        than that of the key, and fields.
        """
        parts = [
            self._write(route, key, target, fields, headers, str(number))
            for number, (key, target, fields) in enumerate(rows)
        ]
        return self._composite(parts, headers, all_or_none=False)

    def select(self, selections: Sequence[Selection]) -> SalesforceRequest:
        """Return the request for the records of several selections; `Selection.parts` names the parts of the answer."""
        size = keys_per_query(selections)
        parts = [
            self._query(f"{each.head} ({', '.join(map(_literal, chunk))}){each.tail}", name)
            for number, each in enumerate(selections)
            for name, chunk in zip(each.parts(number, size), each.chunks(size), strict=True)
        ]
        return self._composite(parts, {}, all_or_none=False)

    def create(self, rows: Sequence[Mapping[str, Any]]) -> SalesforceRequest:
        """Return the request that creates records, each with its `attributes`; the results have the same order."""
        document = {"allOrNone": False, "records": rows}
        path = f"{self._base}/composite/sobjects"
        return SalesforceRequest("POST", path, {**_JSON, "Sforce-Auto-Assign": "FALSE"}, orjson.dumps(document), rows)

    def together(self, requests: Sequence[SalesforceRequest]) -> SalesforceRequest:
        """Return one request for several collections, each as a part named by its position. At most `MOST_QUERIES`."""
        parts = [
            {
                "method": each.method,
                "url": each.path,
                "referenceId": str(number),
                "httpHeaders": {name: value for name, value in each.headers.items() if name not in _JSON},
                "body": orjson.Fragment(each.body or b"{}"),
            }
            for number, each in enumerate(requests)
        ]
        return self._composite(parts, {}, all_or_none=False)

    def look(
        self, row: Row, target: str | None, activity: SalesforceActivity, names: Sequence[str] = ()
    ) -> SalesforceRequest:
        """Return the query for an appointment's record (`record`) and its activities (`activities`).

        Args:
            row: The appointment.
            target: Record ID to write into, if it is not the record of the row's key.
            activity: Activity to create.
            names: Fields of the record to read.
        """
        place = self._place(row.route, row.key, target)
        fields = quote(",".join(dict.fromkeys(("Id", *names))), safe="")
        record = {"method": "GET", "url": f"{place}?fields={fields}", "referenceId": "record"}
        # Descriptions are long texts, which a query can return but not search.
        select = f"SELECT Id, {DESCRIPTION} FROM {activity.object} WHERE {who_field(row.route)} = '@{{record.Id}}'"  # noqa: S608 - no value in it
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
            made = {**activity.fields, who_field(row.route): who}
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
        return SalesforceRequest("PATCH", path, {**_JSON, **headers}, orjson.dumps(document), records)

    def _composite(
        self, parts: Sequence[Mapping[str, Any]], headers: Mapping[str, str], *, all_or_none: bool
    ) -> SalesforceRequest:
        document = {"allOrNone": all_or_none, "compositeRequest": parts}
        return SalesforceRequest("POST", f"{self._base}/composite", {**_JSON, **headers}, orjson.dumps(document))


def salesforce_activity(row: Row) -> SalesforceActivity:
    """Return the activity of an appointment: an event if its start is known, else a task on the day it was made."""
    plan = row.appointment
    if plan is None:
        raise ValueError("the event is no appointment")
    mark = row_mark(row)
    text = str(row.record.event.get("Content") or "") if row.route.remark is None else row.remark
    fields: dict[str, Any] = {"Subject": plan.title, **_marked(text, mark)}
    if row.opportunity:
        fields["WhatId"] = row.opportunity
    if row.owner and (plan.start is None or not row.owner.startswith(_QUEUE)):
        fields["OwnerId"] = row.owner
    if plan.start is None or plan.end is None:
        day = {"ActivityDate": f"{plan.created:%Y-%m-%d}"} if plan.created else {}
        return SalesforceActivity("Task", fields | day, mark)
    fields |= {"StartDateTime": salesforce_time(plan.start), "EndDateTime": salesforce_time(plan.end)}
    if plan.location:
        fields["Location"] = cut(plan.location, _LONGEST_SUBJECT)
    if plan.category:
        fields["Type"] = plan.category
    if plan.reminder:
        fields |= {"IsReminderSet": True, "ReminderDateTime": salesforce_time(plan.reminder)}
    return SalesforceActivity("Event", fields, mark)


def salesforce_task(row: Row, person: str) -> dict[str, Any]:
    """Return the follow-up task of a lead as a row of a collection.

    Args:
        row: The lead; its route has a follow-up.
        person: Record ID of the lead or contact.
    """
    task, created = row.route.follow_up, stated_time(row.record.event)
    if task is None:
        raise ValueError("the route has no follow-up")
    fields: dict[str, Any] = {
        "attributes": {"type": "Task"},
        who_field(row.route): person,
        "Subject": cut(row.subject, _LONGEST_SUBJECT) or "Follow up",
        **_marked(row.remark, row_mark(row)),
    }
    if row.opportunity:
        fields["WhatId"] = row.opportunity
    if task.priority is not None:
        fields["Priority"] = _PRIORITIES[task.priority]
    if created:
        fields["ActivityDate"] = f"{created + timedelta(seconds=task.due):%Y-%m-%d}"
    return {**fields, "OwnerId": row.task_owner} if row.task_owner else fields


def campaign_member(row: Row, person: str) -> dict[str, Any]:
    """Return the membership of the route's campaign as a row of a collection. `person` is a record ID."""
    campaign = row.route.campaign
    if campaign is None:
        raise ValueError("the route has no campaign")
    fields = {"attributes": {"type": "CampaignMember"}, "CampaignId": campaign.id, f"{row.route.object}Id": person}
    return {**fields, "Status": campaign.status} if campaign.status else fields


def row_mark(row: Row) -> str:
    """Return the text by which the activities of a record are found."""
    return f"Leadbridge {row.record.id}"


def salesforce_time(moment: datetime) -> str:
    """Return a time in UTC as Salesforce takes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _marked(text: str, mark: str) -> dict[str, str]:
    description = cut(text, LONGEST_DESCRIPTION - len(mark) - 2)
    return {DESCRIPTION: f"{description}\n\n{mark}" if description else mark}


def who_field(route: SalesforceRoute) -> str:
    """Return the field of an activity that names its person, or its subject if the record is not a person."""
    return "WhoId" if route.object.lower() in ("lead", "contact") else "WhatId"


def _literal(text: str) -> str:
    r"""Return a text quoted for SOQL, which escapes with backslashes ("Quoted String Escape Sequences")."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"
