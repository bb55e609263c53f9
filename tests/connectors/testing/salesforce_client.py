"""Calls the Salesforce sandbox as any client would, and makes what is sent to it."""

from typing import Any

import aiohttp
import orjson
from yarl import URL

from connectors.testing.salesforce import SalesforceSandbox

NOW = 1_795_600_000.0
KEY = "Leadbridge_Id__c"
LEAD = {"LastName": "García", "Company": "[not provided]"}
UPSERTS = f"/composite/sobjects/Lead/{KEY}"
EVENT = {"StartDateTime": "2026-11-25T10:00:00Z", "EndDateTime": "2026-11-25T10:30:00Z"}


class Got:
    """An answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the first error."""
        return str(self.document[0]["errorCode"])

    @property
    def codes(self) -> list[str | None]:
        """The code of each row's first error; None for a row that went well."""
        return [row["errors"][0]["statusCode"] if row["errors"] else None for row in self.document]


async def call(
    crm: SalesforceSandbox,
    method: str,
    path: str,
    document: Any = None,
    *,
    token: str | None = None,
    version: str = "68.0",
    body: bytes | None = None,
    **headers: str,
) -> Got:
    """Call the API; `path` is below the version, and headers are named with `_` for `-`."""
    sent = body if body is not None else (None if document is None else orjson.dumps(document))
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    allowed = {"Authorization": f"Bearer {token or crm.tokens.grant()}", "Content-Type": "application/json"}
    url = URL(f"{crm.origin}/services/data/v{version}{path}", encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=sent, headers={**allowed, **shown}, allow_redirects=False) as response,
    ):
        return Got(response.status, response.headers, await response.read())


async def fetch_token(crm: SalesforceSandbox, authorization: str = "", **form: str) -> Got:
    """Ask for a token."""
    headers = {"Authorization": authorization} if authorization else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{crm.origin}/services/oauth2/token", data=form, headers=headers) as response,
    ):
        return Got(response.status, response.headers, await response.read())


def lead(key: str | None = None, **fields: Any) -> dict[str, Any]:
    """Give a lead of a collection."""
    return {"attributes": {"type": "Lead"}, **({} if key is None else {KEY: key}), **LEAD, **fields}


def batch(*records: Any, all_or_none: bool = False) -> dict[str, Any]:
    """Give the body of a collections call."""
    return {"allOrNone": all_or_none, "records": list(records)}


async def create(crm: SalesforceSandbox, kind: str = "Lead", **fields: Any) -> str:
    """Create a record, and give its id."""
    got = await call(crm, "POST", f"/sobjects/{kind}", {**(LEAD if kind == "Lead" else {}), **fields})
    assert got.status == 201, got.body
    return str(got.document["id"])
