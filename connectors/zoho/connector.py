"""The Zoho CRM connector: one upsert for up to a hundred records."""

from collections.abc import Hashable, Sequence

import orjson
from yarl import URL

from connectors.base import (
    Connector,
    Context,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Reason,
    Record,
    Rejected,
    Retry,
    SettingError,
    Severity,
)
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Failure
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession
from connectors.zoho import answers, requests
from connectors.zoho.auth import ZohoTokens
from connectors.zoho.settings import ZohoRoute, ZohoSettings

_UNAUTHORIZED = 401


class ZohoConnector(Connector):
    """Writes leads, or records of another module, into Zoho CRM. `duplicate_check_fields` identify a record.

    Fields have the API names of the module (`Last_Name`, `Email`, `Company`). A repeated upsert writes the same record,
    so a crash or a lost answer does no harm. A record without any of the identifying fields is rejected without being
    sent.
    """

    destination_settings = ZohoSettings
    route_settings = ZohoRoute
    max_batch = requests.MAX_BATCH

    def __init__(self, settings: ZohoSettings, context: Context) -> None:
        accounts = _address(settings, "accounts_url", settings.accounts_url)
        self._base = _address(settings, "api_url", settings.api_url) / "crm" / settings.api_version
        secrets = Secrets(settings.client_secret.get_secret_value(), settings.refresh_token.get_secret_value())
        self._session = HttpSession(settings, context)
        self._tokens = ZohoTokens(settings, accounts / "oauth" / "v2" / "token", self._session, context.now, secrets)
        self._api = JsonApi(self._session, secrets, context.now, per_record_statuses=answers.PER_RECORD_STATUSES)

    def batch_group(self, record: Record) -> Hashable:
        """Return the route settings: records of one module with the same identifying fields share a call."""
        return requests.zoho_route(record)

    def batch_key(self, record: Record) -> Hashable:
        """Return the value that identifies the record."""
        key = requests.duplicate_key(record)
        return record.id if key is None else key

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Upsert the records in one call; reject records that could be written twice without sending them."""
        sendable = [record for record in records if requests.duplicate_key(record) is not None]
        outcomes = iter(await self._upsert(sendable) if sendable else ())
        return [
            next(outcomes) if requests.duplicate_key(record) is not None else _keyless(record) for record in records
        ]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request for the records."""
        headers = {"Authorization": f"Zoho-oauthtoken {MASK}", "Content-Type": "application/json"}
        body = orjson.dumps(requests.upsert_document(records), option=orjson.OPT_INDENT_2).decode()
        return Preview("POST", str(self._url(records[0])), headers, body)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Get a token, and compare the routes with the fields of their modules."""
        token = await self._tokens.source.token()
        if isinstance(token, Failure):
            return (Finding(Severity.ERROR, token.outcome.detail, setting=token.setting or ("refresh_token",)),)
        findings: list[Finding] = []
        for number, each in enumerate(routes):
            findings += await self._probe_route(number, each)
        return findings or (Finding(Severity.NOTE, "reachable, credentials accepted, fields known"),)

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        await self._tokens.source.close()
        await self._session.close()

    async def _upsert(self, records: Sequence[Record]) -> Sequence[Outcome]:
        reply = await self._call("POST", self._url(records[0]), requests.upsert_document(records))
        if not isinstance(reply, Reply):
            return [reply] * len(records)
        found = answers.upsert_outcomes(reply, len(records), self._api.masked)
        return found or [answers.account_outcome(reply, self._api.masked) or self._api.refused(reply)] * len(records)

    async def _probe_route(self, number: int, mapped: MappedRoute) -> Sequence[Finding]:
        module = mapped.settings.module if isinstance(mapped.settings, ZohoRoute) else "Leads"
        url = (self._base / "settings" / "fields").with_query(module=module)
        reply = await self._call("GET", url)
        if isinstance(reply, Reply) and isinstance(reply.get("fields"), list):
            return answers.findings(reply, mapped, number)
        if isinstance(reply, Reply):
            reply = self._api.refused(reply)
        what = f"the fields of {module} cannot be read: {reply.detail}"
        return (Finding(Severity.WARNING, what, number, setting=("module",)),)

    async def _call(self, method: str, url: URL, document: object = None) -> Reply | Retry | Rejected:
        """Send a request with a token."""
        reply = await self._tokens.source.send_with_token(
            lambda token: self._api.call(method, url, document, _authorization(token.value)),
            lambda reply: reply.status == _UNAUTHORIZED,
        )
        return reply.outcome if isinstance(reply, Failure) else reply

    def _url(self, record: Record) -> URL:
        return self._base / requests.zoho_route(record).module / "upsert"


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Zoho-oauthtoken {token}"}


def _address(settings: ZohoSettings, name: str, text: str) -> URL:
    try:
        url = URL(text)
        check_url(url, allow_private=settings.allow_private)
    except ValueError as error:
        raise SettingError((name,), str(error)) from None
    return url


def _keyless(record: Record) -> Rejected:
    names = ", ".join(requests.zoho_route(record).duplicate_check_fields)
    why = f"it has none of duplicate_check_fields ({names}), so it could be written twice; map one, or name another"
    return Rejected(Reason.MAPPING, why)
