"""The Zoho CRM connector: the records first, then their notes, events and tasks."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

import orjson

from connectors.activities import (
    Activity,
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
)
from connectors.event_text import Sources
from connectors.http_client.answer import Failure
from connectors.http_client.json_api import Reply
from connectors.http_client.masking import MASK
from connectors.zoho import answers, requests
from connectors.zoho.activities import PlannedActivity, ZohoActivities
from connectors.zoho.client import ZohoClient
from connectors.zoho.leads import WrittenRow, ZohoLeads
from connectors.zoho.requests import Row
from connectors.zoho.settings import ZohoRoute, ZohoSettings

_RECORD = "(the record)"
"""Id in a preview."""


class ZohoConnector(Connector):
    """Writes leads, or records of another module, into Zoho CRM. `duplicate_check_fields` identify a record.

    Fields have the API names of the module (`Last_Name`, `Email`, `Company`). A repeated upsert writes the same record,
    so a crash or a lost answer does no harm. A record without any of the identifying fields is rejected without being
    sent.

    A remark becomes a note, an appointment an event, or a task if its time is unclear. Their ids are kept in the memo
    (`note`, `meeting`, `task`), and at a known record they are looked up before they are created.
    """

    destination_settings = ZohoSettings
    route_settings = ZohoRoute
    max_batch = requests.MAX_BATCH
    conditional_writes = True

    def __init__(self, settings: ZohoSettings, context: Context) -> None:
        self._client = ZohoClient(settings, context)
        self._leads = ZohoLeads(self._client)
        self._activities = ZohoActivities(self._client)
        self._sources = Sources(context)
        self._offload = context.offload
        self._now = context.now

    def check_route(self, settings: ZohoRoute, fields: Sequence[str]) -> None:
        """Compile the remark. Raises `SettingError`."""
        self._sources.check("remark", settings.remark)
        check_appointment(settings.appointment, self._sources)

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
        rows = [each for each in made if isinstance(each, Row)]
        written = await self._leads.write(rows) if rows else []
        due = {each.row.record.id: activity for each in written if (activity := self._due(each)) is not None}
        planned = [
            PlannedActivity(each.row.record.id, activity, each.row.route.module, remote_id, each.is_new)
            for each in written
            if (activity := due.get(each.row.record.id)) and (remote_id := _remote_id(each))
        ]
        done = await self._activities.write(planned) if planned else {}
        outcomes = iter([_outcome(each, due.get(each.row.record.id), done.get(each.row.record.id)) for each in written])
        return [next(outcomes) if isinstance(each, Row) else each for each in made]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that writes the records as new ones, without that for their remarks."""
        rows = [row for record in records if isinstance(row := self._row(record), Row)]
        headers = {"Authorization": f"Zoho-oauthtoken {MASK}", "Content-Type": "application/json"}
        document = requests.upsert_document(rows) if rows else {"data": [dict(each.fields) for each in records]}
        url = self._client.base / requests.zoho_route(records[0]).module / "upsert"
        return Preview("POST", str(url), headers, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the request for the note, event or task."""
        row = self._row(record)
        if isinstance(row, Rejected):
            raise ExpressionError(row.detail)
        activity = self._due(WrittenRow(row, Delivered(_RECORD), is_new=True))
        if activity is None:
            return ()
        headers = {"Authorization": f"Zoho-oauthtoken {MASK}", "Content-Type": "application/json"}
        document = {"data": [requests.activity_fields(activity, row.route.module, _RECORD)], "trigger": []}
        body = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        why = activity_reason(activity.kind, activity.start, row.route.appointment)
        url = self._client.base / requests.ACTIVITIES[activity.kind]
        return (Preview("POST", str(url), headers, body, why),)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Get a token, and compare the routes with the fields of their modules."""
        token = await self._client.token()
        if isinstance(token, Failure):
            return (Finding(Severity.ERROR, token.outcome.detail, setting=token.setting or ("refresh_token",)),)
        findings: list[Finding] = []
        for number, each in enumerate(routes):
            findings += await self._probe_route(number, each)
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

    def _row(self, record: Record) -> Row | Rejected:
        route, key = requests.zoho_route(record), requests.duplicate_key(record)
        if key is None:
            return _keyless(record)
        try:
            remark = self._sources.text(route.remark, record.event)
            texts = appointment_texts(route.appointment, self._sources, record.event)
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._client.masked(error.message), memo=record.memo)
        return Row(record, route, key, record.fields, remark, texts=texts)

    def _due(self, written: WrittenRow) -> Activity | None:
        """Return the activity to create with a record; None if an earlier attempt created it."""
        row = written.row
        if not isinstance(written.outcome, Delivered) or any(
            kind.value in row.record.memo for kind in requests.ACTIVITIES
        ):
            return None
        refused = refused_text("Zoho", row.dropped)
        appointment = row.route.appointment
        return event_activity(row.record.id, row.record.event, row.remark, refused, appointment, self._now(), row.texts)


def _remote_id(written: WrittenRow) -> str | None:
    return written.outcome.remote_id if isinstance(written.outcome, Delivered) else None


def _outcome(written: WrittenRow, activity: Activity | None, done: Outcome | None) -> Outcome:
    """Return the outcome of a record and its activity."""
    row, outcome = written.row, written.outcome
    if not isinstance(outcome, Delivered):
        return replace(outcome, memo={**row.record.memo, **outcome.memo})
    memo = dict(row.record.memo)
    if isinstance(done, Retry | Rejected):
        return replace(done, detail=f"the record is written, but not its note, event or task: {done.detail}", memo=memo)
    if activity is not None and isinstance(done, Delivered) and done.remote_id:
        memo[activity.kind.value] = done.remote_id
    warning = f"left out because Zoho refuses it: {', '.join(row.dropped)}; its value is in the remark"
    return replace(outcome, warning=warning if row.dropped else None, memo=memo, left_out=tuple(row.dropped))


def _keyless(record: Record) -> Rejected:
    names = ", ".join(requests.zoho_route(record).duplicate_check_fields)
    why = f"it has none of duplicate_check_fields ({names}), so it could be written twice; map one, or name another"
    return Rejected(Reason.MAPPING, why)
