"""What an operator has the playground and a lead's page make is bounded, and no lead waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

TOKEN = "the-token-of-an-operator"
PAGE = 4_000_000
"""Bytes of a page, at most."""
ANSWER_SECONDS = 30.0
"""How long an answer may take on a busy machine."""
MEMORY = 200
"""MiB that the program may take more at its worst because of routes that are tried."""
HUGE = "<'&\">" * 10_000
MANY = range(1_500)
ROUTES: Mapping[str, str] = {
    "aliases of a huge text": f"to: crm\nfields:\n  a0: &a {{value: '${{{'x' * 30_000}'}}\n"
    + "".join(f"  a{n}: *a\n" for n in range(1, 2_500)),
    "aliases of aliases": "to: crm\nfields:\n  a0: &a0 {value: [x, x, x, x, x, x, x, x]}\n"
    + "".join(f"  a{n}: &a{n} {{value: [{', '.join([f'*a{n - 1}'] * 8)}]}}\n" for n in range(1, 12)),
    "merge keys": "to: crm\nfields:\n  a: &a {" + ", ".join(f"k{n}: {n}" for n in range(500)) + "}\n"
    "  b:\n" + "    <<: [" + ", ".join(["*a"] * 10_000) + "]\n",
    "a huge text": f"to: crm\nfields: {{a: {{value: '{'x' * 100_000}'}}}}\n",
    "one text in many fields": "to: crm\nfields:\n" + "".join(f"  a{n}: Content\n" for n in MANY),
    "one text many times in many templates": "to: crm\nfields:\n"
    + "".join(f"  a{n}: '{{{{ Content * 30 }}}}'\n" for n in MANY),
    "constants of templates": "to: crm\nfields:\n" + "".join(f"  a{n}: '{{{{ \"x\" * 1900000 }}}}'\n" for n in MANY),
    "loops in loops": "to: crm\nfields:\n"
    + "".join(
        f"  a{n}: '{{% for a in Content | list %}}{{% for b in Content | list %}}{{{{ a }}}}{{% endfor %}}"
        "{% endfor %}'\n"
        for n in range(500)
    ),
    "mistakes": "to: crm\nfields:\n"
    + "".join(f"  a{n}: {{from: Emial{n}, transform: [trimm{n}]}}\n" for n in range(1_000)),
    "a mistake that is quoted": f"to: {'x' * 8_000}\nfields: {{}}\n",
    "one long template": f"to: crm\nfields: {{a: '{'{{ Content | upper }}' * 3_000}'}}\n",
    "large patterns": "to: crm\nfields:\n"
    + "".join(
        f"  a{n}: {{from: Content, transform: [{{regex_extract: ['(\\pL{{90}}){n}', 0]}}]}}\n" for n in range(300)
    ),
}


@dataclass
class Operator:
    """Somebody with a browser."""

    program: Program
    session: aiohttp.ClientSession

    async def log_in(self) -> None:
        _, page = await self.post("/login", token=TOKEN)
        assert b'action="/logout"' in page

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self.program.admin}{path}") as answer:
            return answer.status, await answer.read()

    async def post(self, path: str, **form: str) -> tuple[int, bytes]:
        # Not urlencoded, which would make a text of marks three times as long.
        data = aiohttp.FormData(form, default_to_multipart=True)
        headers = {"Origin": self.program.admin}
        async with self.session.post(f"{self.program.admin}{path}", data=data, headers=headers) as answer:
            return answer.status, await answer.read()

    async def attempt(self, route: str, event: Any) -> tuple[int, bytes]:
        text = orjson.dumps(event).decode()
        return await self.post("/tools/playground", route="website:0", yaml=route, event=text)

    async def audit(self) -> list[Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.session.get(f"{self.program.admin}/api/audit?limit=500", headers=headers) as answer:
            return list((await answer.json())["entries"])


@asynccontextmanager
async def bridge(folder: Path, routes: int = 1) -> AsyncIterator[tuple[Operator, Sender, Sandbox]]:
    async with AsyncExitStack() as stack:
        crm = await stack.enter_async_context(Sandbox())
        configured = settings({"crm": http(crm.url)}, chatbot(["crm"] * routes))
        configured["server"]["admin_token"] = "${ADMIN_TOKEN}"
        environment = {**ENVIRONMENT, "ADMIN_TOKEN": TOKEN}
        program = await stack.enter_async_context(Program(folder, configured, environment))
        sender = await stack.enter_async_context(Sender(program))
        jar = aiohttp.CookieJar(unsafe=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        await program.start()
        operator = Operator(program, session)
        await operator.log_in()
        yield operator, sender, crm
        assert await program.stop() == 0


async def test_no_route_that_is_tried_makes_much_or_takes_long(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (operator, sender, crm):
        event = lead(Content=HUGE)
        await operator.attempt("to: crm\nfields: {mail: Email}", event)
        before = operator.program.peak_memory
        for name, route in ROUTES.items():
            began = time.monotonic()
            status, page = await operator.attempt(route, event)
            took = time.monotonic() - began
            assert status in {200, 503}, (name, status)
            assert len(page) < PAGE, (name, len(page))
            assert took < ANSWER_SECONDS, (name, took)
            await sender.deliver(lead())
        assert operator.program.events("fault") == []
        assert operator.program.peak_memory - before < MEMORY
        await until(lambda: len(crm.records) == len(ROUTES), "the honest leads to arrive")
        usual = await operator.attempt("to: crm\nfields: {mail: Email}", lead(Email="ada@example.com"))
        assert usual[0] == 200
        assert b"ada@example.com" in usual[1]
        tries = [each for each in await operator.audit() if each["action"] == "playground"]
    assert len(tries) == len(ROUTES) + 2
    assert {(each["subject"], each["subject_id"], each["facts"]["route"]) for each in tries} == {
        ("chatbot", "website", "crm")
    }
    assert all(HUGE[:50] not in str(each) and "ada@" not in str(each) for each in tries)


async def test_few_dry_runs_run_at_once_and_pages_are_made_beside_them(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (operator, sender, crm):
        slow = ROUTES["loops in loops"][:60_000]
        asked = [operator.attempt(slow, lead(Content=HUGE)) for _ in range(30)]
        answers = asyncio.gather(*asked)
        await sender.deliver(lead())
        await until(lambda: len(crm.records) == 1, "the honest lead to arrive")
        statuses = [status for status, _ in await answers]
        refused = [page for status, page in await answers if status == 503]
        assert set(statuses) <= {200, 503}
        assert any(b"other dry runs are under way" in page for page in refused)
        assert (await operator.get("/"))[0] == 200


async def test_the_page_of_a_large_lead_with_many_routes_is_bounded(tmp_path: Path) -> None:
    async with bridge(tmp_path, routes=20) as (operator, sender, _):
        large = lead(Content=HUGE * 10)
        await sender.deliver(large)
        rows = await operator.program.settled()
        assert len(rows) == 20
        event = rows[0]["event"]
        for status, page in (await operator.get(f"/leads/{event}"), await operator.post(f"/leads/{event}")):
            assert status == 200
            assert len(page) < PAGE
        assert b"not shown: the page would be too large" in page
