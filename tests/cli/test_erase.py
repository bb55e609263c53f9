"""`leadbridge erase`."""

import asyncio
import base64
import json
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from bridge.cli import COMMANDS, app
from bridge.store import erasure
from bridge.store.encryption import KeyRing
from bridge.store.interface import QuarantinedRequest
from bridge.store.postgres import PostgresDriver
from bridge.store.preparation import migrate
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from bridge.store.tombstones import prune_tombstones
from connectors.base import Reason, Rejected
from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender
from tests.acceptance.sending import lead as written_lead
from tests.building import NOW, lead, routed

if TYPE_CHECKING:
    from tests.cli.conftest import Place

ANN = "ann@example.com"


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "erase", "Remove all data of a person for good.")


@pytest.fixture
def kept(leadbridge: "Place") -> "Place":
    """Two events of Ann's (one delivered to nobody yet, one refused), three of others, two requests in quarantine."""
    leadbridge.receive(
        lead(Email="Ann@Example.com"),
        lead(Content="answer to ann\u0040example.com", Email=""),
        lead(Email="joann@example.com"),
        lead(),
        lead(Content="mail me"),
    )
    leadbridge.settle("crm", {number: Rejected(Reason.REFUSED, f"{ANN} is not valid") for number in (2, 4)})
    for document in (lead(Email=ANN), lead()):
        leadbridge.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=0", json.dumps(document).encode()))
    return leadbridge


def in_files(place: "Place") -> list[str]:
    return [path.name for path in place.folder.glob("*.db*") if ANN.encode() in _without_joann(path.read_bytes())]


