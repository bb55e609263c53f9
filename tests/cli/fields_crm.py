"""A connector whose probe asks a server which fields there are, and that server: how the probe of a CRM will work."""

import difflib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from connectors.base import (
    Connector,
    Context,
    DestinationSettings,
    Finding,
    MappedField,
    MappedRoute,
    Outcome,
    Preview,
    Record,
    RouteSettings,
    Severity,
)

FIELDS: dict[str, dict[str, Any]] = {
    "email": {"type": "text", "length": 80, "required": True},
    "lastname": {"type": "text", "length": 20, "required": True},
    "company": {"type": "text", "length": 255, "required": True},
    "phone": {"type": "text", "length": 40},
    "note": {"type": "text", "length": 255},
    "session": {"type": "number"},
    "score": {"type": "number"},
    "created": {"type": "text", "length": 30, "read_only": True},
    "source": {"type": "option", "options": ["web", "fair"]},
    "stage": {"type": "option", "options": ["new", "open"]},
    "mood": {"type": "option", "options": ["good"]},
}


@dataclass
class FieldsCrm:
    url: str = ""
    token: str = ""
    scopes: tuple[str, ...] = ("read", "write")
    requests: list[str] = field(default_factory=list)

    async def fields(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized
        return web.json_response({"scopes": self.scopes, "objects": {"contact": FIELDS}})


@asynccontextmanager
async def serving(token: str) -> AsyncIterator[FieldsCrm]:
    crm = FieldsCrm(token=token)
    app = web.Application()
    app.router.add_get("/fields", crm.fields)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    crm.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield crm
    await runner.cleanup()


class FieldsSettings(DestinationSettings):
    url: str
    token: SecretStr


class FieldsRoute(RouteSettings):
    object: str = "contact"


class FieldsConnector(Connector):
    destination_settings = FieldsSettings
    route_settings = FieldsRoute
    closed = 0

    def __init__(self, settings: FieldsSettings, context: Context) -> None:
        self.settings = settings

    async def probe(self, wanted: Sequence[MappedRoute]) -> Sequence[Finding]:
        headers = {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{self.settings.url}/fields") as got:
            if got.status == 401:
                return [Finding(Severity.ERROR, "the token is refused; make another one", setting=("token",))]
            said = await got.json()
        return [
            *_scopes(said["scopes"]),
            *(each for at, route in enumerate(wanted) for each in _route(said, at, route)),
        ]

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        raise NotImplementedError

    def preview(self, records: Sequence[Record]) -> Preview:
        raise NotImplementedError

    async def close(self) -> None:
        FieldsConnector.closed += 1


def _scopes(given: Sequence[str]) -> Iterator[Finding]:
    if "write" not in given:
        yield Finding(Severity.ERROR, "the token lacks the scope `write`; add it", setting=("token",))


def _route(said: Any, at: int, wanted: MappedRoute) -> Iterator[Finding]:
    assert isinstance(wanted.settings, FieldsRoute)
    known = said["objects"].get(wanted.settings.object)
    if known is None:
        yield Finding(Severity.ERROR, f"there is no object `{wanted.settings.object}`", at, setting=("object",))
        return
    mapped = {each.name: each for each in wanted.fields}
    for name, has in known.items():
        if has.get("required") and name not in mapped:
            yield Finding(Severity.ERROR, "is missing: each contact must have it", at, name)
    for each in wanted.fields:
        for severity, message in _field(each, known):
            yield Finding(severity, message, at, each.name)


def _field(wanted: MappedField, known: dict[str, dict[str, Any]]) -> Iterator[tuple[Severity, str]]:
    has = known.get(wanted.name)
    if has is None:
        near = difflib.get_close_matches(wanted.name, known, n=1)
        yield Severity.ERROR, "there is no such field" + (f" (did you mean `{near[0]}`?)" if near else "")
        return
    if has.get("read_only"):
        yield Severity.ERROR, "cannot be written; remove it"
    if has["type"] == "number" and wanted.text:
        yield Severity.ERROR, "takes numbers, but always gets text"
    if has.get("required") and not wanted.always:
        yield Severity.WARNING, "each contact must have it: add a default"
    yield from _length(wanted, has.get("length"))
    yield from _options(wanted, has.get("options"))


def _length(wanted: MappedField, length: int | None) -> Iterator[tuple[Severity, str]]:
    if length and wanted.text and wanted.longest is None and length < 30:
        yield Severity.WARNING, f"takes {length} characters: add {{truncate: {length}}}"
    if length and wanted.longest is not None and wanted.longest > length:
        yield Severity.ERROR, f"takes {length} characters, and gets up to {wanted.longest}"


def _options(wanted: MappedField, options: Sequence[str] | None) -> Iterator[tuple[Severity, str]]:
    if options is None:
        return
    for value in wanted.values:
        if value not in options:
            yield Severity.ERROR, f"`{value}` is none of its options: {', '.join(options)}"
    if not wanted.closed:
        yield Severity.WARNING, f"takes only {', '.join(options)}: add a lookup"
