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
    SettingError,
    Vault,
)
from connectors.event_text import Sources
from connectors.http_client.answer import Answer
from connectors.http_client.masking import MASK, Secrets
from connectors.hubspot.activities import Activities
from connectors.hubspot.answers import Stored, is_success, read_held
from connectors.hubspot.client import HubSpotClient, hubspot_headers
from connectors.hubspot.contacts import Contacts, Written
from connectors.hubspot.lead_objects import NAME, LeadObjects
from connectors.hubspot.owners import HubSpotOwners
from connectors.hubspot.probe import Probe
from connectors.hubspot.related_records import RelatedRecords, RelatedResult
from connectors.hubspot.remarks import is_amount
from connectors.hubspot.requests import (
    ALONE,
    EMAIL,
    MERGED,
    OWNER,
    HubSpotRequests,
    Lead,
    hubspot_route,
    lead_of,
    match_key,
)
from connectors.hubspot.settings import CONTACTS, LEADS, HubSpotRoute, HubSpotSettings
from connectors.ownership import OwnerChoice

_TOKEN = re.compile(r"[!-~]+")


class HubSpotConnector(Connector):
    """Writes records into a HubSpot account: a batch upsert, and a note, meeting or task for each remark.

    An appointment gets its meeting or task even without a remark.

    Records are upserts by e-mail or by a property with unique values, and can be written again at any time. Notes,
    meetings and tasks cannot: their ids are kept in the memo (`note`, `meeting`, `task`), and if it is unknown whether
    one was created, the contact's activities are looked up first. A crash between the two calls leaves a contact
    without its note, until the record is delivered again.

    A record can have an owner, a follow-up task, a deal, a company and a static list (`RelatedRecords`). Deals and
    tasks are created and found as notes are. A deal belongs to the chat: an appointment finds the deal of its lead.

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
    uses_written = True
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
        self._contacts = Contacts(self._client)
        self._lead_objects = LeadObjects(self._client, self._contacts)
        activities = Activities(self._client, context.timeout)
        self._related = RelatedRecords(self._client, activities)
        self._choice = OwnerChoice(self._sources)
        self._owners = HubSpotOwners(self._client, self._choice)
        self._probe = Probe(settings, self._client)

    def open(self, vault: Vault) -> None:
        """Receive the vault for a new refresh token, and forget what another process may have changed."""
        self._client.open(vault)
        self._owners.open(vault)
        self._related.open()

    def check_route(self, settings: HubSpotRoute, fields: Sequence[str]) -> None:
        """Compile the remark. Raises `SettingError` for it, and for a missing field that every record needs."""
        if settings.match not in fields and not (settings.object == CONTACTS and settings.match == EMAIL):
            raise SettingError(
                ("match",), f"{settings.match} must be one of the route's fields: records are found by it"
            )
        if settings.object == LEADS and NAME not in fields:
            raise SettingError(("object",), f"{NAME} must be one of the route's fields: no lead is created without it")
        self._sources.check("remark", settings.remark)
        self._choice.check(("owner",), settings.owner)
        self._choice.check(("follow_up", "owner"), settings.follow_up.owner if settings.follow_up else None)
        for _, path, source in _sources_of(settings):
            self._sources.check_words(path, source)

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
        """Write the records, then what goes with them."""
        made = [await self._offload(partial(self._lead, record)) for record in records]
        leads = [each for each in made if isinstance(each, Lead)]
        assigned = await self._owners.assign(leads) if leads else []
        if not isinstance(assigned, list):
            return [replace(assigned, memo=record.memo) for record in records]
        writes = self._lead_objects if leads and leads[0].route.object == LEADS else self._contacts
        written = await writes.write(assigned) if assigned else []
        results = await self._related.write([(lead, each) for lead, each in written if isinstance(each, Stored)])
        outcomes = iter(_outcome(each, results.get(each[0].record.id)) for each in written)
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

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests for the note, meeting or task, and for what else the route asks for."""
        lead = self._lead(record)
        if isinstance(lead, Rejected):
            raise ExpressionError(lead.detail)
        return [
            Preview(
                request.method,
                str(request.url),
                hubspot_headers(request, MASK),
                self._secrets.mask((request.body or b"").decode()),
                why,
            )
            for request, why in self._related.planned(lead)
        ]

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
            lead = lead_of(record, self._sources.text(hubspot_route(record).remark, record.event))
            return replace(lead, texts=self._texts(lead.record, lead.route))
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._secrets.mask(error.message), memo=record.memo)

    def _texts(self, record: Record, route: HubSpotRoute) -> dict[str, str]:
        """Return the texts of what goes with a record, without those that are not wanted or that turns decide."""
        task_owner = route.follow_up.owner if route.follow_up else None
        owners = {
            name: self._choice.text(settings, record, name)
            for name, settings in (("owner", route.owner), ("task_owner", task_owner))
            if settings is not None
        }
        texts = {name: self._sources.words(source, record.event) for name, _, source in _sources_of(route)}
        return texts | {name: text for name, text in owners.items() if text is not None}


