"""A Salesforce org in memory, behind real HTTP on loopback."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from aiohttp import web

from connectors.testing.contacts import Reply
from connectors.testing.faults import Faults
from connectors.testing.salesforce.api import Api
from connectors.testing.salesforce.faults import session_error
from connectors.testing.salesforce.limits import Limits
from connectors.testing.salesforce.objects import Field, standard_objects
from connectors.testing.salesforce.org import DuplicateRule, Org
from connectors.testing.salesforce.problems import ProblemError, refused
from connectors.testing.salesforce.rows import Row
from connectors.testing.salesforce.tokens import Client, Tokens
from connectors.testing.server import Arrival, Server

_TOO_LARGE = refused(413, "REQUEST_TOO_LARGE", "The request is too large").reply
_MOST_HEAD = 16_384  # bytes of an address, and of address and headers (REST API Developer Guide, Status Codes)


class SalesforceSandbox:
    """A Salesforce org in memory: people, activities and campaigns behind the REST API and its token endpoint.

    Example:
        ```python
        async with SalesforceSandbox() as crm:
            crm.faults.next(faults.row_lock(), on="/composite/sobjects/")
            crm.duplicates.mode = "alert"
            ...  # let the connector write to crm.origin
            assert [each.fields["LastName"] for each in crm.leads] == ["García"]
            assert crm.leads[0].assignments == 1
        ```

    It answers the resources that a connector for leads needs: the versions, `limits`, `sobjects` (the list, describe,
    create, and rows by id and by external id), `query` (a small strict part of SOQL), `composite`, and
    `composite/sobjects` (create, update, and upsert by external id). Everything else is a 404. A call is refused for
    every reason that Salesforce's guides name.

    Args:
        client: App that may fetch tokens.
        session_lifetime: Lifetime of an access token in seconds.
        external_id: Custom field that identifies leads and contacts.
        unique: True if that field is unique. Otherwise several records may have one value, and an upsert by it
            gets a 300.
        external_id_on_activities: True if events and tasks have the field too.
        extra_fields: More fields, by object.
        version: The newest version of the API; older ones down to 31.0 are answered too.
        daily_limit: Calls in 24 hours.
        concurrent_limit: Simultaneous long calls.
        unread_in_row: True if an unreadable record of a collection fails in its row; else the whole call fails.
        tls: Serve https with this context.
        port: Port of the server; 0 selects a free one.
        now: Seconds since the epoch.
        seed: Selects the calls of a share of faults.
    """

    def __init__(  # noqa: PLR0913 - a sandbox has as many switches as CRMs have ways
        self,
        *,
        client: Client | None = None,
        session_lifetime: float = 7200.0,
        external_id: str = "Leadbridge_Id__c",
        unique: bool = True,
        external_id_on_activities: bool = False,
        extra_fields: Mapping[str, Sequence[Field]] | None = None,
        version: str = "68.0",
        daily_limit: int = 100_000,
        concurrent_limit: int = 25,
        unread_in_row: bool = False,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        now: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.faults = Faults(seed)
        """Faults of calls to the API; see `connectors.testing.salesforce.faults`."""
        self.token_faults = Faults(seed)
        """Faults of token requests."""
        self.tokens = Tokens(client or Client("client", "secret"), session_lifetime, now, lambda: self.origin)
        """The token endpoint."""
        self.limits = Limits(daily_limit, concurrent_limit, now)
        """The org's limits, and the calls counted so far."""
        self.duplicates = DuplicateRule()
        """The org's duplicate rule; none at first."""
        key = Field(name=external_id, length=255, external_id=True, unique=unique)
        objects = standard_objects(key, extra_fields or {}, on_activities=external_id_on_activities)
        self.org = Org(objects, self.duplicates, now)
        """The org itself: `validation_rules`, `locks`, `hidden`, and actions of a CRM user on a record."""
        self.version = version
        """The newest version of the API."""
        self._api = Api(self.org, self.limits, version, unread_in_row=unread_in_row)
        self._server = Server(
            port=port,
            now=now,
            too_large=_TOO_LARGE,
            max_body=6 * 1024**2,
            max_url=_MOST_HEAD,
            max_head=_MOST_HEAD,
            tls=tls,
        )
        self._server.route("/services/oauth2/token", self.token_faults, self._give_token, noted=False)
        self._server.route("/{rest:.*}", self.faults, self._answer)

    @property
    def ledger(self) -> deque[Arrival]:
        """All requests in order, without token requests (`tokens.requests`)."""
        return self._server.ledger

    @property
    def origin(self) -> str:
        """Return scheme, host and port: the `login_url` of a destination, and the `instance_url` of its tokens."""
        return self._server.origin

    @property
    def leads(self) -> list[Row]:
        """Return the leads that are not deleted, in the order of creation."""
        return list(self.org.rows.of("Lead"))

    @property
    def contacts(self) -> list[Row]:
        """Return the contacts, likewise."""
        return list(self.org.rows.of("Contact"))

    @property
    def events(self) -> list[Row]:
        """Return the events, likewise; `WhoId` is their person."""
        return list(self.org.rows.of("Event"))

    @property
    def tasks(self) -> list[Row]:
        """Return the tasks, likewise."""
        return list(self.org.rows.of("Task"))

    @property
    def members(self) -> list[Row]:
        """Return the members of campaigns, likewise."""
        return list(self.org.rows.of("CampaignMember"))

    def page_url(self, row: Row) -> str:
        """Return the address of a record's page, as in Lightning Experience. The sandbox has no pages."""
        return f"{self.origin}/lightning/r/{row.object}/{row.id}/view"

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server. Its records can still be read."""
        await self._server.stop()

    def _give_token(self, request: web.Request, body: bytes) -> Reply:
        if request.method != "POST":
            return Reply(400, {"error": "invalid_request", "error_description": "must use HTTP POST"})
        return self.tokens.give(request.headers.get("Authorization", ""), request.content_type, body)

    def _answer(self, request: web.Request, body: bytes) -> Reply:
        try:
            self._check_token(request.headers.get("Authorization"))
        except ProblemError as error:
            return error.reply
        try:
            end = self.limits.begin()
        except ProblemError as error:
            return self._told(error.reply)
        task = asyncio.current_task()
        if task is not None:  # aiohttp serves each request in a task of its own, which ends when the answer has gone
            task.add_done_callback(lambda _: end())
        return self._told(self._api.answer(request.method, request.raw_path, request.headers, body))

    def _check_token(self, authorization: str | None) -> None:
        scheme, _, token = (authorization or "").partition(" ")
        if authorization is not None and scheme not in ("Bearer", "OAuth"):
            raise refused(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
        if not self.tokens.holds(token):
            raise session_error()

    def _told(self, reply: Reply) -> Reply:
        return replace(reply, headers={**reply.headers, "Sforce-Limit-Info": self.limits.header})
