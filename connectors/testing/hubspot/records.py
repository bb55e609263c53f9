"""The HubSpot sandbox's calls for records: one, or a batch. Does not use the network.

Each input of a batch may have an `objectWriteTraceId`. If all have one, each is written or refused separately, and the
`errors` name it; otherwise one bad input refuses the whole call, and nothing is written. HubSpot documents this for
creations; a live account did the same for upserts and updates.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.answers import Version, associations, read, written
from connectors.testing.hubspot.associations import read_associations, resolve
from connectors.testing.hubspot.errors import NOT_FOUND, Invalid, InvalidValuesError, RefusedError, not_found
from connectors.testing.hubspot.requests import read_inputs, read_properties, read_text, read_texts
from connectors.testing.hubspot.schema import ObjectType
from connectors.testing.hubspot.store import Store, StoredObject, Write, absent, conflict


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


@dataclass(frozen=True, slots=True)
class _Input:
    plan: Callable[[], Write]
    """Checks the input against the records stored so far."""
    trace_id: str | None


class Batches:
    """Batch calls: create, update, upsert and read. Each method raises `RefusedError`.

    Args:
        store: Holds the records.
        multi_status: Status of a batch with some failures; None: that of the version.
        echoes: True if results repeat the trace ids of their inputs; HubSpot's documentation shows both.
        seed: Determines the order of the results.
    """

    def __init__(self, store: Store, *, multi_status: int | None, echoes: bool, seed: int) -> None:
        self._store = store
        self._multi_status = multi_status
        self._echoes = echoes
        self._random = Random(seed)  # noqa: S311 - nothing secret hangs on it

    def upsert(
        self, kind: ObjectType, document: Mapping[str, Any], version: Version, times: Mapping[str, str]
    ) -> Reply:
        """Update the records that exist, and create the others. One property identifies all of them."""
        inputs = read_inputs(document, "id", "properties")
        by = self._one_key(kind, inputs)
        plans = [self._upserting(kind, each, by, version) for each in inputs]
        return self._write(kind, plans, version, times, upserts=True)

    def create(
        self, kind: ObjectType, document: Mapping[str, Any], version: Version, times: Mapping[str, str]
    ) -> Reply:
        """Create records, each with its associations."""
        plans = [self._creating(kind, each, version) for each in read_inputs(document, "properties")]
        return self._write(kind, plans, version, times, good=201)

    def update(
        self, kind: ObjectType, document: Mapping[str, Any], version: Version, times: Mapping[str, str]
    ) -> Reply:
        """Update records that exist."""
        inputs = read_inputs(document, "id", "properties")
        by = self._one_key(kind, inputs)
        plans = [self._updating(kind, each, by, version) for each in inputs]
        return self._write(kind, plans, version, times)

    def read(self, kind: ObjectType, document: Mapping[str, Any], version: Version, times: Mapping[str, str]) -> Reply:
        """Return the records, and one error that names all missing ones."""
        inputs = read_inputs(document, "id")
        by = read_text(document, "idProperty")
        wanted = read_texts(document, "properties")
        found: dict[str, StoredObject] = {}
        missing = []
        for each in inputs:
            record = self._store.find(kind, _id(each), by)
            if record is None:
                missing.append(_id(each))
            else:
                found[record.id] = record
        results = [read(self._store, kind, record, version, wanted) for record in found.values()]
        errors = []
        if missing:
            refused = absent(kind, missing)
            context = {"ids": missing}
            errors = [{"status": "error", "category": refused.category, "message": refused.message, "context": context}]
        return self._reply(results, errors, version, times, good=200)

    def _one_key(self, kind: ObjectType, inputs: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the property that identifies the inputs, and refuse repeated ids."""
        keys = {read_text(each, "idProperty") for each in inputs}
        if len(keys) > 1:
            raise RefusedError(400, "All inputs of a batch must have the same idProperty")
        by = keys.pop()
        times = Counter(self._store.normal(kind, by, _id(each)) for each in inputs)
        twice = [each for each, number in times.items() if number > 1]
        if twice:
            listed = ", ".join(twice)
            message = f"Duplicate IDs found in batch input: [{listed}]. IDs must be unique"
            raise RefusedError(400, message, context={"ids": twice})
        if by is not None:
            self._store.find(kind, "", by)  # refuses a property that identifies nothing
        return by

    def _creating(self, kind: ObjectType, given: Mapping[str, Any], version: Version) -> _Input:
        properties, associations = read_properties(given), read_associations(given)

        def plan() -> Write:
            links = resolve(associations, kind, self._store.kinds)
            return self._store.plan(kind, properties, None, links, enforced=version.enforces)

        return _Input(plan, read_text(given, "objectWriteTraceId"))

    def _updating(self, kind: ObjectType, given: Mapping[str, Any], by: str | None, version: Version) -> _Input:
        properties, record_id = read_properties(given), _id(given)

        def plan() -> Write:
            found = self._store.find(kind, record_id, by)
            if found is None:
                raise absent(kind, [record_id])
            return self._store.plan(kind, properties, found, enforced=version.enforces)

        return _Input(plan, read_text(given, "objectWriteTraceId"))

    def _upserting(self, kind: ObjectType, given: Mapping[str, Any], by: str | None, version: Version) -> _Input:
        """Plan one upsert. A new record gets the property that identifies it from its id, if it was not sent."""
        if by in (None, "hs_object_id"):
            return self._updating(kind, given, by, version)
        properties, record_id = read_properties(given), _id(given)

        def plan() -> Write:
            found = self._store.find(kind, record_id, by)
            sent = properties if found or by is None else {by: record_id, **properties}
            return self._store.plan(kind, sent, found, enforced=version.enforces)

        return _Input(plan, read_text(given, "objectWriteTraceId"))

    def _write(
        self,
        kind: ObjectType,
        inputs: Sequence[_Input],
        version: Version,
        times: Mapping[str, str],
        *,
        upserts: bool = False,
        good: int = 200,
    ) -> Reply:
        traces = [each.trace_id for each in inputs if each.trace_id]
        if len(set(traces)) < len(traces):
            raise RefusedError(400, "Duplicate objectWriteTraceId found in batch input. They must be unique")
        errors: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for each in inputs if len(traces) == len(inputs) else self._all_or_none(kind, inputs):
            try:
                write = each.plan()
            except RefusedError as refused:
                errors.append(refused.element(each.trace_id or ""))
                continue
            shown = written(self._store, kind, self._store.apply(write), version)
            if upserts:
                shown["new"] = write.found is None
            if self._echoes and each.trace_id:
                shown["objectWriteTraceId"] = each.trace_id
            results.append(shown)
        self._random.shuffle(results)
        return self._reply(results, errors, version, times, good=good)

    def _all_or_none(self, kind: ObjectType, inputs: Sequence[_Input]) -> Sequence[_Input]:
        """Return the inputs if all are valid. Raises `RefusedError` with all wrong values."""
        invalid: list[Invalid] = []
        claims: Counter[tuple[str, str]] = Counter()
        for each in inputs:
            try:
                claims.update(each.plan().claims)
            except InvalidValuesError as refused:
                invalid.extend(refused.invalid)
        if invalid:
            raise InvalidValuesError(invalid, self._store.portal)
        if any(number > 1 for number in claims.values()):
            raise conflict(kind, None)
        return inputs

    def _reply(
        self,
        results: Sequence[Mapping[str, Any]],
        errors: Sequence[Mapping[str, Any]],
        version: Version,
        times: Mapping[str, str],
        *,
        good: int,
    ) -> Reply:
        body: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            good = self._multi_status or version.multi_status
            body |= {"numErrors": len(errors), "errors": errors}
        return Reply(good, body | dict(times))


def _id(given: Mapping[str, Any]) -> str:
    return read_text(given, "id") or ""
