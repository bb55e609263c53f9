"""Turns records into the documents of Zoho CRM's API. Pure.

Source: zoho.com/crm/developer/docs/api/v8, "Upsert Records".
"""

from collections.abc import Hashable, Sequence
from typing import Any

from connectors.base import Record
from connectors.zoho.settings import ZohoRoute

MAX_BATCH = 100
"""Records of one upsert, at most."""


def zoho_route(record: Record) -> ZohoRoute:
    """Return the settings of the record's route."""
    return record.route if isinstance(record.route, ZohoRoute) else ZohoRoute()


def duplicate_key(record: Record) -> Hashable:
    """Return what the record is found again by; None where it has nothing of it, and would be another one each time."""
    fields = ((name, record.fields.get(name)) for name in zoho_route(record).duplicate_check_fields)
    return next(((name, str(value).strip().lower()) for name, value in fields if value not in (None, "")), None)


def document(records: Sequence[Record]) -> dict[str, Any]:
    """Return what upserts the records, all of one route's settings."""
    route = zoho_route(records[0])
    made: dict[str, Any] = {
        "data": [dict(record.fields) for record in records],
        "duplicate_check_fields": list(route.duplicate_check_fields),
    }
    return made if route.trigger is None else {**made, "trigger": list(route.trigger)}
