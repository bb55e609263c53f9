"""The Zoho CRM connector: the records first, then their notes, events and tasks."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson

from connectors.activities import (
    ActivityKind,
    activity_reason,
    appointment_texts,
    check_appointment,
    event_activity,
    refused_text,
)
from connectors.base import (
    Connector,
    Context,
    Delivered,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    Retry,
    Severity,
    Vault,
)
from connectors.event_text import Sources
from connectors.http_client.answer import Failure
from connectors.http_client.json_api import Reply
from connectors.http_client.masking import MASK
from connectors.ownership import OwnerChoice
from connectors.zoho import answers, requests
from connectors.zoho.activities import ZohoActivities, ZohoActivity
from connectors.zoho.client import ZohoClient
from connectors.zoho.leads import WrittenRow, ZohoLeads
from connectors.zoho.requests import ZohoRow
from connectors.zoho.settings import ZohoRoute, ZohoSettings
from connectors.zoho.users import ZohoUsers

_RECORD = "(the record)"
"""Id in a preview."""


class ZohoConnector(Connector):
    """Writes leads, or records of another module, into Zoho CRM. `duplicate_check_fields` identify a record.

    Fields have the API names of the module (`Last_Name`, `Email`, `Company`). A repeated upsert writes the same record,
    so a crash or a lost answer does no harm. A record without any of the identifying fields is rejected without being
    sent.

    A remark becomes a note, an appointment an event, or a task if its time is unclear. Their ids are kept in the memo
    (`note`, `meeting`, `task`, `follow_up`), and at a known record they are looked up before they are created.
    """

    destination_settings = ZohoSettings
    route_settings = ZohoRoute
    max_batch = requests.MAX_BATCH
    conditional_writes = True
    uses_written = True

    def __init__(self, settings: ZohoSettings, context: Context) -> None:
        self._client = ZohoClient(settings, context)
        self._leads = ZohoLeads(self._client)
        self._activities = ZohoActivities(self._client)
        self._sources = Sources(context)
        self._choice = OwnerChoice(self._sources)
        self._users = ZohoUsers(self._client, self._choice, context.now)
        self._offload = context.offload
        self._now = context.now

    def open(self, vault: Vault) -> None:
        """Receive the vault in which turns are counted."""
        self._users.open(vault)

    def check_route(self, settings: ZohoRoute, fields: Sequence[str]) -> None:
        """Compile the remark. Raises `SettingError`."""
        self._sources.check("remark", settings.remark)
        check_appointment(settings.appointment, self._sources)
        self._choice.check(("owner",), settings.owner)
        if settings.follow_up is not None:
            self._choice.check(("follow_up", "owner"), settings.follow_up.owner)
            self._sources.check_words(("follow_up", "subject"), settings.follow_up.subject)

    def batch_group(self, record: Record) -> Hashable:
        """Return route settings and identifying field: records that share them share a call."""
        return requests.batch_group(record)

    def batch_key(self, record: Record) -> Hashable:
        """Return the value that identifies the record."""
        key = requests.duplicate_key(record)
        return record.id if key is None else key

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, then their notes, events and tasks; reject records that could be written twice."""
        made = [await self._offload(partial(self._row, record)) for record in records]
        rows = [each for each in made if isinstance(each, ZohoRow)]
        assigned = await self._users.assign(rows) if rows else []
        if not isinstance(assigned, list):
            return [replace(assigned, memo=record.memo) for record in records]
        written = await self._leads.write(assigned) if assigned else []
        due = {each.row.record.id: self._due(each) for each in written}
        planned = [one for each in due.values() for one in each.values()]
        done = await self._activities.write(planned) if planned else {}
        outcomes = iter([_outcome(each, due[each.row.record.id], done) for each in written])
        return [next(outcomes) if isinstance(each, ZohoRow) else each for each in made]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that writes the records as new ones, without that for their remarks."""
        rows = [row for record in records if isinstance(row := self._row(record), ZohoRow)]
        headers = {"Authorization": f"Zoho-oauthtoken {MASK}", "Content-Type": "application/json"}
        document = requests.upsert_document(rows) if rows else {"data": [dict(each.fields) for each in records]}
        url = self._client.base / requests.zoho_route(records[0]).module / "upsert"
        return Preview("POST", str(url), headers, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests for the note, event or task, and for the follow-up task."""
        row = self._row(record)
        if isinstance(row, Rejected):
            raise ExpressionError(row.detail)
        headers = {"Authorization": f"Zoho-oauthtoken {MASK}", "Content-Type": "application/json"}
        shown = []
        for name, each in self._due(WrittenRow(row, Delivered(_RECORD), is_new=True)).items():
            made = requests.activity_fields(each.activity, row.route.module, _RECORD)
            body = orjson.dumps(
                {"data": [{**made, **each.details}], "trigger": []}, option=orjson.OPT_INDENT_2
            ).decode()
            why = activity_reason(each.activity.kind, each.activity.start, row.route.appointment)
            url = self._client.base / requests.ACTIVITIES[each.activity.kind]
            shown.append(Preview("POST", str(url), headers, body, "the follow-up task" if name == "follow_up" else why))
        return shown

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Get a token, and compare the routes with the fields of their modules."""
        token = await self._client.token()
        if isinstance(token, Failure):
            return (Finding(Severity.ERROR, token.outcome.detail, setting=token.setting or ("refresh_token",)),)
        findings: list[Finding] = []
        for number, each in enumerate(routes):
            findings += await self._probe_route(number, each)
            if isinstance(each.settings, ZohoRoute):
                findings += await self._users.findings(each.settings, number)
        return findings or (Finding(Severity.NOTE, "reachable, credentials accepted, fields known"),)

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._client.close()

    async def _probe_route(self, number: int, mapped: MappedRoute) -> Sequence[Finding]:
        module = mapped.settings.module if isinstance(mapped.settings, ZohoRoute) else "Leads"
        reply = await self._client.call("GET", (self._client.base / "settings" / "fields").with_query(module=module))
        if isinstance(reply, Reply) and isinstance(reply.get("fields"), list):
            return answers.findings(reply, mapped, number)
        if isinstance(reply, Reply):
            reply = self._client.refused(reply)
        what = f"the fields of {module} cannot be read: {reply.detail}"
        return (Finding(Severity.WARNING, what, number, setting=("module",)),)

    def _row(self, record: Record) -> ZohoRow | Rejected:
        route, key = requests.zoho_route(record), requests.duplicate_key(record)
        if key is None:
            return _keyless(record)
        try:
            remark = self._sources.text(route.remark, record.event)
            texts = appointment_texts(route.appointment, self._sources, record.event)
            follow_up = route.follow_up
            subject = self._sources.words(follow_up.subject, record.event) if follow_up else ""
            owner, task_owner = route.owner, follow_up.owner if follow_up else None
            names = (
                self._choice.text(owner, record, "owner") if owner else "",
                self._choice.text(task_owner, record, "task_owner") if task_owner else "",
            )
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._client.masked(error.message), memo=record.memo)
        return ZohoRow(record, route, key, record.fields, remark, texts=texts, subject=subject, names=names)

    def _due(self, written: WrittenRow) -> dict[str, ZohoActivity]:
        """Return the activities to create with a record that an earlier attempt did not create, by name in the memo."""
        row, outcome = written.row, written.outcome
        due: dict[str, ZohoActivity] = {}
        if not isinstance(outcome, Delivered) or outcome.remote_id is None:
            return due
        module, remote_id, memo = row.route.module, outcome.remote_id, row.record.memo
        owner = "" if requests.OWNER in row.dropped else row.owner
        if all(kind.value not in memo for kind in requests.ACTIVITIES):
            refused, appointment = refused_text("Zoho", row.dropped), row.route.appointment
            activity = event_activity(
                row.record.id, row.record.event, row.remark, refused, appointment, self._now(), row.texts
            )
            if activity is not None:
                details = {} if activity.kind is ActivityKind.NOTE else requests.owner_field(owner)
                name = activity.kind.value
                due[name] = ZohoActivity(row.record.id, name, activity, module, remote_id, written.is_new, details)
        if "follow_up" not in memo and (task := requests.follow_up(row, self._now())) is not None:
            details = requests.task_details(replace(row, owner=owner))
            due["follow_up"] = ZohoActivity(
                row.record.id, "follow_up", task, module, remote_id, written.is_new, details
            )
        return due


def _outcome(written: WrittenRow, due: Mapping[str, ZohoActivity], done: Mapping[tuple[str, str], Outcome]) -> Outcome:
    """Return the outcome of a record and its activities."""
    row, outcome = written.row, written.outcome
    memo = {**row.record.memo, **_turns(row)}
    if not isinstance(outcome, Delivered):
        return replace(outcome, memo={**memo, **outcome.memo})
    failures = []
    for name, each in due.items():
        found = done[each.key]
        if isinstance(found, Delivered) and found.remote_id:
            memo[name] = found.remote_id
        elif not isinstance(found, Delivered):
            failures.append(found)
    if failures:
        first = next((each for each in failures if isinstance(each, Retry)), failures[0])
        return replace(
            first, detail=f"the record is written, but not its note, event or task: {first.detail}", memo=memo
        )
    left_out = f"left out because Zoho refuses it: {', '.join(row.dropped)}; its value is in the remark"
    warning = "; ".join(filter(None, (left_out if row.dropped else "", row.warning))) or None
    names = (*row.dropped, *([requests.OWNER] if row.warning else []))
    return replace(outcome, warning=warning, memo=memo, left_out=names)


def _turns(row: ZohoRow) -> dict[str, str]:
    """Return the people whose turn it was, for the memo."""
    follow_up = row.route.follow_up
    settings = {"owner": row.route.owner, "task_owner": follow_up.owner if follow_up else None}
    named = zip(settings, row.names, strict=True)
    return {name: person for name, person in named if person and (made := settings[name]) and made.round_robin}


def _keyless(record: Record) -> Rejected:
    names = ", ".join(requests.zoho_route(record).duplicate_check_fields)
    why = f"it has none of duplicate_check_fields ({names}), so it could be written twice; map one, or name another"
    return Rejected(Reason.MAPPING, why)
