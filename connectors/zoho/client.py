"""Calls to an account of Zoho CRM, with a token."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yarl import URL

from connectors.base import Context, Rejected, Retry, SettingError, exchange_items
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Failure
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.zoho import answers
from connectors.zoho.auth import ZohoTokens
from connectors.zoho.settings import ZohoSettings

_UNAUTHORIZED = 401
_NO_CONTENT = 204


class ZohoClient:
    """Client of one account. `call` may run in parallel.

    Raises:
        SettingError: an address or a credential cannot be used.
    """

    def __init__(self, settings: ZohoSettings, context: Context) -> None:
        accounts = _address(settings, "accounts_url", settings.accounts_url)
        self.base = _address(settings, "api_url", settings.api_url) / "crm" / settings.api_version
        secrets = Secrets(settings.client_secret.get_secret_value(), settings.refresh_token.get_secret_value())
        self._session = HttpSession(settings, context)
        self._tokens = ZohoTokens(settings, accounts / "oauth" / "v2" / "token", self._session, context.now, secrets)
        self._api = JsonApi(self._session, secrets, context.now, per_record_statuses=answers.PER_RECORD_STATUSES)
        self.token = self._tokens.source.token
        self.masked: Callable[[str], str] = self._api.masked

    async def call(self, method: str, url: URL, document: object = None) -> Reply | Retry | Rejected:
        """Send a request with a token."""
        reply = await self._tokens.source.send_with_token(
            lambda token: self._api.call(method, url, document, {"Authorization": f"Zoho-oauthtoken {token.value}"}),
            lambda reply: reply.status == _UNAUTHORIZED,
        )
        return reply.outcome if isinstance(reply, Failure) else reply

    async def write(
        self, method: str, url: URL, document: Mapping[str, Any], record_ids: Sequence[str]
    ) -> answers.WriteAnswer:
        """Send a request that writes rows, and return its answer with the outcome of each.

        Args:
            method: In capitals.
            url: Absolute.
            document: The rows, under `data`.
            record_ids: For each row the id of the bridge's record that it belongs to.
        """
        with exchange_items(zip(record_ids, document["data"], strict=True)) as items:
            reply = await self.call(method, url, document)
        count = len(record_ids)
        if not isinstance(reply, Reply):
            return answers.WriteAnswer(None, [reply] * count)
        found = answers.upsert_outcomes(reply, count, self._api.masked)
        if found is None:
            return answers.WriteAnswer(reply, [self.refused(reply)] * count)
        items.received(zip(record_ids, reply.get("data"), strict=True))
        return answers.WriteAnswer(reply, found)

    async def rows(
        self, method: str, url: URL, document: object = None, name: str = "data"
    ) -> list[Mapping[str, object]] | Retry | Rejected:
        """Return the records in the answer to a read, nothing for 204, or the outcome of a read that failed."""
        reply = await self.call(method, url, document)
        if not isinstance(reply, Reply):
            return [] if reply.status == _NO_CONTENT else reply
        data = reply.get(name)
        if not isinstance(data, list):
            return self.refused(reply)
        return [each for each in data if isinstance(each, dict)]

    def refused(self, reply: Reply) -> Retry | Rejected:
        """Return the outcome of an answer that does not describe each record."""
        return answers.account_outcome(reply, self._api.masked) or self._api.refused(reply)

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._tokens.source.close()
        await self._session.close()


def _address(settings: ZohoSettings, name: str, text: str) -> URL:
    try:
        url = URL(text)
        check_url(url, allow_private=settings.allow_private)
    except ValueError as error:
        raise SettingError((name,), str(error)) from None
    return url
