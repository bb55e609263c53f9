"""Companions of a record: its company, its note, meeting or task, the follow-up task, the deal, and the list.

Each is written once. Its id is kept in the memo (`company`, `note`, `meeting`, `task`, `follow_up`, `deal`, `list`), so
a later attempt writes only what is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.hubspot.activities import Activities, PlannedActivity
from connectors.hubspot.answers import Stored, read_added, success_or_retry, unclear_outcome
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.companies import COMPANY_UNCLEAR, Companies, PlannedCompany, company_domain
from connectors.hubspot.errors import problem_in_answer
from connectors.hubspot.remarks import DEALS, HubSpotActivity, follow_up_task, hubspot_activity, planned_deal
from connectors.hubspot.requests import OWNER, HubSpotRequest, Lead
from connectors.hubspot.settings import CONTACTS, LEADS

_REMARKS = frozenset({"note", "meeting", "task"})
_WRONG_LIST = (400, 404)


@dataclass(slots=True)
class RelatedResult:
    """Result of what goes with one record."""

    memo: dict[str, str] = field(default_factory=dict)
    """Ids of what exists now, by the names of the memo."""
    failures: list[Retry | Rejected] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Properties that HubSpot refused, each with the activity's name."""
    remark: HubSpotActivity | None = None

    @property
    def failure(self) -> Retry | Rejected | None:
        """Return the failure to report: one that is tried again, if there is any."""
        return next((each for each in self.failures if isinstance(each, Retry)), next(iter(self.failures), None))


