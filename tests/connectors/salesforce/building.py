"""Makes what tests of the Salesforce connector are about."""

from dataclasses import replace
from typing import Any

from connectors.base import Context, Delivered, MappedField, MappedRoute, Outcome, Record
from connectors.salesforce import SalesforceConnector
from connectors.salesforce.settings import SalesforceRoute, SalesforceSettings
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors import building

KEY = "Leadbridge_Id__c"
FIELDS = {"FirstName": "David", "LastName": "García", "Email": "david@example.com", "Company": "Acme"}
APPOINTMENT = "Demo on November 25, 2026 at 10:00 AM UTC"


def route(**changes: Any) -> SalesforceRoute:
    return SalesforceRoute.model_validate({"external_id": KEY, **changes})


def record(
    fields: dict[str, Any] | None = None,
    made: SalesforceRoute | None = None,
    *,
    is_repeat: bool = False,
    memo: dict[str, str] | None = None,
    record_id: str | None = None,
    **event: Any,
) -> Record:
    plain = building.record(dict(FIELDS if fields is None else fields), record_id, **event)
    return replace(plain, route=made or route(), is_repeat=is_repeat, memo=memo or {})


def leads(count: int, made: SalesforceRoute | None = None, **more: Any) -> list[Record]:
    """Give records of different people."""
    shared = made or route()
    return [record({**FIELDS, "Email": f"lead{number}@example.com"}, shared, **more) for number in range(count)]


def appointment(content: str = APPOINTMENT, fields: dict[str, Any] | None = None, **more: Any) -> Record:
    return record(fields, Type="Appointment", Content=content, **more)


def settings(crm: SalesforceSandbox | None = None, **changes: Any) -> SalesforceSettings:
    document: dict[str, Any] = {"client_id": "client", "client_secret": "secret"}
    document |= (
        {"login_url": crm.origin, "allow_private": True} if crm else {"login_url": "https://a.my.salesforce.com"}
    )
    document |= changes
    return SalesforceSettings.model_validate({name: value for name, value in document.items() if value is not None})


def connector(crm: SalesforceSandbox | None, made: Context | None = None, **changes: Any) -> SalesforceConnector:
    return SalesforceConnector(settings(crm, **changes), made or building.context())


def wanted(made: SalesforceRoute | None = None, **fields: MappedField) -> MappedRoute:
    """Give what a route wants; a field for each name of `FIELDS` unless others are given."""
    mapped = fields or {name: MappedField(name, always=True) for name in FIELDS}
    return MappedRoute(made or route(), tuple(mapped.values()))


def warned(outcome: Outcome) -> str:
    """Return the warning of a delivered record."""
    assert isinstance(outcome, Delivered), outcome
    return outcome.warning or ""
