"""The records that belong to a written lead or contact: its follow-up task, and its membership of a campaign.

They are created, and creating is not idempotent. A task carries a mark, by which it is found after an attempt that may
have created it; Salesforce itself refuses a second membership. All of a batch go in one call, after the leads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.base import Blame, Delivered, Outcome, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.salesforce.answers import Part, Verdict, Written, read_selection
from connectors.salesforce.client import SalesforceClient
from connectors.salesforce.errors import (
    DROPPED,
    SalesforceProblem,
    is_refusal,
    outcome,
    read_salesforce_problem,
    unreadable,
)
from connectors.salesforce.records import DESCRIPTION, Row
from connectors.salesforce.requests import (
    SalesforceRequest,
    SalesforceRequests,
    Selection,
    campaign_member,
    keys_per_query,
    row_mark,
    salesforce_task,
    who_field,
)
from connectors.salesforce.status_codes import ErrorKind

_TASK, _CAMPAIGN = "follow_up", "campaign"
_NAMES: Mapping[str, str] = {_TASK: "the follow-up task", _CAMPAIGN: "the membership of the campaign"}
_UNKNOWN = "it is unknown whether the follow-up task exists: {detail}"
_OPTIONAL = frozenset({"OwnerId", "Priority", "ActivityDate", "WhatId", "Status"})
_PASSING = frozenset(
    {ErrorKind.BUSY, ErrorKind.EXHAUSTED, ErrorKind.HELD, ErrorKind.LOCKED, ErrorKind.SERVER, ErrorKind.SESSION}
)
"""Kinds of problems that another attempt may not meet. Others would meet every attempt, and the lead is written."""


@dataclass(slots=True, repr=False)
class _RelatedDraft:
    """A record to create beside a written one."""

    kind: str
    row: Row
    fields: dict[str, Any]
    verdict: Verdict | None = None
    warnings: list[str] = field(default_factory=list)


class SalesforceRelatedRecords:
    """Writer of the records beside leads and contacts. May run in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests) -> None:
        self._client = client
        self._requests = requests

    def planned(self, row: Row) -> list[tuple[SalesforceRequest, str]]:
        """Return the requests for a row that is written, each with its reason."""
        drafts = _drafts(row, Delivered("(the record)"))
        return [(self._requests.create([each.fields]), f"{_NAMES[each.kind]}: the route has it") for each in drafts]

    async def deliver(self, written: Sequence[tuple[Row, Outcome]]) -> list[Outcome]:
        """Create the records that belong to the delivered rows, and return the outcomes of the rows.

        A related record that Salesforce refuses for good is a warning, because the lead is there. If its outcome is
        unknown, or may be another next time, so is that of the lead: it is written again, which changes nothing.

        Args:
            written: Rows as they were written, each with its outcome.
        """
        outcomes = {row.record.id: outcome for row, outcome in written}
        drafts = [each for row, outcome in written if isinstance(outcome, Delivered) for each in _drafts(row, outcome)]
        if drafts:
            drafts = await self._missing(drafts, outcomes)
            await self._create(drafts)
            lighter = [each for each in drafts if _lighten(each)]
            await self._create(lighter)
            for each in drafts:
                outcomes[each.row.record.id] = _settled(each, outcomes[each.row.record.id])
        return [outcomes[row.record.id] for row, _ in written]

    async def _missing(self, drafts: list[_RelatedDraft], outcomes: dict[str, Outcome]) -> list[_RelatedDraft]:
        """Return the drafts that do not exist yet. Only repeated attempts are looked up, in one call."""
        asked = [each for each in drafts if each.kind == _TASK and not each.row.is_first]
        if not asked:
            return drafts
        by_field: dict[str, list[str]] = {}
        for each in asked:
            who = who_field(each.row.route)
            by_field.setdefault(who, []).append(each.fields[who])
        selections = [
            Selection("Task", name, list(dict.fromkeys(ids)), (DESCRIPTION,), newest_first=True)
            for name, ids in by_field.items()
        ]
        answer = await self._client.call(self._requests.select(selections))
        parts = await self._client.parts(answer) if isinstance(answer, Answer) else answer
        if isinstance(parts, Retry | Rejected):
            return self._unread(drafts, asked, parts, outcomes)
        size = keys_per_query(selections)
        answered = [parts.get(name) for at, each in enumerate(selections) for name in each.parts(at, size)]
        tasks = read_selection(answered)
        if tasks is None:
            trouble = self._trouble(answered)
            return self._unread(drafts, asked, trouble, outcomes)
        found = {each.id: each.description or "" for each in tasks}
        for each in asked:
            mark = row_mark(each.row)
            task_id = next((task for task, text in found.items() if mark in text), None)
            each.verdict = Written(task_id) if task_id else None
        return drafts

    def _unread(
        self,
        drafts: list[_RelatedDraft],
        asked: Sequence[_RelatedDraft],
        trouble: Retry | Rejected,
        outcomes: dict[str, Outcome],
    ) -> list[_RelatedDraft]:
        """Leave tasks aside whose existence is unknown, and return the other drafts.

        They are not created, because they may exist. The lead is delivered with a warning if the user may not query
        tasks, else it is tried again.
        """
        unknown = {id(each) for each in asked}
        for each in asked:
            done = outcomes[each.row.record.id]
            detail = _UNKNOWN.format(detail=trouble.detail)
            if isinstance(trouble, Retry) and not is_refusal(trouble):
                outcomes[each.row.record.id] = replace(trouble, detail=detail)
            elif isinstance(done, Delivered):
                outcomes[each.row.record.id] = _warned(done, f"{detail}; let the user query Task")
        return [each for each in drafts if id(each) not in unknown]

    def _trouble(self, parts: Sequence[Part | None]) -> Retry | Rejected:
        for part in parts:
            problem = read_salesforce_problem(part.body, part.status, self._client.secrets) if part else None
            if problem is not None:
                return outcome(problem)
        return unreadable(200)

    async def _create(self, drafts: Sequence[_RelatedDraft]) -> None:
        """Create the records in one call: tasks and members are a collection each."""
        waiting = [[each for each in drafts if each.kind == kind and each.verdict is None] for kind in _NAMES]
        groups = [group for group in waiting if group]
        if not groups:
            return
        calls = [
            (self._requests.create([each.fields for each in group]), [each.row.record.id for each in group])
            for group in groups
        ]
        verdicts = iter(await self._client.write(calls, self._requests))
        for group in groups:
            for each in group:
                each.verdict = next(verdicts)