def files_with_ann(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.db*") if ANN.encode() in path.read_bytes()]


def _without_joann(content: bytes) -> bytes:
    return content.lower().replace(b"joann@example.com", b"")


def written(place: "Place", *arguments: object) -> Any:
    result = place("erase", "--email", ANN, "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


def test_erases_what_holds_the_address_and_nothing_else(kept: "Place") -> None:
    before = {row["id"] for row in kept.rows("events", "list")}

    result = kept("erase", "--email", " ANN@example.COM ", "--yes", kept.path)

    found = "2 events, 2 deliveries, 1 request in quarantine, 2 texts of destinations"
    assert (result.exit_code, result.stdout) == (
        0,
        f"erased: {found}; pending and never delivered: 1 to crm\n",
    )
    left = {row["id"] for row in kept.rows("events", "list")}
    assert (len(before), len(left)) == (5, 3)
    (unsure,) = (line for line in result.stderr.splitlines() if line.startswith("left alone"))
    assert any(event in unsure for event in left)
    assert [row["id"] for row in kept.rows("deliveries", "list")] == [6, 5, 4, 3]
    assert [row["id"] for row in kept.rows("quarantine", "list")] == [2]
    assert in_files(kept) == []
    assert "[erased]" in kept("deliveries", "show", 4).stdout
    assert "is not valid" not in kept("deliveries", "show", 4).stdout
    assert kept("db", "check").exit_code == 0
    assert ANN not in result.output.lower().replace("joann", "")


def test_the_facts_as_json(kept: "Place") -> None:
    events = {row["id"]: row for row in kept.rows("events", "list")}

    status, first = written(kept, "--yes")
    again, second = written(kept, "--yes")

    assert (status, again) == (0, 1)
    assert set(first["events"]) | set(kept_ids(kept)) == set(events)
    assert {key: first[key] for key in ("erased", "deliveries", "pending", "quarantined", "texts", "remains")} == {
        "erased": True,
        "deliveries": 2,
        "pending": {"crm": 1},
        "quarantined": [1],
        "texts": 2,
        "remains": [],
    }
    assert len(first["unsure"]["events"]) == 1
    assert (second["erased"], second["events"], second["unsure"]) == (False, [], first["unsure"])


def kept_ids(place: "Place") -> list[str]:
    return [row["id"] for row in place.rows("events", "list")]


def test_asks_first_and_does_nothing_where_nobody_can_answer(kept: "Place") -> None:
    result = kept("erase", "--email", ANN)

    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", "").split())
    assert "2 events, 2 deliveries" in said
    assert "pending and never delivered: 1 to crm" in said
    assert "--yes" in said
    assert len(kept.rows("events", "list")) == 5


@pytest.mark.parametrize(("answer", "left"), [("n\n", 5), ("y\n", 3)])
def test_in_a_terminal_it_asks(kept: "Place", monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    monkeypatch.setattr("bridge.cli.inputs.is_interactive", lambda: True)

    result = kept("erase", "--email", ANN, stdin=answer)

    assert result.exit_code == (0 if left == 3 else 1)
    assert "never delivered: 1 to crm. Erase all of this for good? [y/N]" in result.stderr
    assert len(kept.rows("events", "list")) == left


def test_nothing_found_is_exit_status_1(leadbridge: "Place") -> None:
    leadbridge.receive(lead())

    result = leadbridge("erase", "--email", ANN)

    assert (result.exit_code, result.stdout) == (1, "nothing in the store names this person\n")
    assert len(leadbridge.rows("events", "list")) == 1


def test_an_earlier_run_that_was_stopped_is_ended(kept: "Place") -> None:
    with sqlite3.connect(kept.driver.path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM events WHERE seq < 3")
        connection.execute("DELETE FROM quarantine")
        connection.execute("UPDATE deliveries SET detail = NULL")
        connection.execute("UPDATE attempts SET detail = NULL")
    connection.close()
    assert in_files(kept)

    assert kept("erase", "--email", ANN, "--yes").exit_code == 1
    assert in_files(kept) == []


def test_what_may_be_left_is_said(kept: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.sqlite.BUSY_SECONDS", 0.01)
    reader = sqlite3.connect(kept.driver.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()

    result = kept("erase", "--email", ANN, "--yes")
    reader.close()

    assert result.exit_code == 1
    assert result.stdout.startswith("erased: 2 events")
    assert result.stderr.splitlines()[-1].endswith("Run this again when that has ended")


def test_goes_in_steps(kept: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "STEP", 1)
    monkeypatch.setattr(erasure, "READ_STEP", 1)

    assert kept("erase", "--email", ANN, "--yes").exit_code == 0
    assert len(kept.rows("events", "list")) == 3


def test_what_is_no_address_is_wrong_usage(leadbridge: "Place") -> None:
    assert leadbridge("erase", "--email", "ann").exit_code == 2
    assert leadbridge("erase").exit_code == 2


def test_a_person_is_erased_by_phone(leadbridge: "Place") -> None:
    leadbridge.receive(
        lead(PhoneNumber="(202) 555-0123"),
        lead(Content="call me: +1 202 555 0123"),
        lead(PhoneNumber="+44 202 555 0123"),
        lead(),
    )

    result = leadbridge("erase", "--phone", "202 555 0123", "--region", "us", "--yes")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("erased: 2 events, 2 deliveries")
    assert "they may name another person: 1 event (" in result.stderr
    assert len(leadbridge.rows("events", "list")) == 2
    content = b"".join(path.read_bytes() for path in leadbridge.folder.glob("*.db*"))
    assert b"(202) 555-0123" not in content
    for wrong in (["--phone", "12"], ["--phone", "2025550123", "--email", ANN], ["--email", ANN, "--region", "US"]):
        assert leadbridge("erase", *wrong).exit_code == 2


def test_an_encrypted_store_is_looked_into_too(place: "Place") -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    place.environ["STORE_KEY"] = key
    text = place.path.read_text()
    place.configure(text.replace("leadbridge.db\n", 'leadbridge.db\n  encryption_keys: ["${STORE_KEY}"]\n'))
    config = place.config()
    place.driver = SqliteDriver(make_url(config.store.url), KeyRing(config.store.encryption_keys))
    migrate(place.driver.engine())
    place.receive(lead(Email=ANN, LastName="Bolena"), lead())
    place.settle("crm", {2: Rejected(Reason.REFUSED, "taken by Ms. Bolena")})

    result = place("erase", "--email", ANN, "--yes")

    assert result.stdout.startswith("erased: 1 event, 1 delivery, 2 texts of destinations"), result.output
    assert "[erased]" in place("deliveries", "show", 2).stdout


@pytest.mark.parametrize(("tolerance", "stands"), [("15m", 1_800 + 300), ("0s", None)])
def test_what_is_erased_does_not_come_back(leadbridge: "Place", tolerance: str, stands: float | None) -> None:
    """Neither by the captured request, nor from a vendor's list, nor from the quarantine, for as long as it could."""
    text = leadbridge.path.read_text().replace("acme:\n", f"acme:\n    signature_tolerance: {tolerance}\n")
    leadbridge.configure(text)
    document, refused = (
        lead(Email=ANN),
        QuarantinedRequest(NOW, "acme", "t=1,v1=0", json.dumps(lead(Email=ANN)).encode()),
    )
    leadbridge.receive(document)
    leadbridge.quarantine(refused)
    before = time.time()
    assert leadbridge("erase", "--email", ANN, "--yes").exit_code == 0

    leadbridge.receive(document, now=before + 60)
    assert not leadbridge.with_store(lambda store: store.quarantine(refused, leadbridge.identity()))
    assert leadbridge.rows("events", "list") == leadbridge.rows("quarantine", "list") == []
    # A lead that the person sends later is one like any other.
    leadbridge.receive(lead(Email=ANN), now=before + 60)
    assert len(leadbridge.rows("events", "list")) == 1

    async def over(store: SqlStore) -> None:
        await store.change(lambda c: prune_tombstones(c, before + (stands or 1e9) + 10))

    leadbridge.with_store(over)
    leadbridge.receive(document, now=before + 60)
    assert len(leadbridge.rows("events", "list")) == (1 if stands is None else 2)


def test_a_serving_process_notices(kept: "Place") -> None:
    """As other commands: its commit changes what `PRAGMA data_version` says to the one that serves."""
    with kept.driver.connect() as serving:
        kept.driver.changed_elsewhere(serving)
        kept("erase", "--email", ANN, "--yes")
        assert kept.driver.changed_elsewhere(serving).changed


def test_postgresql_and_the_spool_before_it(place: "Place", embedded: SqliteDriver, database: str) -> None:
    """What waits in the spool of this machine goes too, and nothing is left in its file."""
    place.configure(place.path.read_text().replace("sqlite:///leadbridge.db", database))
    spool = embedded.path.rename(place.folder / "leadbridge-spool.db")

    async def fill() -> None:
        for driver in (PostgresDriver(database), SqliteDriver(make_url(f"sqlite:///{spool}"))):
            store = SqlStore(driver)
            await store.accept([routed("crm", Email=ANN), routed("crm")])
            await store.close()

    asyncio.run(fill())

    result = place("erase", "--email", ANN, "--yes")

    assert result.exit_code == 0, result.output
    assert result.stdout == "erased: 2 events, 2 deliveries; pending and never delivered: 2 to crm\n"
    assert len(place.rows("events", "list")) == 1
    assert in_files(place) == []
    (told,) = place.rows("audit", "list")
    assert (told["action"], told["count"], told["facts"]["of"]) == ("erase", 2, 2)
    assert place("erase", "--email", ANN, "--yes").exit_code == 1


@pytest.mark.thorough
async def test_beside_the_real_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves all the while: of the erased leads nothing is sent, the others arrive, and its files are clean."""
    monkeypatch.chdir(tmp_path)
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        assert (await program.run("db", "migrate")).status == 0
        assert (await program.run("lanes", "pause", "crm")).status == 0
        await program.start()
        captured = written_lead(Email=ANN)
        await sender.deliver(captured)
        for number in range(1, 12):
            await sender.deliver(written_lead(Email=ANN if number % 3 == 0 else f"p{number}@example.org"))

        runner = CliRunner(env=ENVIRONMENT)
        arguments = ["erase", "--email", ANN, "--yes", str(program.config)]
        result = await asyncio.to_thread(runner.invoke, app, arguments, catch_exceptions=False)

        assert result.exit_code == 0, result.output
        assert result.stdout == "erased: 4 events, 4 deliveries; pending and never delivered: 4 to crm\n"
        assert files_with_ann(tmp_path) == []
        await sender.deliver(captured)
        assert files_with_ann(tmp_path) == []
        assert (await program.run("lanes", "resume", "crm")).status == 0
        rows = await program.settled()
        assert [row["state"] for row in rows] == ["delivered"] * 8
        assert len(crm.records) == 8
        assert not program.events("fault")
        assert ANN.encode() not in b"".join(call.body for call in crm.ledger)
