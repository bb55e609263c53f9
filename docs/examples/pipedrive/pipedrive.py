"""The connector `pipedrive`: writes a person into Pipedrive, and a lead for that person.

Pipedrive has no upsert: a person is searched for by e-mail or phone before one is created, and so is a lead. What has
been created is kept in the memo, because the search finds a new person only some seconds later.
"""

# ruff: noqa: INP001 - a plugin is a file, not part of a package

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, SecretStr
from yarl import URL

from connectors.base import (
    Connector,
    Context,
    Delivered,
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
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.settings import NetworkSettings

TITLE = "title"
"""The mapped field that becomes the lead's title; without it only the person is written."""
KEYS = {"email": "emails", "phone": "phones"}
"""What a person is found by, and under which name the API keeps a list of it."""

Failed = Retry | Rejected


class PipedriveSettings(NetworkSettings):
    """The keys that stand beside `connector: pipedrive` in the configuration."""

    api_token: SecretStr = Field(description="A user's API token.", examples=["${PIPEDRIVE_TOKEN}"])
    base_url: str = Field(description="The company's address.", examples=["https://acme.pipedrive.com"])


class Pipedrive(Connector):
    """Writes persons into Pipedrive, and leads for them.

    Fields are `name`, `email`, `phone`, `title` (of the lead), and the keys of the account's own person fields.
    """

    destination_settings = PipedriveSettings

    def __init__(self, settings: PipedriveSettings, context: Context) -> None:
        token = settings.api_token.get_secret_value()
        try:
            base = URL(settings.base_url)
            check_url(base, allow_private=settings.allow_private)
        except ValueError as error:
            raise SettingError(("base_url",), str(error)) from None
        self._persons = base / "api" / "v2" / "persons"
        self._leads = base / "api" / "v1" / "leads"
        self._session = HttpSession(settings, context)
        self._api = JsonApi(self._session, Secrets(token), context.now, headers={"x-api-token": token})

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, each with the requests that it takes."""
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Show the first request for the first record: the search for its person."""
        return Preview("GET", str(self._search(records[0])), {"x-api-token": MASK}, "")

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Ask for one person, which writes nothing, and see that each route maps what a person needs."""
        reply = await self._api.call("GET", self._persons.with_query(limit=1))
        if not isinstance(reply, Reply):
            return (Finding(Severity.ERROR, f"{reply.detail}; correct api_token or base_url"),)
        found = [
            Finding(Severity.ERROR, "must be mapped: a person needs a name", number, "name")
            for number, route in enumerate(routes)
            if "name" not in {field.name for field in route.fields}
        ]
        return found or (Finding(Severity.NOTE, "reachable, credentials accepted"),)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        if not any(record.fields.get(key) for key in KEYS):
            return Rejected(Reason.MAPPING, "a person needs an email or a phone to be found by; map one of them")
        known = record.memo.get("person") or await self._find_person(record)
        if isinstance(known, Failed):
            return known
        person = known or await self._create_person(record)
        if isinstance(person, Failed):
            return person
        if known:
            updated = await self._api.call("PATCH", self._persons / person, _person(record.fields))
            if isinstance(updated, Failed):
                return updated
        # A failure from here on must not lose what has been created.
        return replace(await self._deliver_lead(record, person, is_new=not known), memo={"person": person})

    async def _find_person(self, record: Record) -> str | Failed | None:
        reply = await self._api.call("GET", self._search(record))
        if not isinstance(reply, Reply):
            return reply
        if not isinstance(reply.get("data", "items"), list):
            return self._api.unclear(reply.status, "does not say which persons there are")
        return reply.id_at("data", "items", 0, "item", "id")

    async def _create_person(self, record: Record) -> str | Failed:
        reply = await self._api.call("POST", self._persons, _person(record.fields))
        if not isinstance(reply, Reply):
            return reply
        return reply.id_at("data", "id") or self._api.unclear(reply.status, "names no id of the person")

    async def _deliver_lead(self, record: Record, person: str, *, is_new: bool) -> Outcome:
        title = record.fields.get(TITLE)
        if not title:
            return Delivered(person)
        if not is_new:  # a person that has just been created has no lead
            reply = await self._api.call("GET", self._leads.with_query(person_id=person))
            if not isinstance(reply, Reply):
                return reply
            leads = reply.get("data") or []
            found = next(
                (each.get("id") for each in leads if isinstance(each, dict) and each.get("title") == title), None
            )
            if found:
                return Delivered(str(found), status=reply.status)
        reply = await self._api.call("POST", self._leads, {"title": title, "person_id": int(person)})
        if not isinstance(reply, Reply):
            return reply
        lead = reply.id_at("data", "id")
        if lead is None:
            return self._api.unclear(reply.status, "names no id of the lead")
        return Delivered(lead, status=reply.status)

    def _search(self, record: Record) -> URL:
        key = next((key for key in KEYS if record.fields.get(key)), "email")
        query = {"term": str(record.fields.get(key, "")), "fields": key, "exact_match": "true"}
        return (self._persons / "search").with_query(query)


def _person(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Make the document of a person: e-mail and phone are lists there."""
    made = {name: value for name, value in fields.items() if name not in KEYS and name != TITLE}
    return made | {plural: [{"value": fields[key], "primary": True}] for key, plural in KEYS.items() if fields.get(key)}
