"""The HubSpot sandbox's owners, pipelines, lists and definitions of properties. Does not use the network.

Sources: HubSpot's specifications of the owners, pipelines and lists APIs.
"""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import orjson

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.auth import Caller
from connectors.testing.hubspot.errors import CONFLICT, NOT_FOUND, RefusedError, not_found, unknown_address, unreadable
from connectors.testing.hubspot.requests import Address, need, read_text
from connectors.testing.hubspot.schema import ObjectType, Property, moment
from connectors.testing.hubspot.store import Store

_STATIC = frozenset({"MANUAL", "SNAPSHOT"})

_MOST_UNIQUE = 10
_TYPES = get_args(get_type_hints(Property)["type"])


class Account:
    """Everything of an account that is no record. Each method raises `RefusedError`.

    Args:
        store: Holds the records.
        owners: Ids of the active owners, by e-mail.
        lists: Processing types of the lists of contacts (`MANUAL`, `SNAPSHOT`, `DYNAMIC`), by id.
    """

    def __init__(self, store: Store, owners: Mapping[str, str], lists: Mapping[str, str]) -> None:
        self._store = store
        self._owners = owners
        self._lists = lists
        self.members: dict[str, list[str]] = {list_id: [] for list_id in lists}
        """Ids of the contacts in each list."""

    def answer(self, method: str, address: Address, caller: Caller, body: bytes) -> Reply:
        """Answer a call to one of the three areas."""
        match method, address.area, address.rest:
            case "GET", "owners", ():
                caller.need("owners", "read")
                return self._find(address.one("email"))
            case "GET", "owners", (owner_id,):
                caller.need("owners", "read")
                return Reply(200, self._owner(owner_id))
            case "GET", "pipelines", (name,):
                caller.need(self._store.kind(name).scope, "read")
                return self._pipelines()
            case "GET", "lists", (list_id,):
                caller.need_list("read")
                return Reply(200, {"list": self._list(list_id)})
            case "PUT", "lists", (list_id, "memberships", "add"):
                caller.need_list("write")
                return self._add(list_id, body)
        raise unknown_address()

    def _find(self, email: str | None) -> Reply:
        found = [one for held, one in self._owners.items() if email is None or held.lower() == email.lower()]
        return Reply(200, {"results": [self._owner(each) for each in found]})

    def _owner(self, owner_id: str) -> dict[str, Any]:
        email = next((held for held, one in self._owners.items() if one == owner_id), None)
        if email is None:
            raise RefusedError(404, "resource not found", NOT_FOUND)
        times = dict.fromkeys(("createdAt", "updatedAt"), moment(0))
        return {"id": owner_id, "type": "PERSON", "email": email, "userId": 1, "archived": False, **times}

    def _pipelines(self) -> Reply:
        properties = self._store.properties["deals"]
        stages = [
            {"id": name, "label": label, "displayOrder": position, "metadata": {}, "archived": False}
            for position, (name, label) in enumerate((properties["dealstage"].options or {}).items())
        ]
        results = [
            {"id": name, "label": label, "displayOrder": 0, "archived": False, "stages": stages}
            for name, label in (properties["pipeline"].options or {}).items()
        ]
        return Reply(200, {"results": results})

    def _list(self, list_id: str) -> dict[str, Any]:
        if list_id not in self._lists:
            raise RefusedError(404, f"List does not exist with ID {list_id}.", NOT_FOUND)
        kind = self._lists[list_id]
        return {"listId": list_id, "name": f"List {list_id}", "objectTypeId": "0-1", "processingType": kind}

    def _add(self, list_id: str, body: bytes) -> Reply:
        try:
            ids = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise unreadable(error.msg, error.lineno, error.colno) from None
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise unreadable("Cannot deserialize value of type `java.util.ArrayList`")
        if self._list(list_id)["processingType"] not in _STATIC:
            raise RefusedError(400, f"List {list_id} is not of type MANUAL or SNAPSHOT")
        known = {each.id for each in self._store.records("contacts")}
        added = [each for each in ids if each in known and each not in self.members[list_id]]
        self.members[list_id] += added
        missing = [each for each in ids if each not in known]
        return Reply(200, {"recordsIdsAdded": added, "recordIdsRemoved": [], "recordIdsMissing": missing})


def all_definitions(store: Store, kind: ObjectType) -> Reply:
    """Return all properties of an object, on one page."""
    return Reply(200, {"results": [each.document() for each in store.properties[kind.name].values()]})


def one_definition(store: Store, kind: ObjectType, name: str) -> Reply:
    """Return one property. Raises `RefusedError` if it does not exist."""
    definition = store.properties[kind.name].get(name)
    if definition is None:
        raise not_found()
    return Reply(200, definition.document())


def define(store: Store, kind: ObjectType, document: Mapping[str, Any]) -> Reply:
    """Add a custom property. Raises `RefusedError`.

    An object has at most ten unique properties, and a property can be made unique only at its creation (HubSpot's guide
    to properties).
    """
    need(document, "name", "label", "type", "fieldType", "groupName")
    name, kind_of_value = read_text(document, "name") or "", document["type"]
    if kind_of_value not in _TYPES:
        raise unreadable(f"Cannot deserialize a type from {kind_of_value}")
    known = store.properties[kind.name]
    if name in known:
        raise RefusedError(409, f"Property named '{name}' already exists.", CONFLICT)
    unique = document.get("hasUniqueValue") is True
    if unique and sum(each.unique for each in known.values()) >= _MOST_UNIQUE:
        raise RefusedError(400, f"An object can have at most {_MOST_UNIQUE} properties with unique values")
    options = document.get("options") or []
    for each in options:
        need(each, "label", "value")
    definition = Property(
        name=name,
        label=read_text(document, "label") or "",
        type=kind_of_value,
        field=read_text(document, "fieldType") or "",
        group=read_text(document, "groupName") or "",
        options={each["value"]: each["label"] for each in options} if kind_of_value == "enumeration" else None,
        unique=unique,
    )
    known[name] = definition
    return Reply(201, definition.document())
