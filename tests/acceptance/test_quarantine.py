"""A mistyped key on the real program: the first lost lead is noticed, found behind junk, and brought in."""

import contextlib
import time
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.waiting import until

MISTYPED = "sign-key-that-somebody-has-mistyped"


async def test_a_lead_behind_a_mistyped_key_is_noticed_and_not_lost(tmp_path: Path) -> None:
    told: list[str] = []

    async def take(request: web.Request) -> web.Response:
        told.append((await request.json())["message"])
        return web.Response()

    application = web.Application()
    application.router.add_post("/{secret}", take)
    async with contextlib.AsyncExitStack() as stack:
        crm = await stack.enter_async_context(Sandbox())
        target = await stack.enter_async_context(TestServer(application, host="127.0.0.1"))
        alerts = {"to": f"json://127.0.0.1:{target.port}/a-secret-path"}
        made = {**settings({"crm": http(crm.url)}), "alerts": alerts}
        program = await stack.enter_async_context(Program(tmp_path, made, {**ENVIRONMENT, "SIGN_KEY": MISTYPED}))
        await program.start()
        sender = await stack.enter_async_context(Sender(program))

        for _ in range(200):
            await sender.post(written(lead()), None)
        document = lead()
        for _ in range(3):
            answer = await sender.send(document)
            assert answer is not None
            assert answer.status == 401
        stale = written(lead())
        await sender.post(stale, signature(stale, MISTYPED, time.time() - 90_000))
        await until(lambda: bool(told), lambda: f"an alert; it says {program.told()}")
        assert "website: its signing key may be mistyped: 1 in quarantine" in told[0]

        rows = (await program.run("quarantine", "list", "--json")).json()
        by_room = {room: [row["id"] for row in rows if row["room"] == room] for room in ("mismatch", "stale", "junk")}
        assert (len(by_room["mismatch"]), len(by_room["stale"]), len(by_room["junk"])) == (1, 1, 50)
        doctor = await program.run("doctor")
        assert "52 requests (1 mismatch, 1 stale, 50 junk)" in doctor.output
        assert "website: its signing key may be mistyped" in doctor.output
        reconciled = await program.run("reconcile")
        assert (reconciled.status, "2 in quarantine may be leads" in reconciled.errors) == (1, True)
        async with aiohttp.ClientSession() as session, session.get(f"{program.admin}/api/overview") as answered:
            assert (await answered.json())["quarantined"] == {"mismatch": 1, "stale": 1, "junk": 50}

        assert (await program.run("quarantine", "release", "--any-age", *map(str, by_room["stale"]))).status == 0
        program.environment["SIGN_KEY"] = ENVIRONMENT["SIGN_KEY"]
        assert (await program.run("quarantine", "release", *map(str, by_room["mismatch"]))).status == 0
        assert (await program.run("quarantine", "discard", *map(str, by_room["junk"]))).status == 0
        assert (await program.run("quarantine", "list", "--json")).json() == []
        await program.settled()
        assert len(crm.records) == 2
