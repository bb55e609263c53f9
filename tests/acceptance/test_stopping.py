"""SIGTERM: what is on its way ends, nothing is lost; a second one does not wait for it."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from bridge.shutdown import GRACE_SECONDS
from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Answer, Sender, lead
from tests.acceptance.waiting import until
from tests.chaos.database import database

SENDERS = 16
CALL_SECONDS = 0.3
SLOW_SECONDS = 2.0
WAITING = 8
"""Senders that wait for their deliveries."""
AT_ONCE_SECONDS = 2.0
HANGS = """
import asyncio

from connectors.http import HttpConnector


class Hangs(HttpConnector):
    async def close(self):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""

pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")


async def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    async with (
        Sandbox(key="lead") as crm,
        Program(tmp_path, settings({"crm": http(crm.url, concurrency=5)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        crm.faults.share(Fault.slow(CALL_SECONDS), 1.0)
        await program.start()
        over = asyncio.Event()
        senders = [asyncio.create_task(_acknowledged(sender, over)) for _ in range(SENDERS)]
        await until(lambda: len(crm.records) >= 10, f"the load to be under way; {program.told()}")
        status = await program.stop()
        over.set()
        accepted = set().union(*await asyncio.gather(*senders))
        assert status == 0, f"exit status {status}: {program.told()}"
        rows = Counter(row["state"] for row in await program.deliveries())
        assert rows.keys() <= {"delivered", "pending"}, rows
        assert rows.total() >= len(accepted) > 0, f"{len(accepted)} were answered with success, and {rows} are kept"
        calls = len(crm.ledger)
        assert rows["delivered"] == calls, f"{calls} calls were made, and {rows['delivered']} are written down"

        crm.faults.clear()
        await program.start()
        await until(lambda: len(crm.records) == rows.total(), f"the others to arrive; {program.told()}")
        assert accepted <= {each.fields["lead"] for each in crm.records}
        assert len(crm.ledger) == rows.total(), "a call that had ended before the stop was made again"


async def _acknowledged(sender: Sender, over: asyncio.Event) -> set[int]:
    """Send until the program is gone; give the leads that were answered with success."""
    accepted = set()
    while not over.is_set():
        document = lead()
        answer = await sender.send(document)
        if answer and answer.succeeded:
            accepted.add(document["SessionID"])
        await asyncio.sleep(0.01)
    return accepted


async def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url, timeout="60s")}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        crm.faults.next(Fault.slow(60.0, written=False))
        await sender.deliver(lead())
        await until(lambda: crm.ledger, "the call to be on its way")
        program.signal(signal.SIGTERM)
        await until(lambda: program.events("stopping"), f"it to begin to stop; {program.told()}")
        assert await sender.send(lead()) is None, "it takes leads while it stops"
        assert program.alive, "it does not wait for the call that is on its way"
        began = time.monotonic()
        program.signal(signal.SIGTERM)
        await program.ended()
        assert time.monotonic() - began < 3
        await program.start()
        await until(lambda: len(crm.records) == 1, f"the lead to arrive after the restart; {program.told()}")


async def test_a_stop_is_bounded_whatever_is_under_way(tmp_path: Path) -> None:
    """Senders that wait for a slow CRM, a body that does not end, and a connector that does not close."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hangs.py").write_text(HANGS)
    async with Sandbox(key="lead") as crm:
        crm.faults.share(Fault.slow(SLOW_SECONDS), 1.0)
        configuration = settings(
            {"crm": http(crm.url, concurrency=1), "other": {**http(crm.url), "connector": "hangs"}},
            chatbot(["crm"], ack="relayed", ack_within="60s"),
        )
        configuration["plugins"] = ["./plugins"]
        async with Program(tmp_path, configuration, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            waiting = _waiting(sender)
            await until(lambda: crm.ledger, "the first call")
            async with _open_body(program.port):
                began = time.monotonic()
                program.signal(signal.SIGTERM)
                answers = await asyncio.gather(*waiting)
                answered = time.monotonic() - began
                assert await program.ended() == 0, program.told()
                took = time.monotonic() - began
            calls = len(crm.ledger)
            crm.faults.clear()
            await program.start()
            await until(lambda: len(crm.records) == WAITING, lambda: f"all to arrive; {program.told()}")
            assert len(crm.ledger) == WAITING, "a call that had ended was made again"
    assert answered < AT_ONCE_SECONDS, f"a sender waited for {answered:.1f} s"
    assert {answer.status if answer else None for answer in answers} == {503}
    assert calls <= 2, f"{calls} calls: some were begun after the stop"
    assert took < GRACE_SECONDS, f"it took {took:.1f} s"


async def test_a_stop_is_bounded_while_postgresql_stands_still(tmp_path: Path) -> None:
    """With senders that wait, an action of the dashboard under way, and people that look at a page."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(database())
        crm = await stack.enter_async_context(Sandbox(key="lead"))
        configuration = settings({"crm": http(crm.url)}, chatbot(["crm"], ack="relayed", ack_within="60s"))
        configuration["store"] = {"url": server.url}
        program = await stack.enter_async_context(Program(tmp_path, configuration, ENVIRONMENT))
        sender = await stack.enter_async_context(Sender(program))
        await program.start()
        await sender.deliver(lead())
        crm.faults.next(Fault.answers(400))
        dead = asyncio.create_task(sender.send(lead()))
        await until(lambda: len(crm.ledger) == 2, "the call that is rejected")
        session = await stack.enter_async_context(aiohttp.ClientSession(program.admin))
        shell = stack.enter_context(psycopg.connect(server.url))
        await _rejected(shell)
        run = {"action": "replay", "state": "dead"}
        async with session.post("/api/bulk/preview", json=run) as answer:
            through = (await answer.json())["through"]
        shell.execute("SELECT FROM deliveries WHERE state = 'dead' FOR UPDATE")
        async with session.post("/api/bulk", json={**run, "through": through}) as answer:
            assert answer.status == 200, await answer.text()
        crm.faults.share(Fault.slow(SLOW_SECONDS), 1.0)
        waiting = [dead, *_waiting(sender)]
        await until(lambda: len(crm.ledger) > 2, "a call")
        server.freeze()
        looking = asyncio.create_task(_ignored(session.get("/api/deliveries")))
        await asyncio.sleep(0.2)  # it has begun to ask the server
        began = time.monotonic()
        assert await program.stop() == 0, program.told()
        took = time.monotonic() - began
        server.thaw()
        shell.rollback()
        answers = await asyncio.gather(*waiting)
        await looking
        assert took < GRACE_SECONDS, f"it took {took:.1f} s"
        assert {answer.status if answer else None for answer in answers} <= {503, None}
        crm.faults.clear()
        await program.start()
        rows = await program.settled()
        states = Counter(row["state"] for row in rows)
    assert states.keys() <= {"delivered", "dead"}, states
    assert len(crm.records) == states["delivered"], "each lead once"


def _waiting(sender: Sender) -> list[asyncio.Task[Answer | None]]:
    return [asyncio.create_task(sender.send(lead())) for _ in range(WAITING)]


async def _rejected(shell: "psycopg.Connection[Any]") -> None:
    """Wait for a dead letter."""
    asked = "SELECT count(*) FROM deliveries WHERE state = 'dead'"
    deadline = time.monotonic() + 10
    while shell.execute(asked).fetchone() != (1,):
        shell.rollback()
        assert time.monotonic() < deadline, "no dead letter"
        await asyncio.sleep(0.05)
    shell.rollback()


async def _ignored(request: Any) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        async with request as answer:
            await answer.read()


@contextlib.asynccontextmanager
async def _open_body(port: int) -> AsyncIterator[None]:
    """Send the beginning of a request, and no more."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: bridge\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    try:
        yield
    finally:
        writer.close()
