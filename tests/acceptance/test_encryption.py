"""With encryption, no file holds a word of a person or a secret, and `db rekey` survives a SIGKILL; on both engines."""

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.store import rotation
from bridge.store.encryption import key_id
from bridge.store.interface import RoutedEvent
from bridge.store.preparation import driver_for, prepare
from bridge.store.queue import Accept, write
from connectors.testing import Sandbox
from connectors.testing.hubspot import HubSpotSandbox
from tests import building
from tests.acceptance.configured import ENVIRONMENT, KEY, chatbot, http, settings
from tests.acceptance.crms import APP, HUBSPOT_FIELDS, VARIABLES, hubspot, hubspot_app
from tests.acceptance.destination import Deciding
from tests.acceptance.program import COMMAND, Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.waiting import until
from tests.chaos.database import Database
from tests.telemetry.collector import Collector

pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")

ENGINES = ("sqlite", "postgresql")
PERSON: dict[str, Any] = {
    "FirstName": "Zaphiröna",
    "LastName": "Quillfeather",
    "Email": "zaphirona.quill@example.com",
    "PhoneNumber": "+49 30 5550 1987",
}
MESSAGE = "please call me about the forty green chairs"
TOKEN = "crm-token-5d41402abc4b2a76b9719d911017c592"
ONE, TWO = (os.urandom(32) for _ in range(2))
STORE_KEY, NEXT_KEY = (base64.b64encode(key).decode() for key in (ONE, TWO))
PLANTED = (
    *PERSON.values(),
    MESSAGE,
    "said-of-the-paused-lane",
    "a-note-in-the-configuration",
    KEY,
    TOKEN,
    APP.refresh_token,
    STORE_KEY,
)


def spellings(text: str) -> set[bytes]:
    """Give what a file may hold of a text: it in clear, as JSON escapes it, in hex, and inside a longer base64."""
    clear = text.encode()
    found = {clear, json.dumps(text)[1:-1].encode(), clear.hex().encode(), clear.hex().upper().encode()}
    for before in range(3):
        # Without the characters that the bytes beside it change.
        whole = base64.b64encode(b"\0" * before + clear)
        found.add(whole[(0, 2, 3)[before] : -4].rstrip(b"="))
    return found


def held(folder: Path) -> dict[str, list[str]]:
    """Name the files that hold one of the planted texts."""
    wanted = {each: spellings(each) for each in PLANTED}
    found: dict[str, list[str]] = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "config.yaml":
            content = file.read_bytes()
            names = [each for each, spelt in wanted.items() if any(one in content for one in spelt)]
            if names:
                found[str(file.relative_to(folder))] = names
    return found


def test_the_search_finds_a_text_in_every_spelling(tmp_path: Path) -> None:
    for at, said in enumerate((MESSAGE, json.dumps(PERSON["FirstName"]), MESSAGE.encode().hex())):
        (tmp_path / str(at)).write_text(f"x{said}y")
    for before in range(3):
        (tmp_path / f"base64-{before}").write_bytes(base64.b64encode(b"x" * before + MESSAGE.encode() + b"yy"))
    assert len(held(tmp_path)) == 6


@pytest.fixture
async def crms() -> AsyncIterator[dict[str, Any]]:
    """Destinations: one takes leads, one names the person in its refusal, one in its trouble, one renews its token."""

    def naming(status: int, said: str) -> Deciding:
        return Deciding(lambda record: (status, {"message": f"{said}: {json.dumps(record, ensure_ascii=False)}"}))

    async with contextlib.AsyncExitStack() as stack:
        yield {
            "taking": await stack.enter_async_context(Sandbox(key=None)),
            "refusing": await stack.enter_async_context(naming(422, "no")),
            "troubled": await stack.enter_async_context(naming(401, "said-of-the-paused-lane")),
            "hubspot": await stack.enter_async_context(HubSpotSandbox(oauth=replace(APP, rotates=True))),
        }


def _settings(crms: Mapping[str, Any], store: Mapping[str, Any]) -> dict[str, Any]:
    token = {"auth": {"bearer": "${CRM_TOKEN}"}}
    destinations = {
        name: hubspot(crm, oauth=hubspot_app()) if name == "hubspot" else http(crm.url, **token)
        for name, crm in crms.items()
    }
    routes = [
        {"to": name, "fields": {"note": {"value": "a-note-in-the-configuration"}, "email": "Email", "text": "Content"}}
        for name in crms
        if name != "hubspot"
    ]
    website = chatbot([*routes, {"to": "hubspot", "fields": HUBSPOT_FIELDS}])
    return {**settings(destinations, website), "store": {"encryption_keys": ["${STORE_KEY}"], **store}}


