"""The HubSpot sandbox's calls for one record. Does not use the network."""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.answers import Version, associations, read, written
from connectors.testing.hubspot.associations import read_associations, resolve
from connectors.testing.hubspot.errors import NOT_FOUND, RefusedError, not_found
from connectors.testing.hubspot.requests import read_properties, read_text
from connectors.testing.hubspot.schema import ObjectType
from connectors.testing.hubspot.store import Store, StoredObject


class Records:
    """Calls for single records. Each method raises `RefusedError`.

    Args:
        store: Holds the records.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, kind: ObjectType, document: Mapping[str, Any], version: Version) -> Reply:
        """Create a record with all its associations, or not at all."""
        read_text(document, "objectWriteTraceId")
        properties = read_properties(document)
        links = resolve(read_associations(document), kind, self._store.kinds)
        write = self._store.plan(kind, properties, None, links, enforced=version.enforces)
        return Reply(201, written(self._store, kind, self._store.apply(write), version))

    def update(
        self, kind: ObjectType, record_id: str, by: str | None, document: Mapping[str, Any], version: Version
    ) -> Reply:
        """Update the record with this id, or with this value of the property `by`."""
        properties = read_properties(document)
        record = self._find(kind, record_id, by)
        write = self._store.plan(kind, properties, record, enforced=version.enforces)
        return Reply(200, written(self._store, kind, self._store.apply(write), version))

    def get(
        self,
        kind: ObjectType,
        record_id: str,
        by: str | None,
        wanted: Sequence[str],
        others: Sequence[str],
        version: Version,
    ) -> Reply:
        """Return a record, with the properties `wanted` and its associations with the objects `others`."""
        targets = [self._store.kind(each) for each in others]
        record = self._find(kind, record_id, by)
        document = read(self._store, kind, record, version, wanted)
        linked = associations(kind, record, targets)
        return Reply(200, document | ({"associations": linked} if linked else {}))

    def _find(self, kind: ObjectType, record_id: str, by: str | None) -> StoredObject:
        if by is None and not record_id.isdecimal():
            message = "Object not found.  objectId are usually numeric."
            raise RefusedError(404, message, NOT_FOUND, context={"id": [record_id]})
        record = self._store.find(kind, record_id, by)
        if record is None:
            raise not_found()
        return record
