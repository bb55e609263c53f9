"""A HubSpot account in memory, behind real HTTP on loopback."""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Self
from uuid import UUID

from aiohttp import web

from connectors.testing.contacts import Reply
from connectors.testing.faults import Faults
from connectors.testing.hubspot.account import Account, all_definitions, define, one_definition
from connectors.testing.hubspot.answers import page_url
from connectors.testing.hubspot.auth import SCOPES, Caller, Credentials, OAuthApp
from connectors.testing.hubspot.defaults import OBJECTS
from connectors.testing.hubspot.errors import RefusedError, unknown_address
from connectors.testing.hubspot.limits import Limits, Meter
from connectors.testing.hubspot.links import Links
from connectors.testing.hubspot.records import Batches, Records
from connectors.testing.hubspot.requests import Address, read_address, read_json
from connectors.testing.hubspot.schema import ObjectType, Property, moment
from connectors.testing.hubspot.search import search
from connectors.testing.hubspot.store import Store, StoredObject, with_properties
from connectors.testing.server import Answer, Arrival, Server

ACCESS_TOKEN = "pat-na1-00000000-0000-0000-0000-000000000000"  # noqa: S105 - of an account that does not exist


class HubSpotSandbox:
    """A HubSpot account that a connector can write to.

    Example:
        ```python
        async with HubSpotSandbox(properties={"contacts": [Property(name="lead_key", unique=True)]}) as crm:
            crm.faults.next(faults.ten_secondly(), on="/batch/upsert")
            ...  # let the connector write to crm.origin with crm.access_token
            assert [each.properties["email"] for each in crm.contacts] == ["a@b.co"]
        ```

    It serves objects (contacts, companies, deals, leads, notes, meetings, tasks, calls, and those of `objects`) at
    `/crm/objects/2026-09`, `/crm/objects/2026-03` and `/crm/v3/objects`: `POST` creates, `GET`, `PATCH` of an id,
    `batch/upsert`, `batch/create`, `batch/update`, `batch/read`, `search`, and
    `PUT ID/associations/default/OBJECT/ID`. Associations are read at
    `/crm/associations/VERSION/OBJECT/OBJECT/batch/read` (v4 for v3), and written at `.../batch/associate/default`.
    Owners are at `/crm/owners/VERSION`, pipelines at `/crm/pipelines/VERSION/deals`, static lists at
    `/crm/lists/VERSION/ID/memberships/add`. Definitions are at `/crm/properties/VERSION/OBJECT`, tokens at
    `/oauth/VERSION/token`, and the scopes of a private app's token at
    `/oauth/v2/private-apps/get/access-token-info`.
    Nothing can be deleted or merged; paging through all records, labels of associations and history are not served.

    It is strict: it refuses whatever HubSpot would refuse, in HubSpot's words. If the documentation can be read in two
    ways, the stricter one applies. Not modelled: HubSpot's sentence that partial upserts by e-mail are not supported,
    because its meaning is unclear.

    Args:
        access_token: Token of a private app, or a service key; None: only OAuth.
        scopes: Scopes of the tokens.
        oauth: The OAuth app that is installed, if there is one.
        properties: Custom properties, by object, such as one with `unique`.
        objects: Custom objects.
        owners: Ids of the active owners, by e-mail.
        lists: Processing types of the lists of contacts (`MANUAL`, `DYNAMIC`), by id.
        required: Properties that the administrator's rules require after each write, by object. Since version 2026-09
            they apply to the API too.
        multi_status: Status of a batch with some failures; None: 200 in version 2026-09 and 207 before.
        echoes_trace_ids: True if results of a batch repeat the trace ids of their inputs.
        names_existing: True if a conflict names the id of the other record.
        search_lag: Seconds for which search may show an older state of the account.
        association_page: Maximum number of associations of one record in an answer.
        limits: Call limits.
        portal_id: The account.
        port: Port of the server; 0 selects a free one.
        now: Seconds since the epoch.
        seed: Determines the order of results, and the calls of a share of faults.
    """

    def __init__(  # noqa: PLR0913 - a sandbox has as many switches as HubSpot has ways
        self,
        *,
        access_token: str | None = ACCESS_TOKEN,
        scopes: Collection[str] = SCOPES,
        oauth: OAuthApp | None = None,
        properties: Mapping[str, Sequence[Property]] | None = None,
        objects: Sequence[ObjectType] = (),
        owners: Mapping[str, str] | None = None,
        lists: Mapping[str, str] | None = None,
        required: Mapping[str, Collection[str]] | None = None,
        multi_status: int | None = None,
        echoes_trace_ids: bool = True,
        names_existing: bool = True,
        search_lag: float = 0.0,
        association_page: int = 500,
        limits: Limits | None = None,
        portal_id: int = 891936587,
        port: int = 0,
        now: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.access_token = access_token
        """Token for requests, unless the test uses the OAuth app."""
        self.faults = Faults(seed)
        """Faults of calls to the CRM."""
        self.token_faults = Faults(seed)
        """Faults of token requests."""
        self.credentials = Credentials(access_token, scopes, oauth, portal_id, now)
        """Valid tokens, and the token requests (`credentials.requests`)."""
        self.meter = Meter(limits or Limits(), portal_id)
        """Limits, and the calls counted so far."""
        self.refusals = 0
        """Number of CRM calls answered with an error; a certified app has fewer than 5 in 100."""
        self._portal_id = portal_id
        self._now = now
        added = properties or {}
        self._store = Store(
            [with_properties(kind, added.get(kind.name, ())) for kind in (*OBJECTS, *objects)],
            portal=portal_id,
            required=required or {},
            names_existing=names_existing,
            search_lag=search_lag,
            now=now,
        )
        self._records = Records(self._store)
        self._batches = Batches(self._store, multi_status=multi_status, echoes=echoes_trace_ids, seed=seed)
        self._links = Links(self._store, association_page)
        self.account = Account(self._store, owners or {}, lists or {})
        """Owners, pipelines and lists; `account.members` holds the contacts of each list."""
        self._numbers = count(1)
        too_large = Reply(413, {"status": "error", "message": "Request Entity Too Large"})
        self._server = Server(port=port, now=now, too_large=too_large, max_body=16 * 1024**2)
        for version in ("v1", "v3", "2026-03", "2026-09"):
            self._server.route(
                f"/oauth/{version}/token", self.token_faults, self._replying(self._give_token), noted=False
            )
        info = "/oauth/v2/private-apps/get/access-token-info"
        self._server.route(info, self.faults, self._replying(self._token_info))
        self._server.route("/{rest:.*}", self.faults, self._crm)

    @property
    def origin(self) -> str:
        """Scheme, host and port, in place of `https://api.hubapi.com`."""
        return self._server.origin

    @property
    def ledger(self) -> deque[Arrival]:
        """All requests in order, without token requests."""
        return self._server.ledger

    @property
    def contacts(self) -> list[StoredObject]:
        """Contacts in the order of creation; so are the other lists."""
        return self._store.records("contacts")

    @property
    def notes(self) -> list[StoredObject]:
        """Notes; `associations["contacts"]` holds the ids of their contacts."""
        return self._store.records("notes")

    @property
    def meetings(self) -> list[StoredObject]:
        """The meetings."""
        return self._store.records("meetings")

    @property
    def tasks(self) -> list[StoredObject]:
        """The tasks."""
        return self._store.records("tasks")

    def records(self, kind: str) -> list[StoredObject]:
        """Return the records of any object, by its name in paths."""
        return self._store.records(kind)

    def page_url(self, record: StoredObject) -> str:
        """Return the address of a record's page for people, which the sandbox does not serve."""
        return page_url(self._portal_id, self._store.kinds[record.kind], record.id)

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server. Its records can still be read."""
        await self._server.stop()

    def _replying(self, answer: Answer) -> Answer:
        """Return a handler that also answers refusals."""

        def reply(request: web.Request, body: bytes) -> Reply:
            try:
                return answer(request, body)
            except RefusedError as refused:
                return Reply(refused.status, refused.document(self._correlation_id()))

        return reply

    def _give_token(self, request: web.Request, body: bytes) -> Reply:
        if request.method != "POST":
            raise _no_such_method()
        return self.credentials.give(request.content_type, body)

    def _token_info(self, request: web.Request, body: bytes) -> Reply:
        if request.method != "POST":
            raise _no_such_method()
        return self.credentials.info(read_json(request.content_type, body))

    def _crm(self, request: web.Request, body: bytes) -> Reply:
        """Answer a call of the CRM: check the caller, then the limits, then the scope, then the request."""
        headers = {}
        now = self._now()
        try:
            address = read_address(request.raw_path)
            caller = self.credentials.caller(request.headers.get("Authorization", ""))
            searches = address.rest == ("search",)
            try:
                self.meter.count(now, search=searches, oauth=caller.oauth)
            finally:
                headers = {} if searches else self.meter.headers(now, oauth=caller.oauth)
            if not address.kind:
                reply = self.account.answer(request.method, address, caller, body)
                return Reply(reply.status, reply.document, headers)
            kind = self._store.kind(address.kind)
            act = {"associations": self._associations, "objects": self._objects, "properties": self._properties}
            reply = act[address.area](request, body, address, kind, caller)
        except RefusedError as refused:
            self.refusals += 1
            reply = Reply(refused.status, refused.document(self._correlation_id()))
        return Reply(reply.status, reply.document, headers)

    def _properties(
        self, request: web.Request, body: bytes, address: Address, kind: ObjectType, caller: Caller
    ) -> Reply:
        match request.method, address.rest:
            case "GET", ():
                caller.need(kind.scope, "read")
                return all_definitions(self._store, kind)
            case "GET", (name,):
                caller.need(kind.scope, "read")
                return one_definition(self._store, kind, name)
            case "POST", ():
                caller.need_schema(kind.scope)
                return define(self._store, kind, read_json(request.content_type, body))
            case _, () | (_,):
                raise _no_such_method()
        raise unknown_address()

    def _associations(
        self, request: web.Request, body: bytes, address: Address, kind: ObjectType, caller: Caller
    ) -> Reply:
        match request.method, address.rest:
            case "POST", (target, "batch", "read"):
                caller.need(kind.scope, "read")
                document = read_json(request.content_type, body)
                return self._links.read(kind, self._store.kind(target), document, address.version, self._times())
            case "POST", (target, "batch", "associate", "default"):
                caller.need(kind.scope, "write")
                document = read_json(request.content_type, body)
                return self._links.associate(kind, self._store.kind(target), document, address.version, self._times())
            case _, (_, "batch", "read") | (_, "batch", "associate", "default"):
                raise _no_such_method()
        raise unknown_address()

    def _objects(self, request: web.Request, body: bytes, address: Address, kind: ObjectType, caller: Caller) -> Reply:
        match request.method, address.rest:
            case "POST", ("batch", "upsert" | "create" | "update" | "read" as verb):
                caller.need(kind.scope, "read" if verb == "read" else "write")
                document = read_json(request.content_type, body)
                batch = {
                    "upsert": self._batches.upsert,
                    "create": self._batches.create,
                    "update": self._batches.update,
                    "read": self._batches.read,
                }[verb]
                return batch(kind, document, address.version, self._times())
            case "POST", ("search",):
                caller.need(kind.scope, "read")
                return search(self._store, kind, read_json(request.content_type, body), address.version)
            case "POST", ():
                caller.need(kind.scope, "write")
                return self._records.create(kind, read_json(request.content_type, body), address.version)
            case "PATCH", (record_id,):
                caller.need(kind.scope, "write")
                document = read_json(request.content_type, body)
                return self._records.update(kind, record_id, address.one("idProperty"), document, address.version)
            case "GET", (record_id,):
                caller.need(kind.scope, "read")
                wanted, others = address.several("properties"), address.several("associations")
                return self._records.get(kind, record_id, address.one("idProperty"), wanted, others, address.version)
            case "PUT", (record_id, "associations", "default", target, target_id):
                caller.need(kind.scope, "write")
                other = self._store.kind(target)
                return self._links.associate_one(kind, record_id, other, target_id, self._times())
            case _, () | (_,) | ("batch", "upsert" | "create" | "update" | "read"):
                raise _no_such_method()
        raise unknown_address()

    def _times(self) -> dict[str, str]:
        now = moment(self._now())
        return {"startedAt": now, "completedAt": now}

    def _correlation_id(self) -> str:
        return str(UUID(int=next(self._numbers)))


def _no_such_method() -> RefusedError:
    return RefusedError(405, "HTTP 405 Method Not Allowed", None)
