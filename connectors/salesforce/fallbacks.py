"""What a new lead or contact is given where the mapping gives it nothing. Pure."""

from collections.abc import Mapping
from typing import Any

from connectors.salesforce.settings import SalesforceRoute
from connectors.salesforce.texts import clean, cut, text_of

PEOPLE = frozenset({"lead", "contact"})
"""The objects that people are kept in."""


def fallbacks(route: SalesforceRoute, fields: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a new record cannot be without, and that the mapping did not give: Salesforce requires it.

    A record that exists keeps what it has, which is better than any of this.
    """
    kind = route.object.lower()
    given = {name.lower() for name, value in fields.items() if value not in (None, "")}
    found: dict[str, Any] = {}
    if kind in PEOPLE and "lastname" not in given:
        first = text_of(event.get("FirstName")).strip()
        last = text_of(event.get("LastName")).strip()
        local = text_of(event.get("Email")).partition("@")[0].strip()
        phone = text_of(event.get("PhoneNumber")).strip()
        found["LastName"] = cut(clean(last or first or local or phone or route.last_name), 80)
        if not last and first:  # else the lead would be called David David
            found |= {name: None for name in fields if name.lower() == "firstname"}
    if kind == "lead" and "company" not in given:
        found["Company"] = route.company
    # An empty value under another spelling would be the same field twice.
    return {**{name: None for name in fields if name.lower() in {each.lower() for each in found}}, **found}
