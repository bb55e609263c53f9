"""The writing of appointments: a record, and an event or task with it.

An event or task cannot be written by a key, so it is looked up before it is created: by a mark in its description, in
one call with the record's own id. The second call writes record and activity in one transaction. So a lost answer
leaves both or neither, and the lookup of the next attempt shows which. The lookup costs one call more, and in return
neither a lost answer nor a killed process creates a second activity.

An event that could be upserted would need no lookup, but whether activities can have an external id is not documented.
"""

from dataclasses import dataclass, replace

from connectors.base import Blame, Outcome, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import Part, Written, is_answered, read_activities, read_parts, read_write
from connectors.salesforce.client import SalesforceClient
from connectors.salesforce.duplicates import Allow, Update, resolve
from connectors.salesforce.errors import (
    DROPPED,
    SalesforceProblem,
    is_refusal,
    outcome,
    read_salesforce_problem,
    record_outcomes,
)
from connectors.salesforce.finder import CONVERSION, ContactTarget, RecordFinder, contact_row
from connectors.salesforce.leads import assignment_warning, delivered_record, is_incomplete, refused_fields
from connectors.salesforce.records import UNSEEN, Existing, Row, body, person_of
from connectors.salesforce.requests import SalesforceActivity, SalesforceRequests, rule_headers, salesforce_activity
from connectors.salesforce.schema import ObjectSchema
from connectors.salesforce.status_codes import ErrorKind

_SUCCESS = 200
_NOT_FOUND = 404
_SEVERAL = 300


