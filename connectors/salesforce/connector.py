"""The Salesforce connector: what the bridge calls, and where its parts are put together."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any
from zlib import crc32

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
from connectors.http_client.answer import Answer
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import Session
from connectors.salesforce.activities import Appointments, planned_activity
from connectors.salesforce.answers import read_existing, read_parts
from connectors.salesforce.auth import Access, login_url
from connectors.salesforce.client import SalesforceClient, SalesforceQuotas, Shapes
from connectors.salesforce.leads import Leads
from connectors.salesforce.probe import Prober
from connectors.salesforce.records import Row, Rows, body, external_key, is_appointment
from connectors.salesforce.requests import KEYS_PER_QUERY, MOST_ROWS, SalesforceRequests, rule_headers
from connectors.salesforce.settings import SalesforceRoute, SalesforceSettings

_SPREAD = 8  # parts that records go in once they were locked; after a second time each of these in as many


class SalesforceConnector(Connector):
    """Writes records into Salesforce by an External ID field, up to 200 in a call.

    A lead is one row of a collection upsert. An appointment is the same record and an event, or a task where its text
    does not say beyond doubt when it begins, in one transaction.

    A crash or a lost answer leaves the records open. They are written by the same key again; what is no upsert (an
    event, a task) is looked for first. Whether a record exists is asked for only where it matters: where it has been
    tried before, where its key is not its event's own, or where it was received before this process took up the lane,
    for the one before may have been killed after it had written. Then a record that exists keeps its owner, the names
    that a new one would be given, and what its description says. So what was waiting when the process started costs one
    more call for each batch; what comes in later does not. Where several processes share a store, their clocks must
    agree to the second. Where the user may not query the object, the record is written as one that exists.

    What Salesforce does not take of a record goes without it, with a warning: a value that it refuses, a field that it
    does not have or that the user may not write.

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

    def __init__(self, settings: SalesforceSettings, context: Context) -> None:
        self._origin = login_url(settings)
        self._secrets = _secrets_of(settings)
        self._session = Session(settings, context)
        self._usage = SalesforceQuotas(settings.quota_reserve)
        self._access = Access(settings, self._session, context.now, self._secrets)
        self._requests = SalesforceRequests(settings.api_version)
        self._client = SalesforceClient(self._access, self._session, self._usage, self._secrets, context.now)
        self._shapes = Shapes(self._client, self._requests)
        self._sources = Sources(context)
        self._offload = context.offload
        self._rows = Rows(self._sources)
        self._leads = Leads(self._client, self._requests, self._shapes)
        self._appointments = Appointments(self._client, self._requests)
        self._prober = Prober(self._client, self._requests, self._shapes)
        self._now = context.now
        self._since = 0.0

    def open(self, vault: Vault) -> None:
        """Take the place where a refresh token is kept that Salesforce gives in place of the old one.

        What was received before may have been written by whoever worked the lane before and was killed.
        """
        self._access.open(vault)
        self._since = self._now()

    def check_route(self, settings: SalesforceRoute, fields: Sequence[str]) -> None:
        """Compile the remark, and look for fields and a key that no record can have.

        Salesforce's names do not know capitals, and it gives out Id itself.
        """
        for at, name in enumerate(fields):
            if name.lower() == "id":
                raise SettingError(("fields", name), "Salesforce gives out Id itself; leave it out")
            if name.lower() in map(str.lower, fields[:at]):
                raise SettingError(("fields", name), "the same field as one above, which is written in other letters")
        if settings.external_id.lower() == "id":
            raise SettingError(("external_id",), "must be an External ID field; Salesforce gives out Id itself")
        self._sources.check("remark", settings.remark)

    def quotas(self) -> Sequence[Quota]:
        """Return what the last answers have said of the org's daily calls."""
        return self._usage.quotas()

    def batch_group(self, record: Record) -> Hashable:
        """Let records of the same route settings share a call; an appointment goes alone, locked ones in small batches.

        The number of small batches grows with how often the record was locked.
        """
        if is_appointment(record):
            return record.id
        locked = int(record.memo.get("locked", "0"))
        return record.route, crc32(record.id.encode()) % _SPREAD ** min(locked, 3)

    def batch_key(self, record: Record) -> Hashable:
        """Return the external id's value: rows with the same one are refused, in whatever case it is written."""
        return external_key(record).casefold()

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, which are of one batch group."""
        route = _route(records[0])
        names = {name for record in records for name in record.fields}
        shape = await self._shapes.of(route.object, names)
        if isinstance(shape, Retry):
            return [shape] * len(records)
        made = [await self._offload(partial(self._rows.row, record, shape, self._since)) for record in records]
        rows = [row for row in made if isinstance(row, Row)]
        leads = [row for row in rows if not row.is_appointment]
        is_whole_batch = len(leads) == len(records)
        written = iter(await self._leads.deliver(leads, shape, is_whole_batch=is_whole_batch) if leads else ())
        outcomes: list[Outcome] = []
        for row in made:
            if isinstance(row, Rejected):
                outcomes.append(row)
            else:
                outcomes.append(await self._appointments.deliver(row, shape) if row.is_appointment else next(written))
        return outcomes

    def preview(self, records: Sequence[Record]) -> Preview:
        """Show the request that writes the records, as for ones that Salesforce does not have yet.

        Of appointments the first one is shown. Lengths are not known without asking, so nothing is cut.

        Raises:
            ExpressionError: no request can be made of them; `deliver` would give `Rejected` with its message.
        """
        rows = [self._previewed(record) for record in records]
        first, headers = rows[0], rule_headers(rows[0].route, is_new=True)
        if first.is_appointment:
            request = self._requests.appointment(
                first, None, body(first, None, None)[0], planned_activity(first), headers
            )
        else:
            made = [(row.key, body(row, None, None)[0]) for row in rows if not row.is_appointment]
            request = self._requests.upsert(first.route, made, headers)
        url = str(self._client.instance or self._origin).rstrip("/") + request.path
        shown = {**request.headers, "Authorization": f"Bearer {MASK}"}
        return Preview(request.method, url, shown, self._secrets.mask((request.body or b"").decode()))

    async def probe(self, wanted: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Ask for a token, the org's limits and its objects' fields, and compare these with what is wanted."""
        return await self._prober.probe(wanted)

    async def holds(self, filed: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        """Query the records by their ids. One in the recycle bin, or merged into another, is not held."""
        held: dict[str, frozenset[str] | None] = {}
        routes = {route.object: route for each in filed if isinstance(route := each.route, SalesforceRoute)}
        for name, route in routes.items():
            ids = [each.remote_id for each in filed if _object_of(each) == name]
            answer = await self._client.call(self._requests.existing(route, "Id", ids, description=False))
            parts = read_parts(answer) if isinstance(answer, Answer) else {}
            asked = [parts.get(str(number)) for number in range(-(-len(ids) // KEYS_PER_QUERY))]
            found = read_existing(asked, "Id")
            held[name] = None if found is None else frozenset(found)
        told = [(each.remote_id, held.get(_object_of(each))) for each in filed]
        return [None if ids is None else remote_id.casefold() in ids for remote_id, ids in told]

    async def close(self) -> None:
        """Close the connections; a token that is being fetched is given up."""
        await self._shapes.close()
        await self._access.source.close()
        await self._session.close()

    def _previewed(self, record: Record) -> Row:
        row = self._rows.row(record, None)
        if isinstance(row, Rejected):
            raise ExpressionError(row.detail)
        return row


def _route(record: Record) -> SalesforceRoute:
    route: Any = record.route  # the bridge gives the connector's own model
    return route  # type: ignore[no-any-return]  # see above


def _object_of(filed: RemoteRecord) -> str:
    return filed.route.object if isinstance(filed.route, SalesforceRoute) else ""


def _secrets_of(settings: SalesforceSettings) -> Secrets:
    held = (settings.client_secret, settings.private_key, settings.refresh_token)
    return Secrets(*(secret.get_secret_value() for secret in held if secret is not None))
