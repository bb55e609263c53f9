"""The HubSpot sandbox's calls for the definitions of properties. Does not use the network."""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.errors import CONFLICT, RefusedError, not_found, unreadable
from connectors.testing.hubspot.requests import need, read_text
from connectors.testing.hubspot.schema import ObjectType, Property
from connectors.testing.hubspot.store import Store

_MOST_UNIQUE = 10
_TYPES = get_args(get_type_hints(Property)["type"])


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
