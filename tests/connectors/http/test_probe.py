"""The HTTP connector's probe: what it learns of a destination, and that it cannot write."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from connectors.base import Finding, MappedRoute, Severity
from connectors.testing import Fault, Sandbox
from tests.connectors.building import Certificates, answers, connector, context, raw_server, sends

BEARER = "bearer-0123456789"
CLIENT = ("the-client", "the-client-secret-0123456789")
WHOM: Sequence[MappedRoute] = ()


async def probe(url: str, **settings: Any) -> Finding:
    target = connector(url, context(timeout=1.0), **settings)
    try:
        (found,) = await target.probe(WHOM)
    finally:
        await target.close()
    assert BEARER not in found.message
    assert CLIENT[1] not in found.message
    return found


def oauth2(crm: Sandbox, secret: str = CLIENT[1]) -> dict[str, Any]:
    return {"oauth2": {"token_url": crm.token_url, "client_id": CLIENT[0], "client_secret": secret}}


def methods(crm: Sandbox) -> list[str]:
    return [arrival.method for arrival in crm.ledger]


async def test_good_credentials_are_told_from_a_method_that_is_not_taken() -> None:
    async with Sandbox(authorization=f"Bearer {BEARER}") as crm:
        found = await probe(crm.url, auth={"bearer": BEARER})

    assert found == Finding(Severity.NOTE, "reachable, credentials accepted")
    assert methods(crm) == ["HEAD", "HEAD"]
    assert ["Authorization" in arrival.headers for arrival in crm.ledger] == [True, False]
    assert not crm.records


async def test_wrong_credentials_are_an_error_where_they_stand() -> None:
    async with Sandbox(authorization="Bearer another") as crm:
        found = await probe(crm.url, auth={"bearer": BEARER})

    assert (found.severity, found.setting) == (Severity.ERROR, ("auth",))
    assert (
        found.message == "it answered 401: it refuses the credentials; correct those in auth, or give them the rights"
    )


async def test_missing_credentials_are_asked_for() -> None:
    async with Sandbox(authorization=f"Bearer {BEARER}") as crm:
        found = await probe(crm.url)

    assert (found.severity, found.setting) == (Severity.ERROR, ("auth",))
    assert "set auth" in found.message


async def test_credentials_that_nobody_looks_at_are_not_called_good(crm: Sandbox) -> None:
    found = await probe(crm.url, auth={"bearer": BEARER})

    assert found.severity is Severity.NOTE
    assert "could not be checked, because a HEAD is answered 405 without credentials too" in found.message


async def test_without_credentials_there_is_nothing_to_compare(crm: Sandbox) -> None:
    assert await probe(crm.url) == Finding(Severity.NOTE, "reachable; no credentials are set")
    assert methods(crm) == ["HEAD"]


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": {"header": {"name": "X-Id", "value": BEARER}}},
        {"auth": {"basic": {"username": "user", "password": BEARER}}},
        {"headers": {"X-Api-Key": BEARER, "X-Source": "{{ chatbot }}"}},
    ],
)
async def test_the_comparison_goes_without_every_kind_of_credentials(crm: Sandbox, settings: dict[str, Any]) -> None:
    crm.faults.next(Fault.answers(200))
    crm.faults.next(Fault.answers(302, {"Location": "/login"}))

    found = await probe(crm.url, **settings)

    assert found.message == "reachable, credentials accepted"
    first, second = (set(arrival.headers) for arrival in crm.ledger)
    assert len(first - second) == 1


async def test_a_key_in_the_address_is_a_credential(crm: Sandbox) -> None:
    crm.faults.next(Fault.answers(204))
    crm.faults.next(Fault.answers(403))

    found = await probe(f"{crm.url}?api_key={BEARER}&x=1")

    assert found.message == "reachable, credentials accepted"
    assert [arrival.path for arrival in crm.ledger] == [f"/contacts?api_key={BEARER}&x=1", "/contacts?x=1"]


async def test_a_signature_is_a_credential_too() -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    async with Sandbox(signing_secret=secret) as crm:
        found = await probe_now(crm.url, sign={"secrets": [secret]})
        wrong = await probe_now(crm.url, sign={"secrets": ["whsec_d3Jvbmd3cm9uZ3dyb25nd3Jvbmc="]})

    assert found.message == "reachable, credentials accepted"
    assert (wrong.severity, wrong.setting) == (Severity.ERROR, ("sign",))


async def probe_now(url: str, **settings: Any) -> Finding:
    """Probe by the real clock, which signatures are checked against."""
    target = connector(url, context(now=time.time), **settings)
    (found,) = await target.probe(WHOM)
    await target.close()
    return found


async def test_a_token_says_that_its_client_is_known() -> None:
    async with Sandbox(client=CLIENT) as crm:
        found = await probe(crm.url, auth=oauth2(crm))

    assert found == Finding(Severity.NOTE, "reachable, credentials accepted")
    assert methods(crm) == ["HEAD"]


async def test_a_refused_client_is_an_error_of_oauth2() -> None:
    async with Sandbox(client=CLIENT) as crm:
        found = await probe(crm.url, auth=oauth2(crm, "not-the-secret"))

    assert (found.severity, found.setting) == (Severity.ERROR, ("auth", "oauth2"))
    assert "wrong client id or secret" in found.message
    assert not crm.ledger


@pytest.mark.parametrize(("status", "severity"), [(404, Severity.ERROR), (503, Severity.WARNING)])
async def test_a_token_endpoint_in_trouble_is_named(status: int, severity: Severity) -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.token_faults.next(Fault.answers(status))
        found = await probe(crm.url, auth=oauth2(crm))

    assert (found.severity, found.setting) == (severity, ("auth", "oauth2", "token_url"))
    assert found.message.startswith("no access token: ")


async def test_a_redirect_is_an_error_that_names_the_server_only(crm: Sandbox) -> None:
    crm.faults.next(Fault.redirects("https://www.example.com/leads?token=abc", 301))

    found = await probe(crm.url)

    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))
    assert found.message == (
        "it answered 301: it points to https://www.example.com; redirects are not followed, so correct url"
    )


@pytest.mark.parametrize(
    ("location", "named"),
    [("/contacts/", "another path of http://127.0.0.1"), ("http://[", "another address"), ("mailto:x", "another add")],
)
async def test_where_a_redirect_leads(crm: Sandbox, location: str, named: str) -> None:
    crm.faults.next(Fault.redirects(location))
    assert named in (await probe(crm.url)).message


async def test_a_redirect_without_an_address(crm: Sandbox) -> None:
    crm.faults.next(Fault.answers(308))
    assert "another address" in (await probe(crm.url)).message


@pytest.mark.parametrize("status", [500, 502, 503, 429, 521])
async def test_trouble_that_may_pass_is_a_warning(crm: Sandbox, status: int) -> None:
    crm.faults.next(Fault.answers(status))
    found = await probe(crm.url)
    assert (found.severity, found.setting) == (Severity.WARNING, ("url",))
    assert found.message.startswith(f"it answered {status}: ")


@pytest.mark.parametrize("status", [200, 204, 207, 400, 404, 405, 415, 422, 501])
async def test_these_answers_to_a_head_say_that_somebody_is_there(crm: Sandbox, status: int) -> None:
    crm.faults.next(Fault.answers(status))
    assert (await probe(crm.url)).severity is Severity.NOTE


async def test_an_address_that_has_been_retired(crm: Sandbox) -> None:
    crm.faults.next(Fault.answers(410))
    found = await probe(crm.url)
    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))


@pytest.mark.parametrize(
    "settings",
    [{"url": "/contacts/{{ Email }}?key=1", "method": "PUT"}, {"url": "/contacts", "method": "GET"}],
    ids=["templates", "GET"],
)
async def test_where_the_address_cannot_be_asked_only_the_root_is(settings: dict[str, Any]) -> None:
    heads: list[tuple[str, str, bool]] = []

    async def root(request: web.Request) -> web.Response:
        heads.append((request.method, request.raw_path, "Authorization" in request.headers))
        raise web.HTTPForbidden

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", root)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = await probe(origin + settings["url"], method=settings["method"], auth={"bearer": BEARER})
    await runner.cleanup()

    assert found.severity is Severity.NOTE
    assert found.message.startswith("reachable; the address that receives leads was not probed")
    assert heads == [("HEAD", "/", False)]


async def test_a_server_that_is_down() -> None:
    async with Sandbox() as crm:
        url = crm.url
    found = await probe(url)
    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))
    assert "Connection refused; correct url" in found.message


async def test_a_server_that_says_nothing(crm: Sandbox) -> None:
    crm.faults.next(Fault.slow(5.0))
    found = await probe(crm.url)
    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))
    assert "in time" in found.message


async def test_a_server_that_does_not_speak_http() -> None:
    async with raw_server(sends(b"SSH-2.0-OpenSSH_9.9\r\n")) as raw:
        found = await probe(raw.url)
    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))


async def test_a_head_that_promises_a_compressed_body() -> None:
    async with raw_server(answers(b"200 OK\r\nContent-Encoding: gzip")) as raw:
        assert (await probe(raw.url)).severity is Severity.NOTE


async def test_a_certificate_of_nobody_known(certificates: Certificates) -> None:
    async with Sandbox(tls=certificates.server_context()) as crm:
        found = await probe(crm.url)
        trusted = await probe(crm.url, tls={"ca": str(certificates.ca)})
    assert (found.severity, found.setting) == (Severity.ERROR, ("url",))
    assert "is refused: self-signed certificate" in found.message
    assert trusted.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("tls", "setting"),
    [
        ({"ca": "gone.pem"}, ("tls", "ca")),
        ({"certificate": "gone.pem"}, ("tls", "certificate")),
    ],
)
async def test_a_file_of_tls_that_cannot_be_read(tls: dict[str, str], setting: tuple[str, ...]) -> None:
    found = await probe("https://127.0.0.1:9/", tls=tls)
    assert (found.severity, found.setting) == (Severity.ERROR, setting)
    assert "cannot be read: No such file or directory; name a " in found.message


async def test_the_same_while_a_token_is_asked_for() -> None:
    async with Sandbox(client=CLIENT) as crm:
        found = await probe(crm.url, tls={"ca": "gone.pem"}, auth=oauth2(crm))
    assert (found.severity, found.setting) == (Severity.ERROR, ("tls", "ca"))


async def test_a_private_address_is_not_reached_without_leave() -> None:
    target = connector("https://localhost:9/", allow_private=False)
    (found,) = await target.probe(WHOM)
    await target.close()
    assert found.severity is Severity.ERROR
    assert "allow_private: true would allow it" in found.message
