"""The writing of appointments: a record, and an event or task with it.

An event or task cannot be written by a key, so it is looked up before it is created: by a mark in its description, in
one call with the record's own id. The second call writes record and activity in one transaction. So a lost answer
leaves both or neither, and the lookup of the next attempt shows which. The lookup costs one call more, and in return
neither a lost answer nor a killed process creates a second activity.

An event that could be upserted would need no lookup, but whether activities can have an external id is not documented.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from connectors.appointments import start_of
from connectors.base import Blame, Outcome, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import Part, Written, is_answered, read_activities, read_parts, read_write
from connectors.salesforce.client import SalesforceClient
from connectors.salesforce.duplicates import Allow, Update, resolve
from connectors.salesforce.errors import (
    SalesforceProblem,
    is_refusal,
    outcome,
    read_salesforce_problem,
    record_outcomes,
)
from connectors.salesforce.leads import assignment_warning, delivered_record, is_incomplete, refused_fields
from connectors.salesforce.records import UNSEEN, Existing, Row, body, created_at, person_of
from connectors.salesforce.requests import SalesforceActivity, SalesforceRequests, rule_headers, salesforce_activity
from connectors.salesforce.schema import ObjectSchema
from connectors.salesforce.status_codes import ErrorKind

_NOT_FOUND = 404
_SEVERAL = 300


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """Plan for the writing of an appointment."""

    row: Row
    target: str | None = None
    """Record ID to write into, if it is not the record of the row's key."""
    otherwise: "_Plan | None" = None
    """Alternative if the user may not write into `target`."""
    allow: bool = False
    """True to save past a duplicate rule that only alerts."""
    is_new: bool = False
    """True if the record turned out to be new although it could not be looked up."""