_CONVERTED = SalesforceProblem(200, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
_NEEDED = frozenset({"Subject", "Description", "StartDateTime", "EndDateTime", "WhoId", "WhatId"})
"""Fields of an activity without which it would not be the appointment."""


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """Plan for the writing of an appointment."""

    row: Row
    schema: ObjectSchema | None
    target: str | None = None
    """Record ID to write into, if it is not the record of the row's key."""
    otherwise: "_Plan | None" = None
    """Alternative if the user may not write into `target`."""
    allow: bool = False
    """True to save past a duplicate rule that only alerts."""
    is_new: bool = False
    """True if the record turned out to be new although it could not be looked up."""
    refused: frozenset[str] = frozenset()
    """Fields of the activity that Salesforce refuses."""


@dataclass(frozen=True, slots=True)
class _ActivityProblem:
    """The problem of an event or task, while its record has none."""

    problem: SalesforceProblem


class Appointments:
    """Writer of appointments, one at a time. May run in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests, finder: RecordFinder) -> None:
        self._client = client
        self._requests = requests
        self._finder = finder

    async def deliver(self, row: Row, schema: ObjectSchema | None) -> tuple[Row, Outcome]:
        """Write one appointment, and return it as it was written, with its outcome."""
        plan = _Plan(row, schema)
        if row.route.prefer_contact:
            found = await self._finder.look([row], schema)
            if isinstance(found, Retry | Rejected):
                return row, found
            plan = replace(plan, row=row.warned(found.warning)) if found.warning else plan
            target = found.targets.get(row.record.id)
            plan = await self._moved(plan, target) if target else plan
        while True:
            result = await self._write(plan)
            if not isinstance(result, SalesforceProblem | _ActivityProblem):
                return plan.row, result
            further = await self._further(plan, result)
            if isinstance(further, Retry | Rejected):
                return plan.row, further
            if further is None:
                return plan.row, self._outcome(plan, result)
            plan = further

    def _outcome(self, plan: _Plan, result: SalesforceProblem | _ActivityProblem) -> Outcome:
        if isinstance(result, _ActivityProblem):
            return outcome(result.problem)
        described = plan.schema is not None and plan.schema.refuses(plan.row.route.external_id)
        is_described = described and plan.target is None
        return record_outcomes([result], [{}], [person_of(plan.row.record)], described=is_described)[0]

    async def _further(
        self, plan: _Plan, result: SalesforceProblem | _ActivityProblem
    ) -> _Plan | Retry | Rejected | None:
        """Return another plan for an appointment that was not written; None if there is none left."""
        problem = result.problem if isinstance(result, _ActivityProblem) else result
        if problem.kind is ErrorKind.CONVERTED:
            targets = await self._finder.conversions([(plan.row, plan.target)])
            if isinstance(targets, Retry | Rejected):
                return targets
            target = targets.get(plan.row.record.id)
            return await self._moved(plan, target) if target and target.contact.id != plan.target else None
        return _lighter(plan, problem) if isinstance(result, _ActivityProblem) else _another(plan, problem)

    async def _moved(self, plan: _Plan, target: ContactTarget) -> _Plan:
        """Return the plan that writes into a contact."""
        schema = await self._finder.contact_schema()
        row = contact_row(plan.row, schema, target.warning, target.opportunity)
        return replace(plan, row=row, schema=schema, target=target.contact.id, otherwise=None)

    async def _write(self, plan: _Plan) -> Outcome | SalesforceProblem | _ActivityProblem:
        """Write record and activity, unless they exist. Return the outcome, or the problem of one of them."""
        row, activity = plan.row, _planned(plan)
        lookup = await self._look(plan, activity)
        if not isinstance(lookup, tuple):
            return lookup
        existing, found_id = lookup
        if existing is not None and existing.contact:
            return _CONVERTED
        existing = None if existing is UNSEEN and plan.is_new else existing
        activity_id = row.record.memo.get("activity") or found_id
        fields, warnings = body(row, existing, plan.schema)
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
        return _ActivityProblem(beside) if isinstance(beside, SalesforceProblem) else _lost(answer.status)

    async def _look(
        self, plan: _Plan, activity: SalesforceActivity
    ) -> tuple[Existing | None, str | None] | Retry | Rejected:
        """Return the record, and the id of the activity if it exists.

        If the user may not query activities, a first attempt proceeds anyway: only a process that was killed at the
        wrong moment can have created the activity. A repeated attempt waits until somebody gives the user the right.
        """
        row = plan.row
        answer = await self._client.call(self._requests.look(row, plan.target, activity, _names(plan)))
        parts = await self._client.parts(answer) if isinstance(answer, Answer) else answer
        if isinstance(parts, Retry | Rejected):
            is_refused = not isinstance(answer, Answer) and is_refusal(parts) and not row.record.is_repeat
            return (_unseen(row), None) if is_refused else _blind(parts)
        status = answer.status or _SUCCESS
        record, activities = parts.get("record"), parts.get("activities")
        if record is not None and record.status == _NOT_FOUND:
            return None, None
        if record is not None and record.status == _SEVERAL:
            found = read_write(record, status, self._client.secrets)
            return outcome(found) if isinstance(found, SalesforceProblem) else _lost(status)
        known = record.body.get("Id") if record and record.is_good and isinstance(record.body, dict) else None
        if isinstance(known, str) and is_answered(activities):
            return _existing(record, known), read_activities(activities, activity.mark)
        trouble = self._trouble(record, activities, status)
        if is_refusal(trouble) and not row.record.is_repeat:
            return (_existing(record, known) if isinstance(known, str) else _unseen(row)), None
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


def _planned(plan: _Plan) -> SalesforceActivity:
    """Return the activity of a plan, without the fields that Salesforce refuses."""
    activity = salesforce_activity(plan.row)
    fields = {name: value for name, value in activity.fields.items() if name not in plan.refused}
    return replace(activity, fields=fields)


def _names(plan: _Plan) -> tuple[str, ...]:
    """Return the fields of the record that decide what is written."""
    schema, is_lead = plan.schema, plan.row.route.object.lower() == "lead"
    conversion = CONVERSION if is_lead and schema is not None else ()
    return tuple(name for name in (*plan.row.wanted, *conversion) if schema is None or schema.field(name))


def _existing(part: Part | None, record_id: str) -> Existing:
    return Existing(record_id, {name.lower(): value for name, value in part.body.items()} if part else {})


def _lighter(plan: _Plan, problem: SalesforceProblem) -> _Plan | None:
    """Return the plan without optional fields of the activity that Salesforce refuses; None if there are none."""
    if problem.kind not in DROPPED and not problem.is_about_a_reference:
        return None
    sent = {name.lower(): name for name in _planned(plan).fields if name not in _NEEDED}
    named = problem.named or (("OwnerId",) if problem.is_about_a_reference else ())
    refused = [sent[name.lower()] for name in named if name.lower() in sent]
    if not refused:
        return None
    if "IsReminderSet" in refused or "ReminderDateTime" in refused:  # one needs the other
        refused = list(dict.fromkeys((*refused, "IsReminderSet", "ReminderDateTime")))
    row = plan.row.warned(f"{', '.join(refused)} of the appointment refused by Salesforce and left out")
    return replace(plan, row=row, refused=plan.refused | frozenset(refused))


def _another(plan: _Plan, problem: SalesforceProblem) -> _Plan | None:
    """Return another plan for an appointment whose record has a problem; None if there is none left.

    Each plan gives up a field or one of two choices, so the plans come to an end.
    """
    row = plan.row
    if plan.target is not None and problem.kind is ErrorKind.CONFIGURATION:
        return plan.otherwise
    if is_incomplete(problem) and not (row.certain or plan.is_new):
        return replace(plan, is_new=True)
    names = refused_fields(row, problem, plan.schema)
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
