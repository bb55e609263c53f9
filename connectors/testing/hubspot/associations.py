"""Associations of records: their types, and the `associations` of a request. Pure.

The ids are those of `AssociationType` in HubSpot's own Python client; 578 is in wide use but in no list of HubSpot's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.testing.hubspot.errors import RefusedError, not_set, unreadable
from connectors.testing.hubspot.schema import ObjectType

TYPES: Mapping[int, tuple[str, str]] = {
    1: ("contacts", "companies"),
    2: ("companies", "contacts"),
    3: ("deals", "contacts"),
    4: ("contacts", "deals"),
    5: ("deals", "companies"),
    6: ("companies", "deals"),
    181: ("companies", "calls"),
    182: ("calls", "companies"),
    187: ("companies", "meetings"),
    188: ("meetings", "companies"),
    189: ("companies", "notes"),
    190: ("notes", "companies"),
    191: ("companies", "tasks"),
    192: ("tasks", "companies"),
    193: ("contacts", "calls"),
    194: ("calls", "contacts"),
    199: ("contacts", "meetings"),
    200: ("meetings", "contacts"),
    201: ("contacts", "notes"),
    202: ("notes", "contacts"),
    203: ("contacts", "tasks"),
    204: ("tasks", "contacts"),
    205: ("deals", "calls"),
    206: ("calls", "deals"),
    211: ("deals", "meetings"),
    212: ("meetings", "deals"),
    213: ("deals", "notes"),
    214: ("notes", "deals"),
    215: ("deals", "tasks"),
    216: ("tasks", "deals"),
    279: ("contacts", "companies"),
    280: ("companies", "contacts"),
    341: ("deals", "companies"),
    342: ("companies", "deals"),
    578: ("leads", "contacts"),
}
"""Source and target object of each association type, by its id."""
_PRIMARY = frozenset({1, 2, 5, 6})
_CATEGORIES = ("HUBSPOT_DEFINED", "USER_DEFINED", "INTEGRATOR_DEFINED")
_DEFAULTS = {pair: number for number, pair in TYPES.items() if number not in _PRIMARY}


def default_type(source: ObjectType, target: ObjectType) -> tuple[str, int]:
    """Return category and id of the association without a label; between custom objects the account has its own."""
    number = _DEFAULTS.get((source.name, target.name))
    return ("USER_DEFINED", 1) if number is None else ("HUBSPOT_DEFINED", number)


def type_name(source: ObjectType, target: ObjectType) -> str:
    """Return the name in answers: `contact_to_note`."""
    return f"{source.label or source.singular}_to_{target.label or target.singular}"


@dataclass(frozen=True, slots=True)
class Association:
    """An association of a new record, as it was sent."""

    record_id: str
    category: str
    number: int


def read_associations(document: Mapping[str, Any]) -> list[Association]:
    """Return the `associations` of a new record. Raises `RefusedError` for invalid ones."""
    given = document.get("associations", [])
    if not isinstance(given, list):
        raise unreadable("Cannot deserialize value of type `java.util.ArrayList` for `associations`")
    return [association for each in given for association in _read_one(each)]


def resolve(
    associations: Sequence[Association], source: ObjectType, kinds: Mapping[str, ObjectType]
) -> list[tuple[str, str]]:
    """Return objects and ids of the records to associate with a new record of `source`.

    Does not check that they exist. Raises `RefusedError` for a type that does not exist, or has another source.
    """
    return [(_target(each, source, kinds), each.record_id) for each in associations]


def invalid_ids(target: ObjectType, record_id: str) -> RefusedError:
    """Return the refusal of an association with a record that does not exist."""
    kind = target.singular.upper()
    return RefusedError(
        400,
        "One or more associations are invalid",
        context={
            "INVALID_OBJECT_IDS": [f"{kind}={record_id} is not valid"],
            "objectId": [record_id],
            "objectType": [kind],
        },
    )


def _read_one(given: object) -> list[Association]:
    to, types = _fields(given, "to", "types")
    (record_id,) = _fields(to, "id")
    # The schema wants text; HubSpot's own examples have numbers too.
    if not isinstance(record_id, str | int) or isinstance(record_id, bool):
        raise unreadable("Cannot deserialize value of type `java.lang.String` for `id`")
    if not isinstance(types, list) or not types:
        raise not_set(["types"])
    return [_read_type(each, str(record_id)) for each in types]


def _read_type(given: object, record_id: str) -> Association:
    category, number = _fields(given, "associationCategory", "associationTypeId")
    if category not in _CATEGORIES or type(number) is not int:
        raise unreadable("Cannot deserialize an association type: no such category, or its id is no number")
    return Association(record_id, category, number)


def _fields(given: object, *names: str) -> list[Any]:
    if not isinstance(given, dict):
        raise unreadable("Cannot construct an association from this value")
    missing = [name for name in names if given.get(name) is None]
    if missing:
        raise not_set(missing)
    return [given[name] for name in names]


def _target(association: Association, source: ObjectType, kinds: Mapping[str, ObjectType]) -> str:
    category, number = association.category, association.number
    pair = TYPES.get(number) if category == "HUBSPOT_DEFINED" else None
    if pair is None:
        named = f"{category}={number}"
        raise RefusedError(
            400,
            "One or more associations are invalid",
            context={
                "associationSpec": [named],
                "INVALID_ASSOCIATION_TYPE_ID": [f"{named} is not a valid association definition id"],
            },
        )
    if pair[0] != source.name:
        raise RefusedError(
            400,
            f"invalid from object type {source.type_id} for associations to be created. "
            f"expected: {kinds[pair[0]].type_id}. For definition 0-{number}",
        )
    return pair[1]
