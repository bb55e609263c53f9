"""The Salesforce connector: the calls of the bridge, passed to the parts of this package."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from zlib import crc32

from connectors.activities import ActivityKind, activity_reason, check_appointment
from connectors.base import (
    Connector,
    Context,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Quota,
    Record,
    Rejected,
    RemoteRecord,
    Retry,
    SettingError,
    Vault,
)
from connectors.event_text import Sources
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession
from connectors.ownership import OwnerChoice
from connectors.salesforce.activities import Appointments
from connectors.salesforce.auth import Access, login_url
from connectors.salesforce.client import SalesforceClient, SalesforceQuotas, Shapes
from connectors.salesforce.finder import RecordFinder
from connectors.salesforce.leads import Leads
from connectors.salesforce.probe import Prober
from connectors.salesforce.records import Row, Rows, body, external_key, is_appointment
from connectors.salesforce.related_records import SalesforceRelatedRecords
from connectors.salesforce.requests import (
    MOST_ROWS,
    SalesforceRequest,
    SalesforceRequests,
    rule_headers,
    salesforce_activity,
)
from connectors.salesforce.settings import SalesforceRoute, SalesforceSettings
from connectors.salesforce.users import Users

_NO_USER = "{name} is no active user, or one that may not be queried, so the owner is left out; correct the setting"
_CONTACT = "003"  # begins the ids of contacts
_SPREAD = 8  # number of parts for records that met a lock; each further lock divides the parts again


class SalesforceConnector(Connector):
    """Writes records into Salesforce by an External ID field, up to 200 in a call.

    A lead is one row of a collection upsert. An appointment is the same record and an event in one transaction, or a
    task if its text does not state its start beyond doubt.

    After a crash or a lost answer the outcome is unknown. Records are written again by the same key; an event or task,
    which has no key, is looked up first. Whether a record exists is queried only where it matters: if it was attempted
    before, if its key is not its event's own, or if it was received before this process took over the lane, because the
    previous process may have been killed after it wrote the record. An existing record keeps its owner, the names that
    a new one would get, and its description. So records that were waiting when the process started cost one more call
    per batch; later ones do not. If several processes share a store, their clocks must agree to the second. If the user
    may not query the object, a record is written as an existing one.

    A value that Salesforce refuses is left out with a warning, and so is a field that does not exist or that the user
    may not write. A converted lead is followed to its contact. `docs/crms/salesforce.md` has the details and the calls.

    A whole destination, and a route to it:
        ```yaml
        destinations:
          salesforce:
            connector: salesforce
            login_url: https://acme.my.salesforce.com
            client_id: ${SALESFORCE_CLIENT_ID}
            client_secret: ${SALESFORCE_CLIENT_SECRET}
        chatbots:
          acme-website:
            routes:
              - to: salesforce
                object: Lead
                external_id: Leadbridge_Id__c
                remark: Content
                fields: {FirstName: FirstName, LastName: LastName, Email: Email, Phone: PhoneNumber}
        ```
    """

    destination_settings = SalesforceSettings
    route_settings = SalesforceRoute
    max_batch = MOST_ROWS
    conditional_writes = True

    def __init__(self, settings: SalesforceSettings, context: Context) -> None:
        self._origin = login_url(settings)
        self._secrets = _secrets_of(settings)
        self._session = HttpSession(settings, context)
        self._usage = SalesforceQuotas(settings.quota_reserve)
        self._access = Access(settings, self._session, context.now, self._secrets)
        self._requests = SalesforceRequests(settings.api_version)
        self._client = SalesforceClient(self._access, self._session, self._usage, self._secrets, context.now)
        self._shapes = Shapes(self._client, self._requests)
        self._sources = Sources(context)
        self._offload = context.offload
        self._owners = OwnerChoice(self._sources)
        self._rows = Rows(self._sources, self._owners)
        self._finder = RecordFinder(self._client, self._requests, self._shapes)
        self._leads = Leads(self._client, self._requests, self._shapes, self._finder)
        self._appointments = Appointments(self._client, self._requests, self._finder)
        self._related = SalesforceRelatedRecords(self._client, self._requests)
        self._users = Users(self._client, self._requests)
        self._prober = Prober(self._client, self._requests, self._shapes, self._users)
        self._now = context.now
        self._since = 0.0

    def open(self, vault: Vault) -> None:
        """Receive the vault for a replaced refresh token, and for the turns of owners.

        Records received before this call may have been written by a killed process that owned the lane before.
        """
        self._access.open(vault)
        self._owners.open(vault)
        self._since = self._now()

    def check_route(self, settings: SalesforceRoute, fields: Sequence[str]) -> None:
        """Compile the remark, and check the fields and the key.

        Salesforce ignores the case of names, and assigns Id itself.
        """
        for at, name in enumerate(fields):
            if name.lower() == "id":
                raise SettingError(("fields", name), "Salesforce assigns Id itself; leave it out")
            if name.lower() in map(str.lower, fields[:at]):
                raise SettingError(("fields", name), "the same field as one above in another spelling")
        if settings.external_id.lower() == "id":
            raise SettingError(("external_id",), "must be an External ID field; Salesforce assigns Id itself")
        self._sources.check("remark", settings.remark)
        check_appointment(settings.appointment, self._sources)
        self._owners.check(("owner",), settings.owner)
        if settings.follow_up is not None:
            self._owners.check(("follow_up", "owner"), settings.follow_up.owner)
            self._sources.check_words(("follow_up", "subject"), settings.follow_up.subject)

    def quotas(self) -> Sequence[Quota]:
        """Return the org's daily allowances as last reported."""
        return self._usage.quotas()

    def batch_group(self, record: Record) -> Hashable:
        """Return the route settings and a small batch for locked records; an appointment goes alone.

        The number of small batches grows with the number of locks that the record met.
        """
        if is_appointment(record):
            return record.id
        locked = int(record.memo.get("locked", "0"))
        return record.route, crc32(record.id.encode()) % _SPREAD ** min(locked, 3)

    def batch_key(self, record: Record) -> Hashable:
        """Return the external id, ignoring case: Salesforce refuses rows with the same one."""
        return external_key(record).casefold()

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, which belong to one batch group."""
        route = _route(records[0])
        names = {name for record in records for name in record.fields}
        shape = await self._shapes.of(route.object, names)
        if isinstance(shape, Retry):
            return [shape] * len(records)
        made = [await self._offload(partial(self._rows.row, record, shape, self._since)) for record in records]
        rows, memos = await self._owned(route, [row for row in made if isinstance(row, Row)])
        if isinstance(rows, Retry):
            outcomes: dict[str, Outcome] = {row.record.id: rows for row in made if isinstance(row, Row)}
        else:
            leads = [row for row in rows if not row.is_appointment]
            is_whole_batch = len(leads) == len(records)
            written = await self._leads.deliver(leads, shape, is_whole_batch=is_whole_batch) if leads else []
            written += [await self._appointments.deliver(row, shape) for row in rows if row.is_appointment]
            related = await self._related.deliver(written)
            outcomes = {row.record.id: outcome for (row, _), outcome in zip(written, related, strict=True)}
        for record_id, memo in memos.items():
            outcome = outcomes[record_id]
            outcomes[record_id] = replace(outcome, memo={**memo, **outcome.memo})
        return [outcomes[row.record.id] if isinstance(row, Row) else row for row in made]

    async def _owned(
        self, route: SalesforceRoute, rows: Sequence[Row]
    ) -> tuple[list[Row] | Retry, dict[str, dict[str, str]]]:
        """Return the rows with their owners, and the memo of those who were chosen in turn, by the ids of the records.

        The rows are a failure if users cannot be looked up at the moment.
        """
        settings = {"owner": route.owner, "task_owner": route.follow_up.owner if route.follow_up else None}
        memos: dict[str, dict[str, str]] = {}
        for at, (name, setting) in enumerate(settings.items()):
            waiting = [row for row in rows if setting is not None and row.owner_texts[at] is None]
            wanted = [(setting, row.record.id) for row in waiting if setting is not None]
            for row, owner in zip(waiting, await self._owners.turns(wanted), strict=True):
                memos.setdefault(row.record.id, {})[name] = owner
        names = {
            row.record.id: [
                memos.get(row.record.id, {}).get(name) or text
                for name, text in zip(settings, row.owner_texts, strict=True)
            ]
            for row in rows
        }
        ids = await self._users.ids(name for each in names.values() for name in each if name)
        if isinstance(ids, Retry):
            return ids, memos
        owned = [
            row.owned(
                tuple(ids[name] if name else None for name in names[row.record.id]),
                tuple(
                    _NO_USER.format(name=name) for name in dict.fromkeys(names[row.record.id]) if name and not ids[name]
                ),
            )
            for row in rows
        ]
        return owned, memos

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that writes the records as new ones.

        Of appointments only the first one is shown. Lengths are unknown without a query, so nothing is cut.

        Raises:
            ExpressionError: the records cannot become a request; `deliver` would return `Rejected` with its message.
        """
        rows = [self._previewed(record) for record in records]
        first, headers = rows[0], rule_headers(rows[0].route, is_new=True)
        if first.is_appointment:
            request = self._requests.appointment(
                first, None, body(first, None, None)[0], salesforce_activity(first), headers
            )
        else:
            made = [(row.key, body(row, None, None)[0]) for row in rows if not row.is_appointment]
            request = self._requests.upsert(first.route, made, headers)
        url = str(self._client.instance or self._origin).rstrip("/") + request.path
        why = ""
        if first.is_appointment:
            start = first.appointment.start if first.appointment else None
            kind = ActivityKind.MEETING if start else ActivityKind.TASK
            why = f"with {activity_reason(kind, start, first.route.appointment)}"
        return self._shown(request, url, why)

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests for the follow-up task and the membership of a campaign."""
        origin = str(self._client.instance or self._origin).rstrip("/")
        planned = self._related.planned(self._previewed(record))
        return [self._shown(request, origin + request.path, why) for request, why in planned]

    def _shown(self, request: SalesforceRequest, url: str, why: str) -> Preview:
        headers = {**request.headers, "Authorization": f"Bearer {MASK}"}
        return Preview(request.method, url, headers, self._secrets.mask((request.body or b"").decode()), why)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Get a token, read the org's limits and its objects' fields, and compare the fields with the routes."""
        return await self._prober.probe(routes)

    async def holds(self, records: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        """Query the records by their ids. A record in the recycle bin, or merged into another, does not count."""
        held: dict[str, frozenset[str] | None] = {}
        for name in dict.fromkeys(map(_object_of, records)):
            held[name] = await self._finder.held(name, [each.remote_id for each in records if _object_of(each) == name])
        ids_held = [(each.remote_id, held.get(_object_of(each))) for each in records]
        return [None if ids is None else remote_id.casefold() in ids for remote_id, ids in ids_held]

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._shapes.close()
        await self._access.source.close()
        await self._session.close()

    def _previewed(self, record: Record) -> Row:
        row = self._rows.row(record, None)
        if isinstance(row, Rejected):
            raise ExpressionError(row.detail)
        return row


def _route(record: Record) -> SalesforceRoute:
    route: Any = record.route  # the bridge passes the connector's own model
    return route  # type: ignore[no-any-return]  # see above


def _object_of(record: RemoteRecord) -> str:
    """Return the object of a record: a lead may have been written into a contact."""
    name = record.route.object if isinstance(record.route, SalesforceRoute) else "Lead"
    return "Contact" if name == "Lead" and record.remote_id.startswith(_CONTACT) else name


def _secrets_of(settings: SalesforceSettings) -> Secrets:
    held = (settings.client_secret, settings.private_key, settings.refresh_token)
    return Secrets(*(secret.get_secret_value() for secret in held if secret is not None))
