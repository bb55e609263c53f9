"""A key speaks only for the chatbots that have it, at any time; and an id tells nothing of a person."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, KEY, chatbot, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.waiting import until

KEY_OF_B = "the-key-of-chatbot-b-0123456789"
LATER = "the-serial-number-of-the-later-chatbot"
OPEN = "the-serial-number-of-an-open-chatbot"
B = "the-serial-number-of-chatbot-b"


@pytest.fixture
async def crm() -> AsyncIterator[Sandbox]:
    async with Sandbox() as made:
        yield made


def configuration(crm: Sandbox, **more: Mapping[str, Any]) -> dict[str, Any]:
    made = settings({"crm": http(crm.url)})
    made["chatbots"] |= {
        "b": chatbot(["crm"], serial_number=B, signing_keys=["${KEY_OF_B}"]),
        "open": chatbot(["crm"], serial_number=OPEN, signing_keys=[], insecure_skip_verify=True),
        **more,
    }
    return made


def later(*keys: str, **changes: Any) -> dict[str, Any]:
    return chatbot(["crm"], serial_number=LATER, signing_keys=[f"${{{key}}}" for key in keys], **changes)


async def configure(program: Program, crm: Sandbox, **more: Mapping[str, Any]) -> None:
    before = len(program.events("reloaded"))
    program.config.write_text(yaml.safe_dump(configuration(crm, **more), sort_keys=False))
    await until(lambda: len(program.events("reloaded")) > before, lambda: f"the reload; {program.told()}")
    assert program.events("reloaded")[-1]["result"] == "complete", program.told()


async def post(program: Program, path: str, document: Any, key: str | None) -> None:
    body = written(document) if isinstance(document, dict) else orjson.dumps(document)
    headers = {} if key is None else {"X-Webhook-Signature": signature(body, key)}
    url = program.url.removesuffix("/webhook") + path
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert (answer.status, await answer.read()) == (200, b'{"status":"success"}')


async def unrecognised(program: Program) -> list[dict[str, Any]]:
    """Give the unrecognised events, oldest first."""
    rows = (await program.run("events", "list", "--state", "unrecognised", "--json")).json()
    return list(reversed(rows))


async def refusals(program: Program, event: str) -> list[str]:
    """Have the command, the API and the dashboard replay an event that must stay as it is; give what they say."""
    command = await program.run("deliveries", "replay", event)
    assert command.status == 1, command.output
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post(f"{program.admin}/api/events/{event}/replay", json={}) as answer:
            assert answer.status == 409
            api = await answer.text()
        headers = {"Origin": program.admin}
        async with session.post(f"{program.admin}/leads/{event}/replay", headers=headers) as answer:
            page = await answer.text()
    return [command.errors, api, page]


async def test_what_one_key_signed_never_becomes_another_chatbots_lead(crm: Sandbox, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "KEY_OF_B": KEY_OF_B}
    async with Program(tmp_path, configuration(crm), environment) as program, Sender(program):
        await program.start()
        # Three attacks: a serial number that nobody has yet, signed by A; the same without a signature; and an array
        # of A's beside an element without a serial number, posted to B's path.
        await post(program, "/webhook", lead(SerialNumber=LATER, SessionID=1), KEY)
        await post(program, "/webhooks/open", lead(SerialNumber=LATER, SessionID=2), None)
        element = {key: value for key, value in lead(SessionID=3).items() if key != "SerialNumber"}
        await post(program, "/webhooks/b", [lead(SessionID=4), element], KEY)
        signed, unsigned, nobodys = await unrecognised(program)
        assert [each["chatbot"] for each in (signed, unsigned, nobodys)] == [None, "open", None]

        await configure(program, crm, later=later("KEY_OF_B"))
        for said in await refusals(program, signed["id"]):
            assert "chatbot later has none of the signing keys that verified it" in said
            assert "put that key into its signing_keys" in said
        for said in await refusals(program, unsigned["id"]):
            assert "came without a signature" in said
            assert "chatbot later verifies signatures" in said
        assert [each["id"] for each in await unrecognised(program)] == [signed["id"], unsigned["id"], nobodys["id"]]

        # With one of the keys it is that chatbot's.
        await configure(program, crm, later=later("KEY_OF_B", "SIGN_KEY"))
        assert (await program.run("deliveries", "replay", signed["id"])).status == 0
        assert (await program.run("deliveries", "replay", unsigned["id"])).status == 1
        await configure(program, crm, later=later(insecure_skip_verify=True))
        assert (await program.run("deliveries", "replay", unsigned["id"])).status == 0
        rows = await program.settled()
        assert {row["chatbot"] for row in rows} == {"website", "later"}
        assert sorted(int(each.fields["lead"]) for each in crm.records) == [1, 2, 4]


async def test_no_id_confirms_a_phone_number(crm: Sandbox, tmp_path: Path) -> None:
    """All that is known but one digit of the number: no unkeyed hash of the candidates is in the log or the API."""
    known = lead(Email="", PhoneNumber="202555013", SessionID=7)
    seen = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        async with Program(folder, settings({"crm": http(crm.url)}), ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            await sender.deliver(known)
            await program.settled()
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{program.admin}/api/events") as answer:
                    api = await answer.text()
                async with session.post(
                    f"{program.admin}/api/events/search", json={"phone": known["PhoneNumber"]}
                ) as answer:
                    assert len((await answer.json())["events"]) == 1, "the index by person leads to it"
            assert await program.stop() == 0, program.told()
            seen.append("\n".join([api, *program.output, *program.errors]))
    (one,), (two,) = ({each["event_id"] for each in _received(text)} for text in seen)
    assert one[:10] == two[:10]  # the time of creation, which keeps the index together
    assert one != two
    for number in range(202_555_010, 202_555_020):
        parts = [known["SerialNumber"], "Lead", "7", known["CreateTime"], "", str(number)]
        for digested in (orjson.dumps(parts), str(number).encode()):
            for algorithm in ("sha256", "sha1", "md5", "sha512", "blake2b", "blake2s"):
                digest = hashlib.new(algorithm, digested).hexdigest()
                assert not any(digest[:22] in text or digest[:16] in text for text in seen)


def _received(text: str) -> list[dict[str, Any]]:
    lines = [orjson.loads(line) for line in text.splitlines() if '"event":"received"' in line]
    return [line for line in lines if line["result"] == "accepted"]