async def _traffic(program: Program, sender: Sender) -> None:
    """Bring about everything that the store keeps of a person or a secret."""
    person = lead(**PERSON, Content=MESSAGE)
    await sender.deliver(person)
    await sender.post(written(person), signature(written(person), "a mistyped key of the sender"))
    strange = written({"Strange": PERSON, "Content": MESSAGE})
    await sender.post(strange, signature(strange))
    await until(
        lambda: len(program.events("attempt")) >= 4 and program.events("lane_paused"),
        lambda: f"an attempt of each destination; {program.told()}",
    )


async def _everything_can_be_read(program: Program) -> None:
    """See that the program itself still shows all of it."""
    rows = {row["destination"]: row for row in await program.deliveries()}
    assert {name: row["state"] for name, row in rows.items()} == {
        "taking": "delivered",
        "hubspot": "delivered",
        "refusing": "dead",
        "troubled": "pending",
    }
    stories = await program.stories([row["id"] for row in rows.values()])
    told = json.dumps(stories, ensure_ascii=False)
    assert PERSON["Email"] in told
    assert MESSAGE in told
    lanes = (await program.run("lanes", "list", "--json")).output
    assert "said-of-the-paused-lane" in lanes
    async with aiohttp.ClientSession() as session:
        for asked in ({"email": PERSON["Email"].upper()}, {"phone": PERSON["PhoneNumber"]}, {"email_part": "quill"}):
            async with session.post(f"{program.admin}/api/events/search", json=asked) as answer:
                found = await answer.json()
                assert answer.status == 200, (asked, found)
                assert [each["chatbot"] for each in found["events"]] == ["website"], (asked, found)


async def test_no_file_holds_what_was_planted_on_sqlite(tmp_path: Path, crms: dict[str, Any]) -> None:
    files = tmp_path / "files"
    files.mkdir()
    wanted = _settings(crms, {"url": "sqlite:///leadbridge.db"})
    async with contextlib.AsyncExitStack() as stack:
        collector = await stack.enter_async_context(Collector())
        environment = {**VARIABLES, **collector.variables, "CRM_TOKEN": TOKEN, "STORE_KEY": STORE_KEY}
        program = await stack.enter_async_context(Program(files, wanted, environment, files / "log"))
        sender = await stack.enter_async_context(Sender(program))
        await program.start()
        await _traffic(program, sender)
        await _everything_can_be_read(program)
        assert (await program.run("db", "backup", "copy.db")).status == 0
        assert (await program.run("doctor")).output.count(key_id(ONE).hex()) == 1
        # The write-ahead log is as it is in use.
        assert held(files) == {}
        await program.kill()
        assert held(files) == {}
        # The copy can be served, with its key only.
        program.store.unlink()
        for ending in ("-wal", "-shm"):
            program.store.with_name(program.store.name + ending).unlink(missing_ok=True)
        (files / "copy.db").rename(program.store)
        await program.start()
        await _everything_can_be_read(program)
        await program.stop()
        # The traces of each destination's attempts, of the refused request and of the unrecognised event.
        assert {each.name for each in collector.spans()} >= {"POST /webhook", *(f"deliver {name}" for name in crms)}
        assert {"mismatch", "unrecognised"} <= {each["leadbridge.result"] for each in collector.spans()}
        (files / "traces").write_bytes(b"\n".join(collector.bodies))
        assert held(files) == {}
        config = program.config.read_text()
        program.config.write_text(config.replace("${STORE_KEY}", "${NEXT_KEY}"))
        program.environment["NEXT_KEY"] = NEXT_KEY
        refused = await program.run("serve")
        assert refused.status == 1
        assert key_id(ONE).hex() in refused.errors


