"""The HubSpot sandbox's calls for the associations of records. No network in here.

Sources: HubSpot's reference of the associations API, its changelog (1000 inputs at most, since February 2025) and
recorded answers (what is said of a record without any).
"""

from collections.abc import Mapping
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.answers import Version
from connectors.testing.hubspot.associations import default_type
from connectors.testing.hubspot.errors import NOT_FOUND, RefusedError
from connectors.testing.hubspot.reading import read_inputs, read_text
from connectors.testing.hubspot.schema import ObjectType
from connectors.testing.hubspot.store import Store

_MOST_INPUTS = 1000


class Links:
    """Gives associations in batches.

    Args:
        store: Holds the records.
        page: How many associations of one record an answer has at most.
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
        """Give what records are associated with, page by page; those without any, or unknown, stand in errors.

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


def _link(kind: ObjectType, target: ObjectType, linked_id: str, version: Version) -> dict[str, Any]:
    """Give one association. Its id is a number in the old paths and text in the reference of the dated ones."""
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