class RelatedRecords:
    """Writer of what goes with records. May run in parallel, never for the same contact.

    Args:
        client: Sends the requests.
        activities: Writes notes, meetings, tasks and deals.
    """

    def __init__(self, client: HubSpotClient, activities: Activities) -> None:
        self._client = client
        self._activities = activities
        self._companies = Companies(client)

    def open(self) -> None:
        """Forget what another process may have changed."""
        self._activities.open()
        self._companies.open()

    def planned(self, lead: Lead) -> list[tuple[HubSpotRequest, str]]:
        """Return the requests for a new lead, without lookups, each with its reason."""
        contact = Stored("(the contact)", 201, new=True)
        if lead.route.object == LEADS:
            lead, contact = replace(lead, contact=contact.id), Stored("(the lead)", 201, new=True)
        result, requests = RelatedResult(), list[tuple[HubSpotRequest, str]]()
        if domain := company_domain(lead.texts.get("domain", "")):
            why = f"a search for the company {domain}, which is created if it is missing: the route has `company`"
            requests.append((self._client.requests.search_companies([domain]), why))
            result.memo["company"] = "(the company)"
        for name, activity in self._due(lead, contact, result):
            at = self._at(lead, contact, f"{lead.record.id}-{name}", activity, result)
            made = at.activity.for_contact(at.contact.id, at.record_id, at.company)
            why = activity.reason(lead.route.appointment) if name in _REMARKS else f"the route has `{name}`"
            requests.append((self._client.requests.add(activity.kind, [made]), why))
        if lead.route.static_list is not None:
            why = "a member of a list: the route has `list`"
            requests.append((self._client.requests.add_to_list(lead.route.static_list, [contact.id]), why))
        return requests

    async def write(self, written: Sequence[tuple[Lead, Stored]]) -> dict[str, RelatedResult]:
        """Write what is missing, and return the results by record id."""
        results = {lead.record.id: RelatedResult() for lead, _ in written}
        await self._write_companies(written, results)
        await self._write_activities(written, results)
        await self._write_lists(written, results)
        return results

    async def _write_companies(
        self, written: Sequence[tuple[Lead, Stored]], results: Mapping[str, RelatedResult]
    ) -> None:
        due = [
            PlannedCompany(
                lead.record.id,
                domain,
                lead.texts.get("company", ""),
                lead.contact or stored.id,
                float(lead.record.memo.get(COMPANY_UNCLEAR, 0.0)),
            )
            for lead, stored in written
            if "company" not in lead.record.memo and (domain := company_domain(lead.texts.get("domain", "")))
        ]
        for record_id, found in (await self._companies.write(due) if due else {}).items():
            if isinstance(found, str):
                results[record_id].memo["company"] = found
            else:
                results[record_id].failures.append(replace(found, detail=f"its company: {found.detail}"))

    async def _write_activities(
        self, written: Sequence[tuple[Lead, Stored]], results: Mapping[str, RelatedResult]
    ) -> None:
        planned: dict[str, tuple[str, str, PlannedActivity]] = {}
        for lead, stored in written:
            record_id = lead.record.id
            for name, activity in self._due(lead, stored, results[record_id]):
                trace_id = record_id if name in _REMARKS else f"{record_id}-{name}"
                planned[trace_id] = record_id, name, self._at(lead, stored, trace_id, activity, results[record_id])
        left_out: dict[str, tuple[str, ...]] = {}
        due = [each for _, _, each in planned.values()]
        done = await self._activities.write(due, left_out) if due else {}
        for trace_id, (record_id, name, _) in planned.items():
            found, result = done[trace_id], results[record_id]
            result.left_out += [f"{each} of the {name}" for each in left_out.get(trace_id, ())]
            if isinstance(found, str):
                result.memo[name] = found
            else:
                what = "note, meeting or task" if name in _REMARKS else name.replace("_", "-")
                result.failures.append(replace(found, detail=f"its {what}: {found.detail}"))

    def _due(self, lead: Lead, stored: Stored, result: RelatedResult) -> list[tuple[str, HubSpotActivity]]:
        """Return the activities that an earlier attempt did not create, by their names in the memo."""
        if lead.route.object not in (CONTACTS, LEADS):
            return []
        owner = "" if OWNER in lead.dropped else stored.owner or lead.owner
        memo, due = lead.record.memo, list[tuple[str, HubSpotActivity]]()
        if memo.keys().isdisjoint(_REMARKS) and (remark := hubspot_activity(lead, self._client.now())):
            result.remark = remark
            due.append((remark.kind.removesuffix("s"), remark.owned(owner)))
        if "follow_up" not in memo and (task := follow_up_task(lead, self._client.now())):
            due.append(("follow_up", task.owned(lead.task_owner or owner)))
        if "deal" not in memo and (deal := planned_deal(lead)):
            due.append(("deal", deal.owned(owner)))
        return due

    def _at(
        self, lead: Lead, stored: Stored, trace_id: str, activity: HubSpotActivity, result: RelatedResult
    ) -> PlannedActivity:
        """Return the planned activity of a contact, or of a lead object and its contact."""
        company = result.memo.get("company") or lead.record.memo.get("company")
        if lead.contact is None:
            return PlannedActivity(trace_id, activity, stored, company=company)
        if activity.kind == DEALS:  # the contact may have one from an earlier event of the chat
            return PlannedActivity(trace_id, activity, replace(stored, id=lead.contact, new=False), company=company)
        return PlannedActivity(trace_id, activity, replace(stored, id=lead.contact), stored.id)

    async def _write_lists(self, written: Sequence[tuple[Lead, Stored]], results: Mapping[str, RelatedResult]) -> None:
        members: dict[str, dict[str, str]] = {}
        for lead, stored in written:
            if lead.route.static_list is not None and "list" not in lead.record.memo:
                members.setdefault(lead.route.static_list, {})[lead.record.id] = stored.id
        for list_id, contacts in members.items():
            request = self._client.requests.add_to_list(list_id, list(dict.fromkeys(contacts.values())))
            answer = await self._client.send(request)
            outcome = self._list_outcome(answer) if isinstance(answer, Answer) else answer.outcome
            for record_id, contact in contacts.items():
                if isinstance(outcome, frozenset) and contact not in outcome:
                    results[record_id].memo["list"] = list_id
                elif isinstance(outcome, frozenset):
                    why = "its list: HubSpot does not know the contact"
                    results[record_id].failures.append(Retry(Reason.NOT_FOUND, why, Blame.RECORD))
                else:
                    results[record_id].failures.append(replace(outcome, detail=f"its list: {outcome.detail}"))

    def _list_outcome(self, answer: Answer) -> frozenset[str] | Retry | Rejected:
        """Return the ids that are missing, or the outcome of a call that failed."""
        result = success_or_retry(answer, self._client.secrets, self._client.now())
        if isinstance(result, Answer):
            missing = read_added(result)
            return unclear_outcome(result, "says nothing of the members") if missing is None else missing
        if answer.status in _WRONG_LIST:
            words = problem_in_answer(answer, self._client.secrets).words
            detail = f'it refuses the membership ("{words}"); correct the setting list, and replay'
            return Rejected(Reason.REFUSED, detail, Blame.RECORD, answer.status)
        return result
