"""`leadbridge doctor`."""

import asyncio
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.operations import health_check
from bridge.store.interface import Pause
from connectors.base import Delivered, Reason, Rejected, Severity
from tests.building import lead
from tests.cli.conftest import CONFIGURATION, Place
from tests.connectors.building import Certificates

HOUR = 3600.0


def created(ago: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() - ago, UTC).isoformat()


def looked_at(place: Place, *arguments: object) -> dict[str, list[tuple[str, str]]]:
    """What was found, by area: how bad, and what."""
    result = place("doctor", *arguments, "--json")
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    bad = any(each["severity"] == "error" for each in rows)
    assert result.exit_code == (1 if bad else 0), result.output
    found: dict[str, list[tuple[str, str]]] = {}
    for each in rows:
        found.setdefault(each["area"], []).append((each["severity"], each["message"]))
    return found


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No destination is asked: nobody is there, and to find that out is tested elsewhere."""

    async def none(*_: object) -> list[Any]:
        return []

    monkeypatch.setattr("bridge.cli.doctor.probe_all", none)


def test_a_good_store(leadbridge: Place) -> None:
    leadbridge.receive(lead(CreateTime=created()), now=time.time())
    found = looked_at(leadbridge)
    assert [severity for severity, _ in found["store"] + found["clock"] + found["leads"]] == ["note"] * 3
    assert found["configuration"][-1] == ("note", "config.yaml: no errors")
    assert found["alerts"][0][0] == "warning"


def test_files_that_others_can_open(leadbridge: Place) -> None:
    leadbridge.driver.path.chmod(0o644)
    (severity, message), _ = looked_at(leadbridge)["store"]
    assert severity == "warning"
    assert "leadbridge.db: other users of this machine can open it (mode 644)" in message
    assert "chmod 600" in message


def test_the_page(leadbridge: Place) -> None:
    result = leadbridge("doctor")
    assert result.exit_code == 0, result.output
    assert "good  store         leadbridge.db: there, up to date, can be written" in result.stdout.splitlines()


def test_a_broken_configuration_is_all_there_is(leadbridge: Place) -> None:
    leadbridge.configure(CONFIGURATION.replace("connector: http", "connector: htpt", 1))
    result = leadbridge("doctor")
    assert result.exit_code == 1
    assert result.stdout.startswith("BAD   configuration config.yaml:8:")
    assert "nothing else can be checked" in result.stdout


def test_no_store(place: Place) -> None:
    ((severity, message),) = looked_at(place)["store"]
    assert severity == "error"
    assert "leadbridge db migrate" in message


def test_what_is_wrong_with_the_leads(leadbridge: Place) -> None:
    leadbridge.receive(lead(), lead(), now=time.time() - HOUR)
    leadbridge.settle("crm", {1: Rejected(Reason.REFUSED, "ada@example.com is no name")}, now=time.time())
    leadbridge.pause("crm", Pause("lane", Reason.UNAUTHORIZED, "no", time.time() + 60))
    leadbridge("lanes", "pause", "mail")
    found = looked_at(leadbridge)["leads"]
    assert [severity for severity, _ in found] == ["error"] * 3 + ["warning"]
    text = "\n".join(message for _, message in found)
    assert "crm: dead letters: 1 (1 refused)" in text
    assert "crm: a lead waits too long: the oldest of 1 has waited for 60 min" in text
    assert "crm: the lane has paused: it refuses the credentials" in text
    assert "leadbridge lanes resume mail" in text
    assert "ada@" not in text


def test_warnings_are_a_line_to_look_at(leadbridge: Place) -> None:
    leadbridge.receive(lead(), lead(), now=time.time())
    leadbridge.settle("crm", {1: Delivered("17", warning="ada@example.com left out")}, now=time.time())
    ((severity, message),) = looked_at(leadbridge)["leads"]
    assert severity == "warning"
    assert "1 in the last 24 h (1 to crm)" in message
    assert "ada@" not in message
    assert [row["id"] for row in leadbridge.rows("deliveries", "list", "--warning")] == [1]
    assert [row["warned"] for row in leadbridge.rows("deliveries", "list")] == [False, True]


def test_a_clock_that_is_behind(leadbridge: Place) -> None:
    leadbridge.receive(*(lead(CreateTime=created()) for _ in range(3)), now=time.time() - 300)
    ((severity, message),) = looked_at(leadbridge)["clock"]
    assert severity == "warning"
    assert "this machine's clock is behind" in message


def test_a_clock_that_has_been_set_back(leadbridge: Place) -> None:
    leadbridge.receive(lead(CreateTime=created()), now=time.time() + HOUR)
    ((_, message),) = looked_at(leadbridge)["clock"]
    assert "set back" in message


@pytest.mark.parametrize(("free", "severity"), [(10 * 2**20, "error"), (500 * 2**20, "warning"), (2 * 2**30, "note")])
def test_the_disk(leadbridge: Place, monkeypatch: pytest.MonkeyPatch, free: int, severity: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert looked_at(leadbridge)["disk"][0][0] == severity


async def served(status: int) -> TestServer:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": "ready"}, status=status)

    application = web.Application()
    application.router.add_get("/readyz", answer)
    application.router.add_get("/webhook", answer)
    return TestServer(application)


@pytest.mark.parametrize(("status", "severity"), [(200, Severity.NOTE), (503, Severity.ERROR)])
async def test_serve_is_asked(status: int, severity: Severity) -> None:
    from bridge.config.model import ListenAddress

    async with await served(status) as server:
        found = await asyncio.to_thread(health_check.bridge, ListenAddress("0.0.0.0", server.port or 0))
    assert found.severity is severity
    gone = await asyncio.to_thread(health_check.bridge, ListenAddress("127.0.0.1", server.port or 0))
    assert "is `leadbridge serve` running?" in gone.message


async def webhook(url: str, now: float = 0.0) -> list[health_check.HealthFinding]:
    return await asyncio.to_thread(lambda: list(health_check.webhook(url, now or time.time())))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    return certificates


async def test_the_webhooks_certificate(trusted: Certificates) -> None:
    server = await served(200)
    await server.start_server(ssl=trusted.server_context())
    url = f"https://127.0.0.1:{server.port}/webhook"
    certificate, answer = await webhook(url)
    assert (certificate.severity, answer.severity) in {
        (Severity.NOTE, Severity.NOTE),
        (Severity.WARNING, Severity.NOTE),
    }
    later, _ = await webhook(url, time.time() + 10 * 365 * 86_400)
    assert "renew it now" in later.message
    _, wrong = await webhook(f"https://127.0.0.1:{server.port}/elsewhere")
    assert (wrong.severity, "404" in wrong.message) == (Severity.ERROR, True)
    await server.close()


async def test_a_certificate_that_nobody_trusts(certificates: Certificates) -> None:
    server = await served(200)
    await server.start_server(ssl=certificates.server_context())
    (found,) = await webhook(f"https://127.0.0.1:{server.port}/webhook")
    assert "the certificate is not good" in found.message
    port = server.port
    await server.close()
    (gone,) = await webhook(f"https://127.0.0.1:{port}/webhook")
    assert "cannot be reached" in gone.message


@pytest.mark.parametrize("url", ["http://leads.example.com/webhook", "https://:8443/", "https://x:port/", "https://[/"])
async def test_an_address_that_is_none(url: str) -> None:
    (found,) = await webhook(url)
    assert "not an https:// address" in found.message


def test_nothing_is_made_by_looking(place: Place, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    looked_at(place)
    assert sorted(tmp_path.iterdir()) == before
