import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientOSError
from pydantic import ValidationError
from yarl import URL

from connectors.base import Blame, Delivered, Reason
from connectors.http_client.answer import Answer, Failure, network_failure
from connectors.http_client.session import HttpSession
from connectors.http_client.settings import NetworkSettings
from connectors.testing import Sandbox
from tests.connectors.building import Certificates, answers, context, deliver, raw_server
from tests.connectors.http_client.test_address_guard import Names

PASSWORD = "pass-phrase"


async def no_sleep(_: float) -> None:
    """Take no time between quick tries."""


async def send(url: str, **tls: Any) -> Answer | Failure:
    settings = NetworkSettings.model_validate({"allow_private": True, "tls": tls or None})
    session = HttpSession(settings, context(), sleep=no_sleep)
    try:
        return await session.send("POST", URL(url), {}, b"{}")
    finally:
        await session.close()


def detail(result: Answer | Failure) -> str:
    assert isinstance(result, Failure)
    assert result.outcome.blame is Blame.DESTINATION
    assert result.outcome.reason is Reason.UNREACHABLE
    return result.outcome.detail


async def send_to(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Answer | Failure:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await send(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()


async def test_a_private_authority_is_trusted_when_named(certificates: Certificates) -> None:
    async with Sandbox(tls=certificates.server_context()) as crm:
        assert await deliver(crm.url, tls={"ca": str(certificates.ca)}) == Delivered(status=201)
        assert crm.url.startswith("https://")
        assert len(crm.records) == 1


async def test_and_not_trusted_else(certificates: Certificates) -> None:
    async with Sandbox(tls=certificates.server_context()) as crm:
        result = await send(crm.url)
        assert " is refused: self-signed certificate" in detail(result)
        assert not crm.ledger
    assert isinstance(result, Failure)
    assert not result.sent


async def test_the_name_in_the_certificate_must_be_right(certificates: Certificates) -> None:
    settings = NetworkSettings.model_validate({"allow_private": True, "tls": {"ca": certificates.ca}})
    session = HttpSession(settings, context(), resolver=Names("127.0.0.1"), sleep=no_sleep)
    async with raw_server(answers(b"200 OK"), certificates.server_context()) as raw:
        result = await session.send("POST", URL(f"https://crm.internal:{raw.port}/"), {}, b"{}")
        await session.close()
    assert "the certificate of crm.internal" in detail(result)
    assert "Hostname mismatch" in detail(result)
    assert not raw.requests


async def test_a_client_certificate_with_an_encrypted_key_is_shown(certificates: Certificates) -> None:
    async with Sandbox(tls=certificates.server_context(wants_client=True)) as crm:
        tls = {"ca": str(certificates.ca), "certificate": str(certificates.client), "key_password": PASSWORD}
        assert await deliver(crm.url, tls=tls) == Delivered(status=201)


async def test_a_server_that_wants_one_and_gets_none_in_tls_1_2(certificates: Certificates) -> None:
    wants = certificates.server_context(wants_client=True)
    wants.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Sandbox(tls=wants) as crm:
        result = await send(crm.url, ca=certificates.ca)
        assert not crm.ledger
    assert detail(result)
    assert isinstance(result, Failure)
    assert not result.sent


async def test_in_tls_1_3_the_handshake_is_over_before_the_refusal_comes(certificates: Certificates) -> None:
    async with Sandbox(tls=certificates.server_context(wants_client=True)) as crm:
        result = await send(crm.url, ca=certificates.ca)
        assert not crm.ledger
    assert isinstance(result, Failure)
    assert result.sent


def test_a_refusal_that_is_read_in_time_is_the_destinations_trouble() -> None:
    fault = ClientOSError(1, "alert")
    fault.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    assert "client certificate" in detail(network_failure(fault, URL("https://crm.example/")))


async def test_a_server_without_tls_is_no_tls() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    result = await send_to(serve)
    assert detail(result).startswith("no TLS with")
    assert isinstance(result, Failure)
    assert not result.sent


async def test_a_server_that_hangs_up_in_the_handshake() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    result = await send_to(serve)
    assert detail(result)
    assert isinstance(result, Failure)
    assert not result.sent


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        ({"ca": "/nowhere/ca.pem"}, "tls.ca cannot be read: No such file or directory"),
        (
            {"certificate": "/nowhere/client.pem"},
            "tls.certificate or tls.key cannot be read: No such file or directory",
        ),
    ],
)
async def test_files_that_are_not_there_are_an_outcome_of_the_call(tls: dict[str, str], problem: str) -> None:
    assert detail(await send("https://127.0.0.1:9/", **tls)) == problem


async def test_a_wrong_password_of_the_key_is_an_outcome_and_does_not_ask_at_the_terminal(
    certificates: Certificates,
) -> None:
    for given in ({}, {"key_password": "wrong"}):
        result = await send("https://127.0.0.1:9/", certificate=certificates.client, **given)
        assert detail(result).startswith("tls.certificate or tls.key cannot be read")
        assert "wrong" not in detail(result)


async def test_files_that_come_later_are_found(certificates: Certificates, tmp_path: Path) -> None:
    late = tmp_path / "ca.pem"
    async with Sandbox(tls=certificates.server_context()) as crm:
        settings = NetworkSettings.model_validate({"allow_private": True, "tls": {"ca": str(late)}})
        session = HttpSession(settings, context())
        assert "cannot be read" in detail(await session.send("POST", URL(crm.url), {}, b"{}"))
        late.write_bytes(certificates.ca.read_bytes())
        assert isinstance(await session.send("POST", URL(crm.url), {}, b"{}"), Answer)
        await session.close()


def test_a_key_needs_a_certificate() -> None:
    with pytest.raises(ValidationError, match="need a certificate"):
        NetworkSettings.model_validate({"tls": {"key": "/x.pem"}})
