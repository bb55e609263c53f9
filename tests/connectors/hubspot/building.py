"""Makes what tests of the HubSpot connector are about."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from connectors.base import Context, Delivered, Outcome, Record, Retry
from connectors.hubspot import HubSpotConnector
from connectors.hubspot.settings import HubSpotRoute, HubSpotSettings
from connectors.testing.hubspot import ACCESS_TOKEN, HubSpotSandbox
from tests.connectors import building
from tests.connectors.building import context

REMARK = {"remark": "Content"}


def lead(number: int = 0, route: dict[str, Any] | None = None, **event: Any) -> Record:
    """Give a record of the lead of this number; the event's fields can be given."""
    given = {"Email": f"lead{number}@example.com", "FirstName": f"Lead {number}", **event}
    fields = {"email": given["Email"], "firstname": given["FirstName"], "phone": given.get("PhoneNumber", "")}
    made = building.record({name: value for name, value in fields.items() if value}, f"record-{number}", **given)
    return with_route(made, **(route or {}))


def appointment(content: str, number: int = 0, **meeting: Any) -> Record:
    """Give a record of an appointment."""
    return lead(number, {**REMARK, "appointment": meeting}, Type="Appointment", Content=content)


def with_route(record: Record, **route: Any) -> Record:
    return replace(record, route=HubSpotRoute.model_validate(route))


def with_fields(record: Record, **fields: Any) -> Record:
    """Give the record with more fields; None takes one out."""
    merged = {**record.fields, **fields}
    return replace(record, fields={name: value for name, value in merged.items() if value is not None})


def settings(crm: HubSpotSandbox | None = None, **changes: Any) -> HubSpotSettings:
    document = {"base_url": crm.origin if crm else "http://127.0.0.1:9", "allow_private": True, **changes}
    if "oauth" not in document:
        document.setdefault("access_token", ACCESS_TOKEN)
    return HubSpotSettings.model_validate(document)


def connector(crm: HubSpotSandbox | None = None, made: Context | None = None, **changes: Any) -> HubSpotConnector:
    return HubSpotConnector(settings(crm, **changes), made or context())


async def deliver(crm: HubSpotSandbox, *records: Record, made: Context | None = None, **changes: Any) -> list[Outcome]:
    """Deliver records with a connector that is made for them."""
    target = connector(crm, made, **changes)
    try:
        return list(await target.deliver(records))
    finally:
        await target.close()


def again(record: Record, outcome: Outcome) -> Record:
    """Give a record as the lane gives it the next time."""
    return replace(record, memo={**record.memo, **outcome.memo}, is_repeat=True)


async def deliver_all(target: HubSpotConnector, records: Sequence[Record], *, rounds: int = 30) -> list[Outcome]:
    """Deliver as the lane does, without its waits: groups of a hundred, and what is to be tried again once more."""
    settled: dict[str, Outcome] = {}
    waiting = list(records)
    for _ in range(rounds):
        if not waiting:
            break
        groups: dict[Any, list[Record]] = {}
        for each in waiting:
            groups.setdefault(target.batch_group(each), []).append(each)
        waiting = []
        for group in groups.values():
            for start in range(0, len(group), 100):
                batch = group[start : start + 100]
                for each, outcome in zip(batch, await target.deliver(batch), strict=True):
                    if isinstance(outcome, Retry):
                        waiting.append(again(each, outcome))
                    else:
                        settled[each.id] = outcome
    return [settled[each.id] for each in records]


def ids(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Give the ids of records that have been delivered."""
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes
    return [each.remote_id for each in outcomes if isinstance(each, Delivered)]
