"""Destinations that are the sandboxes of HubSpot and Salesforce, routes to them, and what is sent to them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.testing.hubspot import ACCESS_TOKEN, HubSpotSandbox, Limits, OAuthApp
from connectors.testing.salesforce import SalesforceSandbox
from tests.acceptance.configured import ENVIRONMENT, RETRY
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

KEY = "Leadbridge_Id__c"
APP = OAuthApp(client_id="client", client_secret="secret-of-the-app", refresh_token="refresh-token-of-the-app")
VARIABLES = {
    **ENVIRONMENT,
    "HUBSPOT_ACCESS_TOKEN": ACCESS_TOKEN,
    "HUBSPOT_CLIENT_SECRET": APP.client_secret,
    "HUBSPOT_REFRESH_TOKEN": APP.refresh_token,
    "SALESFORCE_CLIENT_SECRET": "secret",
}
UNLIMITED = Limits(ten_secondly=1_000_000, oauth_ten_secondly=1_000_000)
AS_UNLIMITED = {"requests": 10_000, "per": "10s"}
"""What a destination is told of such an account."""

HUBSPOT_FIELDS = {
    "email": "Email",
    "firstname": "FirstName",
    "lastname": "LastName",
    "phone": "PhoneNumber",
    "message": "Content",
}
SALESFORCE_FIELDS = {
    "FirstName": "FirstName",
    "LastName": "LastName",
    "Email": "Email",
    "Phone": "PhoneNumber",
    "Description": "Content",
}


def hubspot(crm: HubSpotSandbox, **changes: Any) -> dict[str, Any]:
    """Give a destination that is a HubSpot account on this machine."""
    token = {} if "oauth" in changes else {"access_token": "${HUBSPOT_ACCESS_TOKEN}"}
    known = {"connector": "hubspot", **token, "base_url": crm.origin, "allow_private": True}
    return {**known, "timeout": "10s", "retry": RETRY, **changes}


def hubspot_app() -> dict[str, str]:
    """Give the setting `oauth` of the app that is installed in an account."""
    secrets = {"client_secret": "${HUBSPOT_CLIENT_SECRET}", "refresh_token": "${HUBSPOT_REFRESH_TOKEN}"}
    return {"client_id": APP.client_id, **secrets}


def salesforce(crm: SalesforceSandbox, **changes: Any) -> dict[str, Any]:
    """Give a destination that is a Salesforce org on this machine."""
    app = {"client_id": "client", "client_secret": "${SALESFORCE_CLIENT_SECRET}"}
    known = {"connector": "salesforce", "login_url": crm.origin, "allow_private": True, **app}
    return {**known, "timeout": "10s", "retry": RETRY, **changes}


def appointment(of: dict[str, Any], *, dated: bool) -> dict[str, Any]:
    """Give the appointment that follows a lead in the same chat.

    Args:
        of: The lead.
        dated: Whether its text says when it is.
    """
    day = datetime.now(UTC) + timedelta(days=30)
    content = f"A demo on {day:%B} {day.day}, {day.year} at 10:00 AM UTC." if dated else "A demo, some day next month."
    moment = (datetime.fromisoformat(of["CreateTime"]) + timedelta(seconds=1)).replace(tzinfo=None)
    return {**of, "Type": "Appointment", "Content": content, "CreateTime": f"{moment.isoformat()}Z"}


def burst(count: int, poisoned: Sequence[int]) -> list[dict[str, Any]]:
    """Give leads; those of the positions in `poisoned` have an e-mail address that is none, and no phone instead."""
    wrong = {at: {"Email": f"nobody-{at}-at-example.com", "PhoneNumber": ""} for at in poisoned}
    return [lead(**wrong.get(at, {})) for at in range(count)]


async def send_at_once(program: Program, sender: Sender, leads: Sequence[dict[str, Any]]) -> None:
    """Send leads, a hundred at a time, and wait until each has got an answer of the destination."""
    gate = asyncio.Semaphore(100)

    async def one(each: dict[str, Any]) -> None:
        async with gate:
            await sender.deliver(each)

    before = len(program.events("attempt"))
    await asyncio.gather(*map(one, leads))
    await until(
        lambda: len(program.events("attempt")) >= before + len(leads),
        lambda: f"{len(leads)} attempts; there are {len(program.events('attempt')) - before}: {program.told()}",
    )


async def stories(program: Program) -> list[dict[str, Any]]:
    """Give all about all deliveries, once none is pending any more."""
    return await program.stories([row["id"] for row in await program.settled()])
