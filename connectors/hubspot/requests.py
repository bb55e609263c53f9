"""Records to leads, and leads to HubSpot's requests. Pure.

Source: HubSpot's guides to the object APIs, to search and to the properties API. Values are text, nothing else; a batch
takes 100 inputs; the version stands behind the area in dated paths and before it in v3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import orjson
from yarl import URL

from connectors.base import ExpressionError, Record
from connectors.http_client.address_guard import check_url
from connectors.hubspot.settings import CONTACTS, LEADS, HubSpotRoute, HubSpotSettings
from connectors.phone_numbers import phone_notations
from connectors.record import writable_fields

EMAIL = "email"
OWNER = "hubspot_owner_id"
PHONE = "phone"
MERGED = "hs_merged_object_ids"  # ids that now lead to this record, separated by `;` (default properties)
ALONE = "alone"
"""Memo key that keeps a record out of batches."""
UNCLEAR = "unclear"
"""Memo key for the time of a creation that was not answered, in seconds since the epoch."""
_NAMES = (EMAIL, "firstname", "lastname")
_LEAD_TO_CONTACT = 578  # the primary contact of a lead (HubSpot's guide to leads)


@dataclass(frozen=True, slots=True, repr=False)
class HubSpotRequest:
    """A request, complete except for its token."""

    method: str
    url: URL
    body: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Lead:
    """A record in HubSpot's form."""

    record: Record
    route: HubSpotRoute
    key: tuple[str, str] | None
    """Property by which it is found, and its value."""
    properties: Mapping[str, str]
    remark: str
    """Text of its activity; empty for none."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Values that HubSpot refused and that become part of the remark, by property."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """HubSpot's reasons for refusing them, by property."""
    contact: str | None = None
    """Record ID of its contact, if it is one of HubSpot's lead objects."""
    create_only: frozenset[str] = frozenset()
    """Properties that are written to a new record only; empty once the existing record has been read."""
    if_empty: frozenset[str] = frozenset()
    """Properties that are written only where the record has no value; empty once the existing one has been read."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Texts of what goes with it, by the names of `connector.TEXTS`; without those that are not wanted."""
    owner: str = ""
    """Owner of the record and its activities, by id; empty for none."""
    task_owner: str = ""
    """Owner of the follow-up task, if it has its own."""
    warnings: tuple[str, ...] = ()
    found: str | None = None
    """Record ID by which it is updated, because its key is not the primary e-mail of the contact."""

    @property
    def is_conditional(self) -> bool:
        """True if some properties depend on what HubSpot holds, and a record that may exist has not been read."""
        return bool(self.create_only or self.if_empty) and self.contact is None

    def beside(self, held: Mapping[str, str]) -> "Lead":
        """Return the lead with the properties that may be written to an existing record with these values."""
        kept = writable_fields(self.properties, held, create_only=self.create_only, if_empty=self.if_empty)
        owner = held.get(OWNER) or self.owner
        return replace(self, properties=kept, create_only=frozenset(), if_empty=frozenset(), owner=owner)

    def owned(self, owner: str) -> "Lead":
        """Return the lead with an owner, who is written to a record without one, unless the route maps the property."""
        if OWNER in self.properties:
            return replace(self, owner=owner)
        properties = {**self.properties, OWNER: owner}
        return replace(self, owner=owner, properties=properties, if_empty=self.if_empty | {OWNER})

    def less_email(self) -> "Lead":
        """Return the lead without its e-mail, for a contact that has it, perhaps as a secondary one.

        Writing a secondary e-mail can replace the primary one.
        """
        return replace(self, properties={name: value for name, value in self.properties.items() if name != EMAIL})

    def without(self, refused: Mapping[str, str]) -> "Lead | None":
        """Return the lead without refused properties (reasons by name).

        None if it has none of them, or one of them is its key.
        """
        named = {name: why for name, why in refused.items() if name in self.properties}
        if not named or (self.key and self.key[0] in named):
            return None
        return self._less(named)

    def without_email(self, refused: Mapping[str, str]) -> "Lead | None":
        """Return the lead without its refused e-mail, to be found by its phone, if the e-mail was its key.

        None if the e-mail is not refused, or there is no accepted phone.
        """
        is_key = self.key is not None and self.key[0] == EMAIL and EMAIL in refused
        if not is_key or not self.properties.get(PHONE) or PHONE in refused:
            return None
        return replace(self._less({name: why for name, why in refused.items() if name in self.properties}), key=None)

    def _less(self, named: Mapping[str, str]) -> "Lead":
        kept = {name: value for name, value in self.properties.items() if name not in named}
        dropped = {**self.dropped, **{name: self.properties[name] for name in named}}
        return replace(self, properties=kept, dropped=dropped, reasons={**self.reasons, **named})

    def named(self) -> "Lead":
        """Return the lead with a name if it has neither name nor e-mail, without which HubSpot creates no contact.

        The phone becomes the name. It is sent only when it is needed, because it would replace the name of an existing
        contact.
        """
        if self.route.object != CONTACTS or any(self.properties.get(name) for name in _NAMES):
            return self
        return replace(self, properties={**self.properties, "lastname": self.properties.get(PHONE) or "Unknown"})