class Appointments:
    """Writer of appointments, one at a time. May run in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests) -> None:
        self._client = client
        self._requests = requests

    async def deliver(self, row: Row, shape: ObjectSchema | None) -> Outcome:
        """Write one appointment, and return its outcome."""
        plan = _Plan(row)
        while True:
            result = await self._write(plan, shape)
            if not isinstance(result, SalesforceProblem):
                return result
            further = _further(plan, result, shape)
            if further is None:
                described = shape is not None and shape.refuses(row.route.external_id)
                return record_outcomes([result], [{}], [person_of(row.record)], described=described)[0]
            plan = further

    async def _write(self, plan: _Plan, shape: ObjectSchema | None) -> Outcome | SalesforceProblem:
        """Write record and activity, unless they exist. Return the outcome, or the problem of the record."""
        row, activity = plan.row, planned_activity(plan.row)
        lookup = await self._look(row, plan.target, activity)
        if not isinstance(lookup, tuple):
            return lookup
        existing, found_id = lookup
        existing = None if existing is UNSEEN and plan.is_new else existing
        activity_id = row.record.memo.get("activity") or found_id
        fields, warnings = body(row, existing, shape)
        headers = rule_headers(row.route, is_new=existing is None, allow=plan.allow or plan.target is not None)
        request = self._requests.appointment(row, plan.target, fields, None if activity_id else activity, headers)
        answer = await self._client.call(request)
        if not isinstance(answer, Answer):
            return answer
        parts = read_parts(answer)
        record = read_write(parts.get("record"), answer.status, self._client.secrets, plan.target)
        beside = (
            Written(activity_id)
            if activity_id
            else read_write(parts.get("activity"), answer.status, self._client.secrets)
        )
        if isinstance(record, Written) and isinstance(beside, Written):
            warnings += assignment_warning(row, existing)
            return delivered_record(row, record, warnings, self._client, {"activity": beside.id})
        if isinstance(record, SalesforceProblem) and record.kind is not ErrorKind.HALTED:
            return record
        return outcome(beside) if isinstance(beside, SalesforceProblem) else _lost(answer.status)

    async def _look(
        self, row: Row, target: str | None, activity: SalesforceActivity
    ) -> tuple[Existing | None, str | None] | Retry | Rejected:
        """Return the record, and the id of the activity if it exists.

        If the user may not query activities, a first attempt proceeds anyway: only a process that was killed at the
        wrong moment can have created the activity. A repeated attempt waits until somebody gives the user the right.
        """
        answer = await self._client.call(self._requests.look(row, target, activity))
        if not isinstance(answer, Answer):
            return (_unseen(row), None) if is_refusal(answer) and not row.record.is_repeat else _blind(answer)
        parts = read_parts(answer)
        record, activities = parts.get("record"), parts.get("activities")
        if record is not None and record.status == _NOT_FOUND:
            return None, None
        if record is not None and record.status == _SEVERAL:
            found = read_write(record, answer.status, self._client.secrets)
            return outcome(found) if isinstance(found, SalesforceProblem) else _lost(answer.status)
        known = record.body.get("Id") if record and record.is_good and isinstance(record.body, dict) else None
        if isinstance(known, str) and is_answered(activities):
            return Existing(known), read_activities(activities, activity.mark)
        trouble = self._trouble(record, activities, answer.status)
        if is_refusal(trouble) and not row.record.is_repeat:
            return (Existing(known) if isinstance(known, str) else _unseen(row)), None
        return _blind(trouble)

    def _trouble(self, record: Part | None, activities: Part | None, status: int) -> Retry | Rejected:
        for part in (record, activities):
            problem = (
                read_salesforce_problem(part.body, part.status, self._client.secrets)
                if part and not part.is_good
                else None
            )
            if problem is not None and problem.kind is not ErrorKind.HALTED:
                return outcome(problem)
        return _lost(status)


def planned_activity(row: Row) -> SalesforceActivity:
    """Return the activity that the appointment of a row becomes. Pure."""
    event = row.record.event
    text = str(event.get("Content") or "")
    when = created_at(row.record)
    created = _moment(when)
    zone = ZoneInfo(row.route.appointment.zone) if row.route.appointment.zone else None
    start = start_of(text, created, zone) if created else None
    remark = text if row.route.remark is None else row.remark
    return salesforce_activity(row, remark, start, when[:10] if created else "")


def _moment(text: str) -> datetime | None:
    """Return an ISO time; without a zone it is UTC, as the sender's times are."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _further(plan: _Plan, problem: SalesforceProblem, shape: ObjectSchema | None) -> _Plan | None:
    """Return another plan for an appointment whose record has a problem; None if there is none left.

    Each plan gives up a field or one of two choices, so the plans come to an end.
    """
    row = plan.row
    if plan.target is not None and problem.kind is ErrorKind.CONFIGURATION:
        return plan.otherwise
    if is_incomplete(problem) and not (row.certain or plan.is_new):
        return replace(plan, is_new=True)
    names = refused_fields(row, problem, shape)
    if names:
        return replace(plan, row=row.without(names))
    found = resolve(problem, row.route)
    if isinstance(found, Update) and plan.target is None:
        otherwise = _allowed(plan, found.otherwise) if found.otherwise and not plan.allow else None
        return replace(plan, row=row.warned(found.warning), target=found.id, otherwise=otherwise)
    if isinstance(found, Allow) and not plan.allow:
        return _allowed(plan, found)
    return None


def _allowed(plan: _Plan, found: Allow) -> _Plan:
    return replace(plan, row=plan.row.warned(found.warning), allow=True)


def _unseen(row: Row) -> Existing | None:
    """Return the substitute for a record that cannot be looked up: None, for a new record, only if that is certain."""
    return None if row.certain else UNSEEN


def _blind(trouble: Retry | Rejected) -> Retry:
    """Return the outcome of an appointment while it is unknown whether it exists."""
    what = f"it is unknown whether the appointment exists: {trouble.detail}"
    if isinstance(trouble, Retry):
        return replace(trouble, detail=what)
    return Retry(trouble.reason, what, Blame.RECORD, None, trouble.status)


def _lost(status: int) -> Retry:
    return Retry(Reason.BAD_ANSWER, "its answer does not account for the appointment", Blame.UNCLEAR, None, status)
