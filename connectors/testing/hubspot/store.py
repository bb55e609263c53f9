"""The records of the HubSpot sandbox: lookup, writes and refusals. Does not use the network.

A write is planned first and then applied. A plan changes nothing, so that a batch without trace ids can be refused as a
whole, and the refusal lists everything that is wrong with the record.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from connectors.testing.hubspot.associations import invalid_ids
from connectors.testing.hubspot.defaults import STAGES
from connectors.testing.hubspot.errors import (
    CONFLICT,
    NOT_FOUND,
    Invalid,
    InvalidValuesError,
    RefusedError,
    required_properties,
)
from connectors.testing.hubspot.schema import ObjectType, Property, moment, read_value

_STAGE = "lifecyclestage"
_ADDITIONAL = "hs_additional_emails"
_ORDER = {stage: position for position, stage in enumerate(STAGES)}


@dataclass(slots=True, repr=False)
class StoredObject:
    """A record in the sandbox."""

    id: str
    kind: str
    """Name of the object: `contacts`."""
    properties: dict[str, str]
    """Values by internal name, without empty ones."""
    created_at: float
    """Seconds since the epoch."""
    updated_at: float
    associations: dict[str, list[str]] = field(default_factory=dict)
    """Ids of its associated records, by the name of their object, in order."""
    writes: int = 0
    """Number of writes: 1, unless it has been updated."""
    versions: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    """Earlier properties with their times; versions older than the lag of search are dropped."""


@dataclass(frozen=True, slots=True)
class Write:
    """A valid write."""

    kind: ObjectType
    found: StoredObject | None
    """The record to update; None to create one."""
    properties: Mapping[str, str]
    """Checked values; an empty one clears."""
    links: Sequence[tuple[str, str]]
    """Object and id of each record to associate."""
    claims: Collection[tuple[str, str]]
    """Property and value of each key that no other record may have."""


class Store:
    """The records of all objects.

    Args:
        kinds: The objects of the account.
        portal: The account.
        required: Properties that an administrator's rules require, by object.
        names_existing: True if a conflict names the id of the other record.
        search_lag: Seconds for which search may show an older state of a record.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        kinds: Sequence[ObjectType],
        *,
        portal: int,
        required: Mapping[str, Collection[str]],
        names_existing: bool,
        search_lag: float,
        now: Callable[[], float],
    ) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.properties = {kind.name: {each.name: each for each in kind.properties} for kind in kinds}
        """Definitions, by object and name, including custom ones."""
        self.portal = portal
        self._required = required
        self._names_existing = names_existing
        self._search_lag = search_lag
        self._now = now
        self._records: dict[str, dict[str, StoredObject]] = {kind.name: {} for kind in kinds}
        self._owners: dict[tuple[str, str, str], str] = {}
        self._ids = count(101)

    def kind(self, name: str) -> ObjectType:
        """Return the object that a path names. Raises `RefusedError`."""
        for kind in self.kinds.values():
            if kind.answers_to(name):
                return kind
        raise RefusedError(400, f"Unable to infer object type from: {name}", None)

    def records(self, kind: str) -> list[StoredObject]:
        """Return the records of an object, in the order of creation."""
        return list(self._records[kind].values())

    def find(self, kind: ObjectType, value: str, by: str | None) -> StoredObject | None:
        """Return the record with this id, or with this value of an identifying property.

        Raises `RefusedError` for a property that does not identify records.
        """
        if by in (None, "hs_object_id"):
            return self._records[kind.name].get(value)
        definition = self.properties[kind.name].get(by)
        if definition is None or not (definition.unique or by == kind.key):
            raise RefusedError(400, f"Unable to perform update/upsert by non-unique {kind.type_id} property {by}")
        owner = self._owners.get((kind.name, by, self.normal(kind, by, value)))
        return None if owner is None else self._records[kind.name][owner]

    def normal(self, kind: ObjectType, by: str | None, value: str) -> str:
        """Return a value as it is compared: e-mails in lower case (contacts also have secondary ones)."""
        return value.strip().lower() if by == kind.key else value

    def plan(
        self,
        kind: ObjectType,
        given: Mapping[str, str],
        found: StoredObject | None,
        links: Sequence[tuple[str, str]] = (),
        *,
        enforced: bool,
    ) -> Write:
        """Return a checked write. Raises `RefusedError` with all invalid values.

        Args:
            kind: The object.
            given: Values by property, as they were sent.
            found: The record to update; None creates one.
            links: Associations of a new record.
            enforced: True if the administrator's rules apply, as they do since version 2026-09.
        """
        values = self._values(kind, given)
        if found is not None:
            values = _forward_only(values, found)
        after = {**(found.properties if found else {}), **values}
        self._check_required(kind, after, found, enforced=enforced)
        self._check_links(kind, links, found)
        claims = self._claims(kind, values)
        for name, value in claims:
            self._check_owner(kind, name, value, found)
        return Write(kind, found, values, links, claims)

    def apply(self, write: Write) -> StoredObject:
        """Apply a planned write, and return the record."""
        now, kind = self._now(), write.kind
        record = write.found
        if record is None:
            record = StoredObject(str(next(self._ids)), kind.name, {}, now, now)
            record.properties = {"hs_object_id": record.id, kind.created: moment(now)}
            self._records[kind.name][record.id] = record
        elif write.properties:
            self._disown(kind, record, write.properties)
        kept = {**record.properties, **write.properties, kind.modified: moment(now)}
        record.properties = {name: value for name, value in kept.items() if value}
        record.updated_at = now
        record.writes += 1
        seen = sum(at <= now - self._search_lag for at, _ in record.versions)
        record.versions = [*record.versions[max(seen - 1, 0) :], (now, record.properties)]
        for name, value in self._claims(kind, record.properties):
            self._owners[kind.name, name, value] = record.id
        for target, target_id in write.links:
            self.associate(record, self._records[target][target_id])
        return record

    def associate(self, one: StoredObject, other: StoredObject) -> None:
        """Associate two records; repeating it does nothing."""
        for here, there in ((one, other), (other, one)):
            ids = here.associations.setdefault(there.kind, [])
            if there.id not in ids:
                ids.append(there.id)

    def searchable(self, record: StoredObject) -> dict[str, str] | None:
        """Return the properties that search sees, which lags behind writes; None if it does not see the record yet."""
        seen = [properties for at, properties in record.versions if at <= self._now() - self._search_lag]
        return seen[-1] if seen else None

    def _values(self, kind: ObjectType, given: Mapping[str, str]) -> dict[str, str]:
        values: dict[str, str] = {}
        invalid: list[Invalid] = []
        for name, value in given.items():
            definition = self.properties[kind.name].get(name)
            if definition is None:
                invalid.append(Invalid(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
                continue
            read = read_value(definition, value, kind.key)
            if isinstance(read, Invalid):
                invalid.append(read)
            else:
                values[name] = read
        if invalid:
            raise InvalidValuesError(invalid, self.portal)
        return values

    def _check_required(
        self, kind: ObjectType, after: Mapping[str, str], found: StoredObject | None, *, enforced: bool
    ) -> None:
        wanted = list(kind.required)
        if enforced:
            wanted.extend(self._required.get(kind.name, ()))
        missing = [name for name in wanted if not after.get(name)]
        if missing:
            raise required_properties("updating" if found else "creating", kind.singular, missing)
        if kind.one_of and not any(after.get(name) for name in kind.one_of):
            names = ", ".join(kind.one_of)
            raise RefusedError(400, f"At least one of these properties must be set: [{names}]")

    def _check_links(self, kind: ObjectType, links: Sequence[tuple[str, str]], found: StoredObject | None) -> None:
        for target, target_id in links:
            if target_id not in self._records[target]:
                raise invalid_ids(self.kinds[target], target_id)
        if kind.needs and found is None and kind.needs not in {target for target, _ in links}:
            needed = self.kinds[kind.needs].singular
            raise RefusedError(400, f"A {kind.singular} cannot be created without an associated {needed}")

    def _claims(self, kind: ObjectType, values: Mapping[str, str]) -> set[tuple[str, str]]:
        claims = {(name, value) for name, value in values.items() if value and self.identifies(kind, name)}
        if kind.key == "email":
            claims |= {("email", each) for each in _addresses(values.get(_ADDITIONAL, ""))}
        return claims

    def identifies(self, kind: ObjectType, name: str) -> bool:
        """Return True if no two records of an object have the same value of a property."""
        definition: Property | None = self.properties[kind.name].get(name)
        return definition is not None and (definition.unique or name == kind.key)

    def _check_owner(self, kind: ObjectType, name: str, value: str, found: StoredObject | None) -> None:
        owner = self._owners.get((kind.name, name, value))
        if owner is None or (found is not None and owner == found.id):
            return
        if name == kind.key:
            raise conflict(kind, owner if self._names_existing else None)
        writer = found.id if found else "new record"
        raise RefusedError(
            400,
            f"Cannot set PropertyValueCoordinates{{portalId={self.portal}, objectTypeId={kind.type_id}, "
            f"propertyName={name}, value={value}}} on {writer}. {owner} already has that value.",
        )

    def _disown(self, kind: ObjectType, record: StoredObject, values: Mapping[str, str]) -> None:
        """Release the keys that no longer identify the record."""
        old = {name: value for name, value in record.properties.items() if name in values}
        for name, value in self._claims(kind, old):
            self._owners.pop((kind.name, name, value), None)


def conflict(kind: ObjectType, existing: str | None) -> RefusedError:
    """Return the refusal of a record that exists already; HubSpot does not always name the other one."""
    named = f"{kind.singular.capitalize()} already exists"
    if existing is None:
        return RefusedError(409, named, CONFLICT)
    return RefusedError(409, f"{named}. Existing ID: {existing}", CONFLICT, context={"existingId": [existing]})


def absent(kind: ObjectType, ids: Sequence[str]) -> RefusedError:
    """Return the refusal of ids in a batch that do not exist."""
    message = (
        f"Could not get some {kind.singular.upper()} objects, they may be deleted or not exist. "
        "Check that ids are valid."
    )
    return RefusedError(404, message, NOT_FOUND, context={"ids": list(ids)})


def with_properties(kind: ObjectType, added: Sequence[Property]) -> ObjectType:
    """Return the object with custom properties; a property of a known name replaces it."""
    known = {each.name: each for each in kind.properties}
    return replace(kind, properties=tuple({**known, **{each.name: each for each in added}}.values()))


def _addresses(value: str) -> list[str]:
    return [each.strip().lower() for each in value.split(";") if each.strip()]


def _forward_only(values: dict[str, str], found: StoredObject) -> dict[str, str]:
    """Drop a lifecycle stage that lies behind the contact's: HubSpot ignores it, and answers as if it were set.

    To move back, clear the stage first (HubSpot's guide to contacts). A secondary e-mail of the same contact does not
    change the primary one.
    """
    kept = dict(values)
    old, new = found.properties.get(_STAGE, ""), values.get(_STAGE, "")
    if old in _ORDER and new in _ORDER and _ORDER[new] < _ORDER[old]:
        del kept[_STAGE]
    if kept.get("email") in _addresses(found.properties.get(_ADDITIONAL, "")):
        del kept["email"]
    return kept
