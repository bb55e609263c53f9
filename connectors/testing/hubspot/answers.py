"""The form of records in the HubSpot sandbox's answers. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.testing.hubspot.associations import type_name
from connectors.testing.hubspot.schema import ObjectType, moment
from connectors.testing.hubspot.store import Store, StoredObject


@dataclass(frozen=True, slots=True)
class Version:
    """Differences between the versions of the API."""

    name: str
    """`v3`, `2026-03` or `2026-09`."""

    @property
    def multi_status(self) -> int:
        """Status of a batch with some failures: 2026-09 no longer declares 207."""
        return 200 if self.name == "2026-09" else 207

    @property
    def enforces(self) -> bool:
        """Return True if an administrator's rules apply to writes (HubSpot's changelog on validation, 2026-09)."""
        return self.name == "2026-09"

    @property
    def links(self) -> bool:
        """True if a record carries its `url`."""
        return self.name != "v3"


VERSIONS = {name: Version(name) for name in ("v3", "2026-03", "2026-09")}
"""Served versions, by name."""


def page_url(portal: int, kind: ObjectType, record_id: str) -> str:
    """Return the address of a record's page for people."""
    return f"https://app.hubspot.com/contacts/{portal}/record/{kind.type_id}/{record_id}"


def written(store: Store, kind: ObjectType, record: StoredObject, version: Version) -> dict[str, Any]:
    """Return a record for the answer to a write: with all of its properties."""
    return _record(store, kind, record, version, dict(sorted(record.properties.items())))


def read(
    store: Store,
    kind: ObjectType,
    record: StoredObject,
    version: Version,
    wanted: Collection[str],
    properties: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a record for the answer to a read: with id, times and the requested properties.

    An unset property is null, and an unknown property is left out (HubSpot's guide to the object APIs).

    Args:
        store: Holds the definitions.
        kind: Object of the record.
        record: The record.
        version: Version of the API.
        wanted: Requested properties; none for the usual ones.
        properties: Properties that the reader sees, if they are not the record's present ones.
    """
    seen = record.properties if properties is None else properties
    names = {*(wanted or kind.shown), "hs_object_id", kind.created, kind.modified}
    known = sorted(names & store.properties[kind.name].keys())
    return _record(store, kind, record, version, {name: seen.get(name) for name in known})


def associations(kind: ObjectType, record: StoredObject, wanted: Sequence[ObjectType]) -> dict[str, Any]:
    """Return the `associations` of a record with these objects; an object without any is left out."""
    return {
        target.name: {"results": [{"id": each, "type": type_name(kind, target)} for each in ids]}
        for target in wanted
        if (ids := record.associations.get(target.name))
    }


def _record(
    store: Store, kind: ObjectType, record: StoredObject, version: Version, properties: dict[str, Any]
) -> dict[str, Any]:
    shown = {
        "id": record.id,
        "properties": properties,
        "createdAt": moment(record.created_at),
        "updatedAt": moment(record.updated_at),
        "archived": False,
    }
    return shown | ({"url": page_url(store.portal, kind, record.id)} if version.links else {})
