"""The HubSpot connector: the records first, then their activities."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

from connectors.activities import APPOINTMENT
from connectors.base import (
    Connector,
    Context,
    Delivered,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Quota,
    Reason,
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
from connectors.hubspot.activities import Activities, ActivityResult, PlannedActivity
from connectors.hubspot.answers import Stored, is_success, read_held
from connectors.hubspot.client import HubSpotClient, hubspot_headers
from connectors.hubspot.contacts import Contacts, Written
from connectors.hubspot.lead_objects import NAME, LeadObjects
from connectors.hubspot.probe import Probe
from connectors.hubspot.remarks import BODIES, HubSpotActivity, hubspot_activity
from connectors.hubspot.requests import ALONE, EMAIL, MERGED, HubSpotRequests, Lead, hubspot_route, lead_of, match_key
from connectors.hubspot.settings import CONTACTS, LEADS, HubSpotRoute, HubSpotSettings

_TOKEN = re.compile(r"[!-~]+")
_WITH_ACTIVITIES = (CONTACTS, LEADS)


class HubSpotConnector(Connector):
    """Writes records into a HubSpot account: a batch upsert, and a note, meeting or task for each remark.

    An appointment gets its meeting or task even without a remark.

    Records are upserts by e-mail or by a property with unique values, and can be written again at any time. Notes,
    meetings and tasks cannot: their ids are kept in the memo (`note`, `meeting`, `task`), and if it is unknown whether
    one was created, the contact's activities are looked up first. A crash between the two calls leaves a contact
    without its note, until the record is delivered again.

    HubSpot's own lead objects are created at their contacts, which are found by e-mail (`LeadObjects`). Notes, meetings
    and tasks then belong to both.

    A whole destination, with a route:
        ```yaml
        destinations:
          hubspot: {connector: hubspot, access_token: "${HUBSPOT_ACCESS_TOKEN}"}
        chatbots:
          acme:
            routes:
              - to: hubspot
                fields: {email: Email, firstname: FirstName, lastname: LastName, phone: PhoneNumber}
                remark: Content
                appointment: {zone: Europe/Madrid}
        ```
    """

    destination_settings = HubSpotSettings
    route_settings = HubSpotRoute
    max_batch = 100
    conditional_writes = True
    rate_limit = (100, 10.0)  # of the smallest plans (HubSpot's usage guidelines); larger ones have up to 250

    def __init__(self, settings: HubSpotSettings, context: Context) -> None:
        problems = _token_problems(settings)
        try:
            self._requests = HubSpotRequests(settings)
        except ValueError as error:
            problems.append(SettingError(("base_url",), str(error)))
        if problems:
            raise problems[0] if len(problems) == 1 else ExceptionGroup("settings", problems)
        self._now = context.now
        secrets = _secrets_of(settings)
        self._secrets = secrets
        self._sources = Sources(context)
        self._offload = context.offload
        self._client = HubSpotClient(settings, self._requests, context, secrets)
        self._contacts = Contacts(self._client, self._requests, context.now, secrets)
        self._lead_objects = LeadObjects(self._client, self._requests, self._contacts, context.now, secrets)
        self._activities = Activities(self._client, self._requests, context.now, context.timeout, secrets)
        self._probe = Probe(settings, self._client, self._requests, secrets, context.now)

    def open(self, vault: Vault) -> None:
        """Receive the vault for a new refresh token, and forget what another process may have changed."""
        self._client.open(vault)
        self._activities.open()

    def check_route(self, settings: HubSpotRoute, fields: Sequence[str]) -> None:
        """Compile the remark. Raises `SettingError` for it, and for a missing field that every record needs."""
        if settings.match not in fields and not (settings.object == CONTACTS and settings.match == EMAIL):
            raise SettingError(
                ("match",), f"{settings.match} must be one of the route's fields: records are found by it"
            )
        if settings.object == LEADS and NAME not in fields:
            raise SettingError(("object",), f"{NAME} must be one of the route's fields: no lead is created without it")
        self._sources.check("remark", settings.remark)

    def quotas(self) -> Sequence[Quota]:
        """Return the account's allowances for the day and for ten seconds, as last reported."""
        return self._client.quotas()

    def batch_group(self, record: Record) -> Hashable:
        """Return object and key property, of which a batch has one; a record without a key goes alone."""
        key = match_key(record)
        if key is None or ALONE in record.memo:
            return ALONE, record.id
        return hubspot_route(record).object, key[0]

    def batch_key(self, record: Record) -> Hashable:
        """Return the key's value as HubSpot compares it: ignoring case."""
        key = match_key(record)
        return record.id if key is None else key[1].lower()

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, then their notes, meetings and tasks."""
        made = [await self._offload(partial(self._lead, record)) for record in records]
        leads = [each for each in made if isinstance(each, Lead)]
        writes = self._lead_objects if leads and leads[0].route.object == LEADS else self._contacts
        written = await writes.write(leads) if leads else []
        due = {lead.record.id: activity for lead, _ in written if (activity := self._due(lead))}
        wanted = [
            _at(lead, stored, due[lead.record.id])
            for lead, stored in written
            if isinstance(stored, Stored) and lead.record.id in due
        ]
        done = await self._activities.write(wanted) if wanted else {}
        outcomes = iter(_outcome(each, due.get(each[0].record.id), done.get(each[0].record.id)) for each in written)
        return [next(outcomes) if isinstance(each, Lead) else each for each in made]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that writes the records as new ones, without the request for their remarks.

        Raises:
            ExpressionError: the records cannot become a request; `deliver` would return `Rejected` with its message.
        """
        leads = [lead_of(record, self._sources.text(hubspot_route(record).remark, record.event)) for record in records]
        if leads[0].route.object == LEADS:  # shown as new ones, at contacts whose ids are unknown without a lookup
            at = [replace(each, contact=f"(the contact of {each.record.event.get('Email')})") for each in leads]
            request = self._requests.create_leads(at)
        else:
            request = self._requests.create(leads[0]) if leads[0].key is None else self._requests.upsert(leads)
        body = self._secrets.mask((request.body or b"").decode())
        return Preview(request.method, str(request.url), hubspot_headers(request, MASK), body)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Compare the routes with the definitions of the properties that they write, and check the token's scopes."""
        return await self._probe.ask(routes)

    async def holds(self, records: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        """Read the records by their ids. A record that was merged into another still exists."""
        held: dict[str, frozenset[str] | None] = {}
        objects = [_object_of(each) for each in records]
        for name in dict.fromkeys(objects):
            ids = [each.remote_id for each, of in zip(records, objects, strict=True) if of == name]
            answer = await self._client.send(self._requests.read(name, list(dict.fromkeys(ids)), MERGED))
            held[name] = read_held(answer) if isinstance(answer, Answer) and is_success(answer) else None
        found = [(each.remote_id, held[name]) for each, name in zip(records, objects, strict=True)]
        return [None if ids is None else remote_id in ids for remote_id, ids in found]

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._client.close()

    def _lead(self, record: Record) -> Lead | Rejected:
        try:
            return lead_of(record, self._sources.text(hubspot_route(record).remark, record.event))
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._secrets.mask(error.message), memo=record.memo)

    def _due(self, lead: Lead) -> HubSpotActivity | None:
        """Return the activity to create with the record; None if an earlier attempt created it."""
        is_elsewhere = lead.route.object not in _WITH_ACTIVITIES
        if is_elsewhere or any(_memo_name(kind) in lead.record.memo for kind in BODIES):
            return None
        return hubspot_activity(lead, self._now())


