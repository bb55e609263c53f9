"""The HighLevel connector: one upsert for each record."""

from collections.abc import Sequence

import orjson
from yarl import URL

from connectors.base import (
    Connector,
    Context,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Quota,
    Reason,
    Record,
    Rejected,
    SettingError,
)
from connectors.gohighlevel import answers, requests
from connectors.gohighlevel.settings import GoHighLevelSettings
from connectors.http_client.address_guard import check_url
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession


class GoHighLevelConnector(Connector):
    """Writes contacts into a location of HighLevel (GoHighLevel). E-mail or phone identifies a contact.

    Fields have the names of the API (`firstName`, `email`, `phone`, `tags`); a custom field of the location is written
    `custom.KEY`. Tags replace those of the contact. A repeated upsert writes the same contact, so a crash or a lost
    answer does no harm.
    """

    destination_settings = GoHighLevelSettings

    def __init__(self, settings: GoHighLevelSettings, context: Context) -> None:
        token = settings.access_token.get_secret_value()
        try:
            base = URL(settings.base_url)
            check_url(base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        self._location_id = settings.location_id
        self._upsert = base / "contacts" / "upsert"
        self._location = base / "locations" / settings.location_id
        self._now = context.now
        self._quotas: Sequence[Quota] = ()
        self._session = HttpSession(settings, context)
        headers = {"Authorization": f"Bearer {token}", "Version": requests.VERSION}
        self._api = JsonApi(self._session, Secrets(token), context.now, headers=headers)

    def quotas(self) -> Sequence[Quota]:
        """Return the day's and the burst's allowances, as the last successful answer reported them."""
        return self._quotas

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Upsert the records, one request for each."""
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request for the first record."""
        headers = {"Authorization": f"Bearer {MASK}", "Version": requests.VERSION, "Content-Type": "application/json"}
        body = orjson.dumps(requests.contact(records[0], self._location_id), option=orjson.OPT_INDENT_2).decode()
        return Preview("POST", str(self._upsert), headers, body)

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Read the location, which cannot write."""
        return (answers.finding(await self._api.call("GET", self._location)),)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        document = requests.contact(record, self._location_id)
        if document is None:
            return Rejected(Reason.MAPPING, "a contact needs an email or a phone; map one of them")
        reply = await self._api.call("POST", self._upsert, document)
        if not isinstance(reply, Reply):
            return reply
        self._quotas = answers.quotas(reply.headers, self._now())
        return answers.delivered_contact(reply, document) or self._api.unclear(
            reply.status, "it names no id of the contact"
        )