class HubSpotRequests:
    """Builder of requests to an account. Raises ValueError, as a line for the operator, for an unusable address.

    Args:
        settings: Settings of the destination.
    """

    def __init__(self, settings: HubSpotSettings) -> None:
        try:
            url = URL(settings.base_url)
        except ValueError:
            raise ValueError("is not a URL") from None
        check_url(url, allow_private=settings.allow_private)
        if url.path not in ("", "/") or url.query_string:
            raise ValueError("must be scheme and host only; the path depends on api_version")
        self._origin = str(url.origin())
        self._version = settings.api_version
        self.token_url = URL(f"{self._origin}/oauth/{self._version}/token")

    def upsert(self, leads: Sequence[Lead]) -> HubSpotRequest:
        """Return the request that writes records with a key, all of one object and one key property.

        Each has its record's id as trace id, without which one bad record fails the whole batch.
        """
        inputs = [
            {"id": key[1], "idProperty": key[0], "objectWriteTraceId": lead.record.id, "properties": lead.properties}
            for lead in leads
            if (key := lead.key)
        ]
        return self._post(self._objects(leads[0].route.object, "batch", "upsert"), {"inputs": inputs})

    def update_batch(self, leads: Sequence[Lead]) -> HubSpotRequest:
        """Return the request that updates records by their ids (`Lead.found`), all of one object."""
        inputs = [
            {"id": lead.found, "objectWriteTraceId": lead.record.id, "properties": lead.properties} for lead in leads
        ]
        return self._post(self._objects(leads[0].route.object, "batch", "update"), {"inputs": inputs})

    def create_leads(self, leads: Sequence[Lead]) -> HubSpotRequest:
        """Return the request that creates lead objects at their contacts, which an upsert cannot name."""
        inputs = [
            {
                "objectWriteTraceId": lead.record.id,
                "properties": lead.properties,
                "associations": [association(lead.contact, _LEAD_TO_CONTACT)],
            }
            for lead in leads
            if lead.contact
        ]
        return self.add(LEADS, inputs)

    def create(self, lead: Lead) -> HubSpotRequest:
        """Return the request that creates a contact without a key."""
        document = {"properties": lead.named().properties, "associations": []}
        return self._post(self._objects(lead.route.object), document)

    def update(self, lead: Lead, found: str, by: str | None = None) -> HubSpotRequest:
        """Return the request that updates the record with an id, or with a value of the property `by`."""
        url = self._objects(lead.route.object, found, query=f"idProperty={by}" if by else "")
        return HubSpotRequest("PATCH", url, orjson.dumps({"properties": lead.properties}))

    def search(self, name: str, value: str, missing: str | None = None) -> HubSpotRequest:
        """Return the search for the oldest contact with this value of a property; of a phone in any usual notation.

        Args:
            name: Name of the property.
            value: Its value.
            missing: Name of a property that the contact must not have.
        """
        notations = phone_notations(value) if name == PHONE else ()
        condition = {"operator": "IN", "values": notations} if notations[1:] else {"operator": "EQ", "value": value}
        filters = [{"propertyName": name, **condition}]
        filters += [{"propertyName": missing, "operator": "NOT_HAS_PROPERTY"}] if missing else []
        document = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "createdate", "direction": "ASCENDING"}],
            "properties": [name],
            "limit": 1,
        }
        return self._post(self._objects(CONTACTS, "search"), document)

    def associated(self, kind: str, contacts: Mapping[str, str | None]) -> HubSpotRequest:
        """Return the request for the ids of contacts' activities, each from its page's end; at most 1000."""
        inputs = [{"id": contact, **({"after": after} if after else {})} for contact, after in contacts.items()]
        return self._post(self._path("associations", CONTACTS, kind, "batch", "read"), {"inputs": inputs})

    def read(self, kind: str, ids: Sequence[str], name: str) -> HubSpotRequest:
        """Return the request for a property of records of one object; at most 100."""
        document = {"properties": [name], "inputs": [{"id": each} for each in ids]}
        return self._post(self._objects(kind, "batch", "read"), document)

    def find(self, name: str, by: str | None, values: Sequence[str], wanted: Sequence[str]) -> HubSpotRequest:
        """Return the request for properties of records with these values of a property, of one object; at most 100.

        Without a property the values are ids. Unlike search, it finds new records at once.
        """
        document = {"properties": wanted, "inputs": [{"id": each} for each in values]}
        if by:
            document = {"idProperty": by, **document}
        return self._post(self._objects(name, "batch", "read"), document)

    def link(self, kind: str, pairs: Sequence[tuple[str, str]], target: str = LEADS) -> HubSpotRequest:
        """Return the request that associates records of two objects, by the ids of both; at most 2000.

        It uses the default association, which needs no type: HubSpot lists no types between activities and leads.
        Repeating it changes nothing.
        """
        inputs = [{"from": {"id": one}, "to": {"id": other}} for one, other in pairs]
        return self._post(self._path("associations", kind, target, "batch", "associate", "default"), {"inputs": inputs})

    def add(self, kind: str, inputs: Sequence[Mapping[str, object]]) -> HubSpotRequest:
        """Return the request that creates notes, meetings or tasks, or leads."""
        return self._post(self._objects(kind, "batch", "create"), {"inputs": inputs})

    def search_companies(self, domains: Sequence[str]) -> HubSpotRequest:
        """Return the search for the companies with these domains; about 60, because a body has 3,000 characters."""
        filters = [{"propertyName": "domain", "operator": "IN", "values": domains}]
        document = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "createdate", "direction": "ASCENDING"}],
            "properties": ["domain"],
            "limit": 200,
        }
        return self._post(self._objects("companies", "search"), document)

    def owners(self, email: str) -> HubSpotRequest:
        """Return the request for the owners with an e-mail; only active ones are listed."""
        query = f"email={quote(email, safe='')}&limit=100"
        end = ("",) if self._version == "v3" else ()  # the old path ends with a slash
        return HubSpotRequest("GET", self._path("owners", *end, query=query))

    def owner(self, owner_id: str) -> HubSpotRequest:
        """Return the request for an owner."""
        return HubSpotRequest("GET", self._path("owners", owner_id, query="idProperty=id"))

    def pipelines(self) -> HubSpotRequest:
        """Return the request for the pipelines of deals, with their stages."""
        return HubSpotRequest("GET", self._path("pipelines", "deals"))

    def static_list(self, list_id: str) -> HubSpotRequest:
        """Return the request for the definition of a list."""
        return HubSpotRequest("GET", self._path("lists", list_id))

    def add_to_list(self, list_id: str, contacts: Sequence[str]) -> HubSpotRequest:
        """Return the request that adds contacts to a static list; members stay members."""
        url = self._path("lists", list_id, "memberships", "add")
        return HubSpotRequest("PUT", url, orjson.dumps(contacts))

    def properties(self, name: str) -> HubSpotRequest:
        """Return the request for the definitions of an object's properties."""
        return HubSpotRequest("GET", self._path("properties", name))

    def token_info(self, token: str) -> HubSpotRequest:
        """Return the request for a token's scopes (guide to private apps). It is a POST, but writes nothing."""
        url = URL(f"{self._origin}/oauth/v2/private-apps/get/access-token-info")
        return self._post(url, {"tokenKey": token})

    def _objects(self, *parts: str, query: str = "") -> URL:
        return self._path("objects", *parts, query=query)

    def _path(self, area: str, *parts: str, query: str = "") -> URL:
        old = "v4" if area == "associations" else "v3"  # associations also have a v3, but without pages
        start = f"{old}/{area}" if self._version == "v3" else f"{area}/{self._version}"
        path = "".join(f"/{quote(part, safe='')}" for part in parts)
        return URL(f"{self._origin}/crm/{start}{path}{'?' if query else ''}{query}", encoded=True)

    def _post(self, url: URL, document: object) -> HubSpotRequest:
        return HubSpotRequest("POST", url, orjson.dumps(document))