def _at(lead: Lead, stored: Stored, activity: HubSpotActivity) -> PlannedActivity:
    """Return the planned activity of a contact, or of a lead object and its contact."""
    if lead.contact is None:
        return PlannedActivity(lead.record.id, activity, stored)
    return PlannedActivity(lead.record.id, activity, replace(stored, id=lead.contact), stored.id)


def _outcome(written: Written, activity: HubSpotActivity | None, done: ActivityResult | None) -> Outcome:
    """Return the outcome of a record and its activity."""
    lead, stored = written
    if not isinstance(stored, Stored):
        return replace(stored, memo={**lead.record.memo, **stored.memo})
    memo = {**lead.record.memo, "contact": lead.contact or stored.id}
    if isinstance(done, Retry | Rejected):
        detail = f"the record is written, but not its note, meeting or task: {done.detail}"
        return replace(done, detail=detail, memo={**memo, **done.memo})
    if activity is not None and done is not None:
        memo[_memo_name(activity.kind)] = done
    return Delivered(stored.id, stored.url, _warning(lead, activity), stored.status, memo, tuple(lead.reasons))


def _warning(lead: Lead, activity: HubSpotActivity | None) -> str | None:
    is_elsewhere = lead.route.object not in _WITH_ACTIVITIES and lead.record.event.get("Type") == APPOINTMENT
    refused = "; ".join(f"{name} ({why})" for name, why in lead.reasons.items())
    kept = "its value is in the remark" if activity else "only the event has its value"
    parts = (
        f"left out because HubSpot refuses it: {refused}; {kept}" if refused else "",
        "the remark was too long and has been cut" if activity and activity.is_cut else "",
        "the appointment got no meeting or task, which need object: contacts, or leads" if is_elsewhere else "",
    )
    return "; ".join(filter(None, parts)) or None


def _object_of(record: RemoteRecord) -> str:
    return record.route.object if isinstance(record.route, HubSpotRoute) else CONTACTS


def _memo_name(kind: str) -> str:
    return kind.removesuffix("s")


def _token_problems(settings: HubSpotSettings) -> list[SettingError]:
    """Return the problems of a token that HTTP could not carry, or HubSpot would not accept."""
    if settings.access_token is None:
        return []
    token = settings.access_token.get_secret_value()
    if not token:
        return [SettingError(("access_token",), "is empty; enter the token of a private app, or a service key")]
    if not _TOKEN.fullmatch(token):
        what = "contains a blank, a control character or a character that is not ASCII; copy only the token again"
        return [SettingError(("access_token",), what)]
    return []


def _secrets_of(settings: HubSpotSettings) -> Secrets:
    held = [settings.access_token] if settings.access_token else []
    if settings.oauth:
        held += [settings.oauth.client_secret, settings.oauth.refresh_token]
    return Secrets(*(each.get_secret_value() for each in held))
