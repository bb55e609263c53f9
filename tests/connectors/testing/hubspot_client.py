"""Calls the HubSpot sandbox as any client would, and makes what is sent to it."""

from functools import cached_property
from typing import Any

import aiohttp
import orjson
from yarl import URL

from connectors.testing.hubspot import HubSpotSandbox

NOW = 1_795_600_000.0
WHEN = "2026-11-24T10:00:00Z"
CONTACTS = "/crm/objects/2026-09/contacts"
UPSERT = f"{CONTACTS}/batch/upsert"


class Got:
    """An answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @cached_property
    def document(self) -> Any:
        return orjson.loads(self.body) if self.body else None


async def call(
    crm: HubSpotSandbox,
    path: str,
    document: Any = None,
    *,
    method: str | None = None,
    token: str | None = None,
    body: bytes | None = None,
    content_type: str = "application/json",
) -> Got:
    """Call: POST with a document, GET without, unless a method is named."""
    sent = body if body is not None else (None if document is None else orjson.dumps(document))
    headers = {"Authorization": f"Bearer {token or crm.access_token}", "Content-Type": content_type}
    url = URL(crm.origin + path, encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method or ("GET" if sent is None else "POST"), url, data=sent, headers=headers) as response,
    ):
        return Got(response.status, response.headers, await response.read())


def upserts(*emails: str, traced: bool = False, **values: Any) -> dict[str, Any]:
    """Give the body of a batch upsert by e-mail, all with the same other values."""
    inputs = []
    for number, email in enumerate(emails):
        trace = {"objectWriteTraceId": f"t{number}"} if traced else {}
        inputs.append({"id": email, "idProperty": "email", "properties": {"email": email, **values}, **trace})
    return {"inputs": inputs}


def activity(contact_id: str, type_id: int, **values: str) -> dict[str, Any]:
    """Give the body that creates a note, a meeting or a task on a contact."""
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}]
    return {
        "properties": {"hs_timestamp": WHEN, **values},
        "associations": [{"to": {"id": contact_id}, "types": types}],
    }


def reasons(document: Any) -> list[dict[str, Any]]:
    """Give the JSON array that stands inside the message of a validation error."""
    head, _, inside = document["message"].partition(": ")
    assert head == "Property values were not valid"
    found: list[dict[str, Any]] = orjson.loads(inside)
    return found
