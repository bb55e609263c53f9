"""The connector `batch_crm`: a plug-in for an API that takes many leads in one call and answers 207."""

# ruff: noqa: INP001 - a plugin is a file, not part of a package

import json
from collections.abc import Hashable, Sequence
from typing import Any

from pydantic import Field, SecretStr
from yarl import URL

from connectors.base import (
    Blame,
    Connector,
    Context,
    Delivered,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    Retry,
    RouteSettings,
    SettingError,
)
from connectors.http_client.address_guard import check_url
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.settings import NetworkSettings

_PER_RECORD = frozenset({207, 400})
"""Statuses whose document has a result for each lead."""


class BatchCrmSettings(NetworkSettings):
    """The keys that stand beside `connector: batch_crm` in the configuration."""

    api_token: SecretStr = Field(description="The account's token.", examples=["${CRM_TOKEN}"])
    base_url: str = Field(description="Base URL of the API.", examples=["https://api.example.com"])


class BatchCrmRoute(RouteSettings):
    """The keys of a route to it."""

    pipeline: str = Field(default="inbound", description="Pipeline that new leads enter.", examples=["inbound"])


class BatchCrm(Connector):
    """Writes leads into the CRM, up to 50 in a call. The API finds a lead again by its `key`."""

    destination_settings = BatchCrmSettings
    route_settings = BatchCrmRoute
    max_batch = 50

    def __init__(self, settings: BatchCrmSettings, context: Context) -> None:
        token = settings.api_token.get_secret_value()
        try:
            base = URL(settings.base_url)
            check_url(base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        self._url = base / "leads" / "batch"
        self._session = HttpSession(settings, context)
        headers = {"Authorization": f"Bearer {token}"}
        self._api = JsonApi(
            self._session, Secrets(token), context.now, headers=headers, per_record_statuses=_PER_RECORD
        )

    def batch_key(self, record: Record) -> Hashable:
        """Return the e-mail: two leads of one person never share a call."""
        return str(record.fields.get("email", record.id)).lower()

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the leads in one call."""
        reply = await self._api.call("POST", self._url, _document(records))
        if not isinstance(reply, Reply):
            return [reply] * len(records)  # nothing is known of any of them
        found = {row["key"]: row for row in reply.get("results") or () if isinstance(row, dict) and "key" in row}
        if not found:
            return [self._api.refused(reply)] * len(records)
        return [self._outcome(reply.status, found.get(record.id)) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Show the request."""
        body = json.dumps(_document(records), ensure_ascii=False)
        return Preview("POST", str(self._url), {"Authorization": f"Bearer {MASK}"}, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _outcome(self, status: int, row: dict[str, Any] | None) -> Outcome:
        """Return the outcome of one lead. Only a result with an id accounts for it."""
        if row is None:
            return Retry(Reason.BAD_ANSWER, "the answer does not name this lead", Blame.RECORD, None, status)
        if row.get("error"):
            return Rejected(Reason.REFUSED, self._api.masked(str(row["error"])), Blame.RECORD, status)
        if not isinstance(row.get("id"), int):
            return self._api.unclear(status, "it names no id for this lead")
        return Delivered(str(row["id"]), status=status)


def _document(records: Sequence[Record]) -> dict[str, Any]:
    """Return the body. The same records give the same body, because it may be sent again."""
    return {"leads": [{"key": each.id, **_route(each), **each.fields} for each in records]}


def _route(record: Record) -> dict[str, str]:
    return {"pipeline": record.route.pipeline} if isinstance(record.route, BatchCrmRoute) else {}