def _sources_of(route: HubSpotRoute) -> list[tuple[str, tuple[str, ...], str]]:
    """Return the texts of a route besides the remark, each with its name and the path of its setting."""
    deal, company = route.deal, route.company
    sources = (
        ("meeting", ("appointment", "title"), route.appointment.title),
        ("location", ("appointment", "location"), route.appointment.location),
        ("subject", ("follow_up", "subject"), route.follow_up.subject if route.follow_up else None),
        ("deal", ("deal", "name"), deal.name if deal else None),
        ("amount", ("deal", "amount"), deal.amount if deal else None),
        ("domain", ("company", "domain"), company.domain if company else None),
        ("company", ("company", "name"), company.name if company else None),
    )
    return [(name, path, source) for name, path, source in sources if source is not None]


def _outcome(written: Written, related: RelatedResult | None) -> Outcome:
    """Return the outcome of a record and what goes with it."""
    lead, stored = written
    turns = {name: lead.texts[name] for name in ("owner", "task_owner") if name in lead.texts and _is_turn(lead, name)}
    if not isinstance(stored, Stored):
        return replace(stored, memo={**lead.record.memo, **turns, **stored.memo})
    memo = {**lead.record.memo, **turns, "contact": lead.contact or stored.id, **(related.memo if related else {})}
    if related and related.failure:
        detail = f"the record is written, but not {related.failure.detail}"
        return replace(related.failure, detail=detail, memo={**memo, **related.failure.memo})
    left_out = (*lead.reasons, *({OWNER} if lead.warnings else ()))
    return Delivered(stored.id, stored.url, _warning(lead, related), stored.status, memo, left_out)


def _is_turn(lead: Lead, name: str) -> bool:
    follow_up = lead.route.follow_up
    settings = lead.route.owner if name == "owner" else follow_up.owner if follow_up else None
    return settings is not None and bool(settings.round_robin)


def _warning(lead: Lead, related: RelatedResult | None) -> str | None:
    remark = related.remark if related else None
    is_elsewhere = lead.route.object not in (CONTACTS, LEADS) and lead.record.event.get("Type") == APPOINTMENT
    refused = "; ".join(f"{name} ({why})" for name, why in lead.reasons.items())
    kept = "its value is in the remark" if remark else "only the event has its value"
    amount = lead.texts.get("amount", "").strip()
    parts = (
        f"left out because HubSpot refuses it: {refused}; {kept}" if refused else "",
        f"left out because HubSpot refuses it: {', '.join(related.left_out)}" if related and related.left_out else "",
        "the deal has no amount, because its text is not a number" if amount and not is_amount(amount) else "",
        "the remark was too long and has been cut" if remark and remark.is_cut else "",
        "the appointment got no meeting or task, which need object: contacts, or leads" if is_elsewhere else "",
        *lead.warnings,
    )
    return "; ".join(filter(None, parts)) or None


def _object_of(record: RemoteRecord) -> str:
    return record.route.object if isinstance(record.route, HubSpotRoute) else CONTACTS


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
