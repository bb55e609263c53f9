"""Records to documents of Zoho CRM's API. Pure.

Source: zoho.com/crm/developer/docs/api/v8, "Upsert Records".
"""

from collections.abc import Hashable, Sequence
from typing import Any

from connectors.base import Record
from connectors.zoho.settings import ZohoRoute

MAX_BATCH = 100
"""Maximum number of records in one upsert."""


def zoho_route(record: Record) -> ZohoRoute:
    """Return the settings of the record's route."""
    return record.route if isinstance(record.route, ZohoRoute) else ZohoRoute()


def duplicate_key(record: Record) -> Hashable:
    """Return the field that identifies the record, and its value; None if every write would create another record."""
    fields = ((name, record.fields.get(name)) for name in zoho_route(record).duplicate_check_fields)
    return next(((name, str(value).strip().lower()) for name, value in fields if value not in (None, "")), None)


def upsert_document(records: Sequence[Record]) -> dict[str, Any]:
    """Return the document that upserts the records, all of one route's settings."""
    route = zoho_route(records[0])
    result: dict[str, Any] = {
        "data": [dict(record.fields) for record in records],
        "duplicate_check_fields": list(route.duplicate_check_fields),
    }
    return result if route.trigger is None else {**result, "trigger": list(route.trigger)}
