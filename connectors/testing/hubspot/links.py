"""The HubSpot sandbox's calls for the associations of records. Does not use the network.

Sources: HubSpot's reference of the associations API, its changelog (at most 1000 inputs of a read, since February 2025)
and recorded answers (for a record without any association).
"""

from collections.abc import Mapping
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.answers import Version
from connectors.testing.hubspot.associations import default_type, invalid_ids
from connectors.testing.hubspot.errors import NOT_FOUND, RefusedError, unreadable
from connectors.testing.hubspot.requests import need, read_inputs, read_text
from connectors.testing.hubspot.schema import ObjectType
from connectors.testing.hubspot.store import Store

_MOST_INPUTS = 1000
_MOST_LINKS = 2000


class Links:
    """Calls that read associations, and create those that need no label.

    Args:
        store: Holds the records.
        page: Maximum number of associations of one record in an answer.
    """

    def __init__(self, store: Store, page: int) -> None:
        self._store = store
        self._page = page

    def read(
        self,
        kind: ObjectType,
        target: ObjectType,
        document: Mapping[str, Any],
        version: Version,
        times: Mapping[str, str],
    ) -> Reply:
        """Return the associations of records, page by page; records without any, or unknown ones, are in errors.

        Raises `RefusedError`.
        """
        results, errors = [], []
        for each in read_inputs(document, "id", most=_MOST_INPUTS):
            record_id, after = read_text(each, "id") or "", _after(read_text(each, "after"))
            record = self._store.find(kind, record_id, None)
            linked = record.associations.get(target.name, []) if record else []
            shown = linked[after : after + self._page]
            if not shown:
                errors.append(_without(kind, target, record_id))
                continue
            result: dict[str, Any] = {
                "from": {"id": record_id},
                "to": [_link(kind, target, linked_id, version) for linked_id in shown],
            }
            if after + self._page < len(linked):
                result["paging"] = {"next": {"after": str(after + self._page), "link": "?after"}}
            results.append(result)
        body: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return Reply(version.multi_status if errors else 200, body | dict(times))

    def associate(
        self,
        kind: ObjectType,
        target: ObjectType,
        document: Mapping[str, Any],
        version: Version,
        times: Mapping[str, str],
    ) -> Reply:
        """Associate pairs of records by default, each separately; repeating it changes nothing.

        Raises `RefusedError`.
        """
        results, errors = [], []
        for each in read_inputs(document, "from", "to", most=_MOST_LINKS):
            one, other = _id(each["from"]), _id(each["to"])
            try:
                results += self._associated(kind, one, target, other)
            except RefusedError as refused:
                errors.append(refused.element(None))
        body: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return Reply(version.multi_status if errors else 200, body | dict(times))

    def associate_one(
        self, kind: ObjectType, record_id: str, target: ObjectType, target_id: str, times: Mapping[str, str]
    ) -> Reply:
        """Associate two records by default; repeating it changes nothing. Raises `RefusedError`."""
        results = self._associated(kind, record_id, target, target_id)
        return Reply(200, {"status": "COMPLETE", "results": results, **times})

    def _associated(self, kind: ObjectType, record_id: str, target: ObjectType, target_id: str) -> list[dict[str, Any]]:
        """Associate two records, and return both directions."""
        one, other = self._store.find(kind, record_id, None), self._store.find(target, target_id, None)
        if one is None or other is None:
            raise invalid_ids(kind, record_id) if one is None else invalid_ids(target, target_id)
        self._store.associate(one, other)
        return [
            {"from": {"id": one.id}, "to": {"id": other.id}, "associationSpec": _spec(kind, target)},
            {"from": {"id": other.id}, "to": {"id": one.id}, "associationSpec": _spec(target, kind)},
        ]


def _spec(source: ObjectType, target: ObjectType) -> dict[str, Any]:
    category, number = default_type(source, target)
    return {"associationCategory": category, "associationTypeId": number}


def _id(given: object) -> str:
    if not isinstance(given, dict):
        raise unreadable("Cannot construct an association from this value")
    need(given, "id")
    return read_text(given, "id") or ""


def _link(kind: ObjectType, target: ObjectType, linked_id: str, version: Version) -> dict[str, Any]:
    """Return one association. Its id is a number in the old paths and text in the reference of the dated ones."""
    category, number = default_type(kind, target)
    types = [{"category": category, "typeId": number, "label": None}]
    return {"toObjectId": linked_id if version.links else int(linked_id), "associationTypes": types}


def _without(kind: ObjectType, target: ObjectType, record_id: str) -> dict[str, Any]:
    return {
        "status": "error",
        "category": NOT_FOUND,
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": f"No {target.singular} is associated with {kind.singular} {record_id}.",
        "context": {
            "fromObjectId": [record_id],
            "fromObjectType": [kind.singular],
            "toObjectType": [target.singular],
        },
    }


def _after(given: str | None) -> int:
    if given is None:
        return 0
    if not given.isdecimal():
        raise RefusedError(400, "The paging token is not valid")
    return int(given)