def _drafts(row: Row, done: Delivered) -> list[_RelatedDraft]:
    """Return the records to create for a row, without those that an earlier attempt created."""
    found, memo = [], row.record.memo
    if done.remote_id is None:
        return []
    if row.route.follow_up is not None and not row.is_appointment and _TASK not in memo:
        found.append(_RelatedDraft(_TASK, row, salesforce_task(row, done.remote_id)))
    if row.route.campaign is not None and _CAMPAIGN not in memo:
        found.append(_RelatedDraft(_CAMPAIGN, row, campaign_member(row, done.remote_id)))
    return found


def _lighten(draft: _RelatedDraft) -> bool:
    """Remove the optional fields that Salesforce refuses, and return True if there were any."""
    problem = draft.verdict
    if not isinstance(problem, SalesforceProblem) or problem.kind not in DROPPED:
        return False
    named = {name.lower() for name in problem.named or (("OwnerId",) if problem.is_about_a_reference else ())}
    if problem.is_about_a_reference:
        named.add("ownerid")
    refused = [name for name in draft.fields if name.lower() in named and name in _OPTIONAL]
    if not refused:
        return False
    draft.fields = {name: value for name, value in draft.fields.items() if name not in refused}
    draft.verdict = None
    draft.warnings.append(f"{', '.join(refused)} of {_NAMES[draft.kind]} refused by Salesforce and left out")
    return True


def _settled(draft: _RelatedDraft, done: Outcome) -> Outcome:
    """Return the outcome of a row after one of its related records."""
    verdict, name = draft.verdict, _NAMES[draft.kind]
    if isinstance(verdict, SalesforceProblem) and draft.kind == _CAMPAIGN and verdict.kind is ErrorKind.DUPLICATE:
        verdict = Written("")  # "Already a campaign member."
    if isinstance(verdict, Written):
        done = replace(done, memo={**done.memo, draft.kind: verdict.id or "1"})
        return _warned(done, *draft.warnings) if isinstance(done, Delivered) else done
    if not isinstance(done, Delivered):
        return done
    if isinstance(verdict, SalesforceProblem):
        if verdict.kind not in _PASSING:
            return _warned(done, *draft.warnings, f"{name} was not created: {verdict.words}")
        verdict = outcome(verdict)
    if isinstance(verdict, Retry) and not is_refusal(verdict):
        blame = Blame.RECORD if verdict.blame is Blame.BATCH else verdict.blame
        return replace(verdict, detail=f"{name}: {verdict.detail}", blame=blame, memo={**done.memo, **verdict.memo})
    detail = verdict.detail if verdict is not None else "not sent"
    return _warned(done, *draft.warnings, f"{name} was not created: {detail}")


def _warned(done: Delivered, *warnings: str) -> Delivered:
    return replace(done, warning="; ".join(filter(None, (done.warning, *warnings))) or None)