def sent_items(request: HubSpotRequest) -> list[tuple[str, object]]:
    """Return the inputs of a batch, each with its trace id."""
    inputs: list[dict[str, object]] = orjson.loads(request.body or b"{}").get("inputs", [])
    return [(str(each["objectWriteTraceId"]), each) for each in inputs]


def association(contact: str, type_id: int) -> dict[str, object]:
    """Return the association of a new record with its contact. `type_id` is HubSpot's association type."""
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}]
    return {"to": {"id": contact}, "types": types}


def hubspot_route(record: Record) -> HubSpotRoute:
    """Return the record's route settings, which the bridge created from `HubSpotRoute`."""
    if not isinstance(record.route, HubSpotRoute):
        raise TypeError("the record's route is not one of this connector")
    return record.route


def match_key(record: Record) -> tuple[str, str] | None:
    """Return the property that identifies a record, and its value; None if it has none.

    The property is the route's `match`; for contacts without a value for it, the e-mail. HubSpot keeps e-mails in lower
    case.
    """
    route = hubspot_route(record)
    for name in (route.match, EMAIL) if route.object == CONTACTS else (route.match,):
        try:
            value = property_text(record.fields.get(name)).strip()
        except ExpressionError:  # `lead_of` reports it
            continue
        if value:
            return name, value.lower() if name == EMAIL else value
    return None


def lead_of(record: Record, remark: str) -> Lead:
    """Return the lead of a record. Raises `ExpressionError` for a record that cannot be sent."""
    route = hubspot_route(record)
    properties = {name: property_text(value) for name, value in record.fields.items()}
    key = match_key(record)
    if key is not None:
        properties[key[0]] = key[1]
    elif route.object != CONTACTS:
        raise ExpressionError(f"the field {route.match}, which match names, is empty")
    written = properties.keys() - {key[0] if key else None}
    return Lead(
        record,
        route,
        key,
        properties,
        remark,
        create_only=record.create_only & written,
        if_empty=record.if_empty & written,
    )


def property_text(value: object) -> str:
    """Return a value as HubSpot's text (guide to properties); options of a list are separated by `;`.

    Raises:
        ExpressionError: the value has no such form.
    """
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - not a number
            return str(int(value)) if value.is_integer() else repr(value)
        case list() | tuple():
            return ";".join(map(property_text, value))
    raise ExpressionError("a field is neither text, number, boolean nor a list of them")
