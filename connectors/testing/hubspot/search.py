"""The HubSpot sandbox's search, which lags behind writes. Does not use the network.

Source: HubSpot's guide to searching the CRM. Groups are alternatives; all filters of a group must match.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.answers import Version, read
from connectors.testing.hubspot.errors import RefusedError, not_set, unreadable
from connectors.testing.hubspot.requests import read_text, read_texts
from connectors.testing.hubspot.schema import ObjectType
from connectors.testing.hubspot.store import Store, StoredObject

_MOST_GROUPS = 5
_MOST_FILTERS = 6
_MOST_RESULTS = 200
_END = 10_000
_USUAL = 10
_SINGLE = frozenset({"EQ", "NEQ", "GT", "GTE", "LT", "LTE", "CONTAINS_TOKEN"})
_SEVERAL = frozenset({"IN", "NOT_IN"})
_NONE = frozenset({"HAS_PROPERTY", "NOT_HAS_PROPERTY"})
_SEARCHED = ("firstname", "lastname", "email", "phone", "hs_additional_emails", "mobilephone", "company")


def search(store: Store, kind: ObjectType, document: Mapping[str, Any], version: Version) -> Reply:
    """Return the records that match a search's filters. Raises `RefusedError`."""
    groups = _groups(store, kind, document)
    words = (read_text(document, "query") or "").lower()
    wanted = read_texts(document, "properties")
    limit, after = _number(document, "limit", _USUAL), _number(document, "after", 0)
    if not 1 <= limit <= _MOST_RESULTS or after + limit > _END:
        raise RefusedError(400, f"limit is 1 to {_MOST_RESULTS}, and paging ends at {_END} results")
    hits = []
    for record in store.records(kind.name):
        seen = store.searchable(record)
        if seen is not None and _matches(store, record, seen, groups) and _contains(seen, words):
            hits.append(read(store, kind, record, version, wanted, seen))
    page = hits[after : after + limit]
    paging = {"paging": {"next": {"after": str(after + limit)}}} if after + limit < len(hits) else {}
    return Reply(200, {"total": len(hits), "results": page, **paging})


def _groups(store: Store, kind: ObjectType, document: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    given = document.get("filterGroups", [])
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise unreadable("Cannot deserialize value of type `java.util.ArrayList` for `filterGroups`")
    groups = []
    for each in given:
        filters = each.get("filters")
        if not isinstance(filters, list):
            raise not_set(["filters"])
        groups.append([_checked(store, kind, one) for one in filters])
    if len(groups) > _MOST_GROUPS or any(len(each) > _MOST_FILTERS for each in groups):
        raise RefusedError(400, f"A search takes {_MOST_GROUPS} groups of {_MOST_FILTERS} filters at most")
    return groups


def _checked(store: Store, kind: ObjectType, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise unreadable("Cannot construct a filter from this value")
    missing = [name for name in ("propertyName", "operator") if not given.get(name)]
    if missing:
        raise not_set(missing)
    name, operator = read_text(given, "propertyName") or "", read_text(given, "operator") or ""
    if name.startswith("associations."):
        store.kind(name.removeprefix("associations."))
    elif name not in store.properties[kind.name]:
        raise RefusedError(400, f"There was a problem with the request. Property {name} does not exist")
    if operator in _SINGLE and not isinstance(given.get("value"), str):
        raise not_set(["value"])
    if operator in _SEVERAL and not isinstance(given.get("values"), list):
        raise not_set(["values"])
    if operator not in _SINGLE | _SEVERAL | _NONE:
        raise unreadable(f"Cannot deserialize an operator from {operator}")
    return given


def _matches(
    store: Store, record: StoredObject, seen: Mapping[str, str], groups: Sequence[list[dict[str, Any]]]
) -> bool:
    return not groups or any(all(_holds(store, record, seen, one) for one in each) for each in groups)


def _holds(store: Store, record: StoredObject, seen: Mapping[str, str], given: Mapping[str, Any]) -> bool:
    name, operator = given["propertyName"], given["operator"]
    if name.startswith("associations."):
        target = store.kind(name.removeprefix("associations."))
        values = set(record.associations.get(target.name, ()))
    else:
        values = {seen[name].lower()} if name in seen else set()
    wanted = [str(each).lower() for each in given.get("values", [given.get("value", "")])]
    match operator:
        case "EQ" | "IN":
            return bool(values & set(wanted))
        case "NEQ" | "NOT_IN":
            return not values & set(wanted)
        case "HAS_PROPERTY":
            return bool(values)
        case "NOT_HAS_PROPERTY":
            return not values
        case "CONTAINS_TOKEN":
            return any(wanted[0].strip("*") in each for each in values)
        case _:
            return any(_compares(operator, each, wanted[0]) for each in values)


def _compares(operator: str, value: str, wanted: str) -> bool:
    try:
        greater, equal = float(value) > float(wanted), float(value) == float(wanted)
    except ValueError:
        greater, equal = value > wanted, value == wanted
    return {"GT": greater, "GTE": greater or equal, "LT": not (greater or equal), "LTE": not greater}[operator]


def _contains(seen: Mapping[str, str], words: str) -> bool:
    return not words or any(words in seen.get(name, "").lower() for name in _SEARCHED)


def _number(document: Mapping[str, Any], name: str, usual: int) -> int:
    value = document.get(name, usual)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if type(value) is not int or value < 0:
        raise unreadable(f"Cannot deserialize value of type `int` for `{name}`")
    return value
