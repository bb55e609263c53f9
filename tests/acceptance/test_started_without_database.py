"""A process that starts while PostgreSQL is away takes leads all the same; what is wrong for good ends the start."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import psycopg
import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until
from tests.chaos.database import Database

pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")


@pytest.fixture
async def crm() -> AsyncIterator[Sandbox]:
    async with Sandbox(key=None) as made:
        yield made


def _program(folder: Path, crm: Sandbox, url: str) -> Program:
    configuration: Mapping[str, Any] = {**settings({"crm": http(crm.url, idempotency_key="quoted")})}
    return Program(folder, {**configuration, "store": {"url": url}}, ENVIRONMENT)


async def _asked(program: Program, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{program.admin}{path}") as answer:
        return answer.status, await answer.text()


async def _send(sender: Sender, count: int) -> set[int]:
    leads = [lead() for _ in range(count)]
    await asyncio.gather(*map(sender.deliver, leads))
    return {int(each["SessionID"]) for each in leads}


async def test_leads_are_taken_before_the_database_was_ever_seen_and_delivered_once(
    server: Database, crm: Sandbox, tmp_path: Path
) -> None:
    url = server.url
    server.kill()
    async with _program(tmp_path, crm, url) as program, Sender(program) as sender:
        await program.start()
        assert program.events("database_away")
        first = [lead() for _ in range(3)]
        await asyncio.gather(*map(sender.deliver, first))
        taken = await _send(sender, 20) | {int(each["SessionID"]) for each in first}
        assert (await _asked(program, "/healthz"))[0] == 200
        status, text = await _asked(program, "/readyz")
        assert status == 503
        assert "spool" in text
        # The machine goes down once more before the database comes back.
        await program.kill()
        await program.start()
        taken |= await _send(sender, 20)
        # A wrong signature is refused as ever, and kept.
        refused = await sender.post(b'{"SerialNumber": "59001dd73709417321c58b11693183a2"}', "t=1,v1=00")
        assert refused is not None
        assert refused.status == 401

        await asyncio.to_thread(server.start)
        await until(lambda: len(crm.records) >= len(taken), lambda: f"all to arrive; {program.told()}")
        await until(lambda: program.events("spool_empty"), "the spool to be empty")
        taken |= await _send(sender, 5)
        await until(lambda: len(crm.records) >= len(taken), lambda: f"the last to arrive; {program.told()}")
        assert (await _asked(program, "/readyz"))[0] == 200
        assert _rows(url, "quarantine") == 1
        # Leads that were taken under an id of the spool's own come once more: they are known.
        assert program.events("event_renamed")
        await asyncio.gather(*map(sender.deliver, first))
        assert await program.stop() == 0, program.told()
        # Its log is whole only now.
        assert {each["result"] for each in program.events("received")[-len(first) :]} == {"duplicate"}
    assert Counter(each.fields["lead"] for each in crm.records) == Counter(taken)


async def test_tables_of_a_newer_version_that_show_up_later_do_not_end_what_takes_leads(
    server: Database, crm: Sandbox, tmp_path: Path
) -> None:
    url = server.url
    _newer(url)
    server.kill()
    async with _program(tmp_path, crm, url) as program, Sender(program) as sender:
        await program.start()
        await _send(sender, 3)
        await asyncio.to_thread(server.start)
        await until(
            lambda: any("newer leadbridge" in each["error"] for each in program.events("leases_not_renewed")),
            lambda: f"the reason to be told; {program.told()}",
        )
        taken = await _send(sender, 3)
        assert taken
        assert (await _asked(program, "/readyz"))[0] == 503
        assert not crm.records
        assert await program.stop() == 0, program.told()
    # Its next start sees the database, and says at once what is wrong.
    assert "newer leadbridge" in await _refusal(tmp_path, crm, url)


async def test_a_database_that_refuses_is_not_one_that_is_away(server: Database, crm: Sandbox, tmp_path: Path) -> None:
    host = quote(_asks_for_a_password(server.url), safe="")
    said = await _refusal(tmp_path, crm, f"postgresql://bridge:wrong@/postgres?host={host}")
    assert "password authentication failed" in said
    assert "wrong" not in said
    assert "does not exist" in await _refusal(tmp_path, crm, f"postgresql://postgres@/no_such?host={host}")


async def test_a_database_without_a_free_connection_is_away(server: Database, crm: Sandbox, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        # The superuser may take those that are reserved, too.
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(server.url))
        async with _program(tmp_path, crm, server.url) as program, Sender(program) as sender:
            await program.start()
            assert program.events("database_away")
            taken = await _send(sender, 3)
            stack.close()
            await until(lambda: len(crm.records) >= len(taken), lambda: f"all to arrive; {program.told()}")
            assert await program.stop() == 0, program.told()


async def test_a_damaged_spool_says_what_to_do(server: Database, crm: Sandbox, tmp_path: Path) -> None:
    url = server.url
    spool = tmp_path / "leadbridge-spool.db"
    async with _program(tmp_path, crm, url) as program:
        spool.write_bytes(b"no database, but long enough for the header of one" * 40)
        spool.chmod(0o644)
        program.launch()
        assert await program.ended() == 1
        assert spool.stat().st_mode & 0o777 == 0o600
        for said in (program.told(), (await program.run("db", "check")).errors):
            assert "spool.db" in said
            assert "damaged" in said
            assert "aside" in said
            assert "leadbridge backfill" in said
            assert "Traceback" not in said
        # What it says helps.
        spool.rename(tmp_path / "aside.db")
        await program.start()
        assert (await program.run("db", "check")).status == 0
        for end in ("", "-wal", "-shm", ".lock"):
            assert spool.with_name(spool.name + end).stat().st_mode & 0o777 == 0o600, end


async def _refusal(folder: Path, crm: Sandbox, url: str) -> str:
    """Start the program, which must end at once with status 1; give what it says."""
    async with _program(folder, crm, url) as program:
        program.launch()
        assert await program.ended() == 1
        return program.told()


def _asks_for_a_password(url: str) -> str:
    """Make a user `bridge` that needs one; give the host."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE bridge LOGIN PASSWORD 'right'")
        (file,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        rules = Path(file).read_text()
        Path(file).write_text(f"local all bridge scram-sha-256\n{rules}")
        connection.execute("SELECT pg_reload_conf()")
        return str(connection.info.host)


def _newer(url: str) -> None:
    from bridge.store.postgres import PostgresDriver
    from bridge.store.preparation import migrate

    migrate(PostgresDriver(url).engine())
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _rows(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(count)
