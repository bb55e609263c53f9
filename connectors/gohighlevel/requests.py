"""Records to documents of HighLevel's API 2.0. Pure."""

from typing import Any

from connectors.base import Record

KEYS = ("email", "phone")
"""Fields by which the API finds a contact."""


VERSION = "2021-07-28"
"""Value of the header `Version` that the API requires (marketplace.gohighlevel.com, Contacts, "Upsert Contact")."""


CUSTOM = "custom."
"""Prefix of a mapped field that is a custom field of the location: `custom.budget`."""


def contact(record: Record, location_id: str) -> dict[str, Any] | None:
    """Return the document that upserts a contact; None for a record without e-mail and phone.

    Without either, each attempt would create another contact.
    """
    if not any(record.fields.get(key) for key in KEYS):
        return None
    plain = {name: value for name, value in record.fields.items() if not name.startswith(CUSTOM)}
    custom = [
        {"key": name.removeprefix(CUSTOM), "field_value": value}
        for name, value in record.fields.items()
        if name.startswith(CUSTOM)
    ]
    tags = plain.get("tags")
    if isinstance(tags, str):
        plain["tags"] = [tag.strip() for tag in tags.split(",") if tag.strip()]
    return {**plain, **({"customFields": custom} if custom else {}), "locationId": location_id}