async def test_no_file_holds_what_was_planted_on_postgresql_and_in_the_spool(
    tmp_path: Path, crms: dict[str, Any], server: Database
) -> None:
    environment = {**VARIABLES, "CRM_TOKEN": TOKEN, "STORE_KEY": STORE_KEY}
    wanted = _settings(crms, {"url": server.url})
    files = tmp_path / "files"
    files.mkdir()
    async with Program(files, wanted, environment, files / "log") as program, Sender(program) as sender:
        await program.start()
        await _traffic(program, sender)
        await _everything_can_be_read(program)
        server.kill()
        await sender.deliver(lead(**PERSON, Content=MESSAGE))
        spool = files / "leadbridge-spool.db"
        await until(lambda: program.events("spooling"), lambda: f"the spool to be used; {program.told()}")
        assert spool.exists()
        assert held(files) == {}
        await program.kill()
        assert held(files) == {}
        assert held(server.folder) == {}
        server.start()
        await program.start()
        await until(lambda: program.events("spool_empty"), lambda: f"the spool to be emptied; {program.told()}")
        assert len(await program.deliveries()) == 8


LEADS = 4_000


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_kill_in_the_middle_of_db_rekey_loses_nothing(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/leadbridge.db" if engine == "sqlite" else request.getfixturevalue("database")
    events = [building.event(building.NOW, SessionID=number) for number in range(LEADS)]
    old = driver_for(url, [ONE])
    await asyncio.to_thread(prepare, old)
    with old.engine().begin() as connection:
        write(connection, [Accept([RoutedEvent(each) for each in events])])
    async with Sandbox(key=None) as crm:
        wanted = settings({"crm": http(crm.url)})
        wanted["store"] = {"url": url, "encryption_keys": ["${NEXT_KEY}", "${STORE_KEY}"], "spool": f"{tmp_path}/spool"}
        environment = {**ENVIRONMENT, "STORE_KEY": STORE_KEY, "NEXT_KEY": NEXT_KEY}
        async with Program(tmp_path, wanted, environment) as program, Sender(program) as sender:
            refused = await _refused_beside_an_old_process(program, engine)
            assert key_id(TWO).hex() in refused
            await program.start()
            first = await _killed_half_way(program, url)
            assert 0 < first < LEADS
            leads = [lead() for _ in range(20)]
            _, done = await asyncio.gather(
                asyncio.gather(*map(sender.deliver, leads)), program.run("db", "rekey", "--json")
            )
            assert done.json()["key"] == key_id(TWO).hex()
            assert LEADS - first <= done.json()["encrypted"] < LEADS
            await program.settled()
            doctor = (await program.run("doctor")).output
            assert key_id(ONE).hex() not in doctor
            assert await program.stop() == 0
            audited = (await program.run("audit", "list", "--json")).json()
            assert [each["action"] for each in audited].count("rekey") == 2
    new = driver_for(url, [TWO])
    with new.engine().connect() as connection:
        assert rotation.listed_keys(connection) == [key_id(TWO).hex()]
        kept = set(_payloads(connection))
    assert {each.payload for each in events} <= kept
    assert len(kept) == LEADS + len(leads)


def _payloads(connection: Any) -> Iterator[bytes]:
    from bridge.store.queries import received_since

    after = 0
    while found := received_since(connection, 0.0, after):
        yield from (each.payload for each in found)
        after = found[-1].seq


async def _refused_beside_an_old_process(program: Program, engine: str) -> str:
    """Run it beside a process that does not have the new key: it would lose the rows from its sight."""
    config = program.config.read_text()
    program.config.write_text(config.replace("- ${NEXT_KEY}\n", ""))
    await program.start()
    await program.at_work()
    program.config.write_text(config)
    refused = await program.run("db", "rekey")
    assert refused.status == 1
    await program.stop()
    return refused.errors


async def _killed_half_way(program: Program, url: str) -> int:
    """Kill `db rekey` when some rows have the new key; give how many do."""
    driver = driver_for(url, [TWO, ONE])
    environment = {**program.environment, "LEADBRIDGE_CONFIG": str(program.config)}
    process = await asyncio.create_subprocess_exec(*COMMAND, "db", "rekey", cwd=program.folder, env=environment)
    try:
        done = 0
        deadline = time.monotonic() + 30
        while done < LEADS // 4:
            assert process.returncode is None, "it has ended before it was killed"
            assert time.monotonic() < deadline
            with driver.engine().connect() as connection:
                done = rotation.count_by_key(connection)[key_id(TWO).hex()]
            await asyncio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()
    with driver.engine().connect() as connection:
        return rotation.count_by_key(connection)[key_id(TWO).hex()]
