"""Makes what tests of connectors are about: contexts, records, connectors, servers that misbehave, certificates."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.mapping.expressions.engine import JinjaExpressions
from connectors.base import Context, Outcome, Record, RouteSettings
from connectors.http import HttpConnector

NOW = 1_795_600_000.0
EVENT: dict[str, Any] = {
    "SerialNumber": "59001dd73709417321c58b11693183a2",
    "Type": "Lead",
    "FirstName": "David",
    "LastName": "García",
    "Email": "david@example.com",
    "PhoneNumber": "+34 600 000 000",
    "CreateTime": "2026-11-24T10:00:00Z",
    "Content": 'said "hello"',
    "SessionID": 7,
    "URI": "www.example.com",
    "event": {"id": "0" * 32, "received_at": "2026-11-24T10:00:01.000Z"},
    "chatbot": "acme",
}
_numbers = itertools.count(1)
EXPRESSIONS = JinjaExpressions()
"""One for all tests, as there is one for a configuration: what has been compiled is known."""


def context(**changes: Any) -> Context:
    """Give a context in which time stands still."""
    made = Context(
        destination="crm",
        expressions=EXPRESSIONS,
        event_names=frozenset(EVENT),
        timeout=5.0,
        concurrency=10,
        now=lambda: NOW,
    )
    return replace(made, **changes)


def record(fields: dict[str, Any] | None = None, record_id: str | None = None, **event: Any) -> Record:
    """Give a record; each call gives one with an id of its own."""
    values = {**EVENT, **event}
    return Record(
        id=record_id or f"record-{next(_numbers)}",
        fields={"email": values["Email"], "name": values["FirstName"]} if fields is None else fields,
        event=values,
        payload=orjson.dumps({name: value for name, value in values.items() if name not in ("event", "chatbot")}),
        route=RouteSettings(),
    )


def records(count: int) -> list[Record]:
    """Give records of different people."""
    return [record({"email": f"lead{number}@example.com"}) for number in range(count)]


def connector(url: str, made: Context | None = None, **settings: Any) -> HttpConnector:
    """Give a connector to a server on this machine."""
    document = {"url": url, "allow_private": True, **settings}
    return HttpConnector(HttpConnector.destination_settings.model_validate(document), made or context())


async def deliver(url: str, made: Context | None = None, **settings: Any) -> Outcome:
    """Deliver one record with a connector that is made for it."""
    target = connector(url, made, **settings)
    try:
        (outcome,) = await target.deliver([record()])
    finally:
        await target.close()
    return outcome


class Raw:
    """A server that answers with bytes, so that it can do what no HTTP server does."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/contacts"


Behaviour = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    """Serve: `behaviour` gets each request, head and body, and writes what it likes."""
    raw = Raw()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.connections += 1
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while not writer.is_closing():
                request = await _read_request(reader)
                raw.requests.append(request)
                await behaviour(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # asyncio's streams complain in 3.11 when the task is left cancelled
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    return head + await reader.readexactly(length)


def answers(head: bytes, body: bytes = b"", *, close: bool = False) -> Behaviour:
    """Give a behaviour that answers each request alike; `head` is the status and headers, without the length."""

    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        if close:
            writer.close()

    return behave


def sends(data: bytes) -> Behaviour:
    """Give a behaviour that sends these bytes and closes the connection."""

    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return behave


class Certificates:
    """A private certificate authority, with a certificate for a server on 127.0.0.1 and one for a client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self.ca = self._write("ca", self._sign(self._ca_name, self._ca_key, is_ca=True), None)
        self.server = self._issue("server")
        self.client = self._issue("client", b"pass-phrase")

    def server_context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        made.load_cert_chain(self.server)
        if wants_client:
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def _issue(self, name: str, password: bytes | None = None) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, is_ca=False)
        encryption: Any = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        return self._write(name, certificate, pem)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        today = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - timedelta(days=1))
            .not_valid_after(today + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
        )
        if is_ca:
            usage = x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._ca_key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: bytes | None) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + (key or b""))
        return path
