"""Nothing of what the program says holds a secret, or who somebody is: not its log, not its errors."""

import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, KEY, SERIAL, chatbot, http, settings
from tests.acceptance.destination import Broken, Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.test_broken_answers import garbage
from tests.acceptance.waiting import until

TOKEN = "crm-token-4f1d2c0b9a8e7d6c5b4a"
NEXT_KEY = "the-next-sign-key-0f9e8d7c6b5a"
PERSON: dict[str, Any] = {
    "FirstName": "Xiaoming-Testname",
    "LastName": "Wang-Testname",
    "Email": "xiao.ming.secret@example.com",
    "PhoneNumber": "+86 138 5550 8000",
    "Content": "my very own words",
}
SECRETS = {
    "the signing key": KEY,
    "the next signing key": NEXT_KEY,
    "the bearer token": TOKEN,
    "the e-mail": PERSON["Email"],
    "the phone number": PERSON["PhoneNumber"],
    "the phone number's digits": "5550 8000",
    "the first name": PERSON["FirstName"],
    "the last name": PERSON["LastName"],
    "the content": PERSON["Content"],
}


def _echo(status: int) -> Deciding:
    """Make a destination that repeats the record in its refusal, as many CRMs do."""
    return Deciding(
        lambda record: (status, {"message": f"{record.get('email')}, {record.get('phone')} is not valid: {record}"})
    )


def _repeats_token(status: int) -> Fault:
    body = b'{"error": "the token Bearer %b is not valid"}' % TOKEN.encode()
    return Fault.answers(status, {"Content-Type": "application/json"}, body)


async def test_neither_secrets_nor_persons_are_in_what_it_says(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        unauthorized, forbidden = [await stack.enter_async_context(Sandbox()) for _ in range(2)]
        unauthorized.faults.next(_repeats_token(401), times=3)
        forbidden.faults.next(_repeats_token(403), times=3)
        refusing, failing = [await stack.enter_async_context(_echo(status)) for status in (422, 500)]
        broken = await stack.enter_async_context(Broken(garbage, times=2))
        auth = {"auth": {"bearer": "${CRM_TOKEN}"}}
        destinations = {
            "unauthorized": http(unauthorized.url, **auth),
            "forbidden": http(forbidden.url, **auth),
            "refusing": http(refusing.url, **auth),
            "failing": http(failing.url, **auth),
            "broken": http(broken.url, **auth),
            "down": http("http://127.0.0.1:9/leads?email={{ Email }}&token=${CRM_TOKEN}", **auth),
        }
        website = chatbot(list(destinations), signing_keys=["${SIGN_KEY}", "${NEXT_SIGN_KEY}"])
        environment = {**ENVIRONMENT, "CRM_TOKEN": TOKEN, "NEXT_SIGN_KEY": NEXT_KEY}
        program = await stack.enter_async_context(Program(tmp_path, settings(destinations, website), environment))
        sender = await stack.enter_async_context(Sender(program))
        await program.start()
        await _all_kinds_of_traffic(program, sender)
        await until(
            lambda: unauthorized.records and forbidden.records and broken.received and failing.received[3:],
            lambda: f"leads to arrive after all; {program.told()}",
        )
        rows = await program.deliveries()
        assert await program.stop() == 0
        dead = next(row for row in rows if row["state"] == "dead" and row["reason"] == "refused")
        (story,) = await program.stories([dead["id"]])
    shown = orjson.dumps(story).decode()
    assert TOKEN not in shown
    assert KEY not in shown
    said = "\n".join([*program.output, *program.errors])
    assert '"event":"attempt"' in said, "the program keeps no log: this test shows nothing"
    found = {what: [line[:300] for line in said.splitlines() if secret in line] for what, secret in SECRETS.items()}
    assert {what: lines[0] for what, lines in found.items() if lines} == {}, "what is in the log, and where first"


async def _all_kinds_of_traffic(program: Program, sender: Sender) -> None:
    """Send what is right, what is wrong in every way, and what the program has trouble with."""
    person = lead(**PERSON, URI="")
    body = written(person)
    await sender.deliver(person)
    await sender.post(body, signature(body))  # again
    for header in (None, "", "t=1,v1=2", f"t=17,v1={KEY}", signature(body, "wrong key"), signature(body, at=1), KEY):
        await sender.post(body, header)
    await sender.post(body[:-5], signature(body[:-5]))  # not JSON
    for odd in (
        {**person, "SerialNumber": "unknown"},
        {**person, "Type": "Conversation"},
        {**person, "Content": ["a", {"list": PERSON["Content"]}]},
        [person, {**person, "SessionID": "x"}],
        {"SerialNumber": SERIAL, "Messages": [PERSON]},
    ):
        await sender.post(orjson.dumps(odd), signature(orjson.dumps(odd)))
    with closing(sqlite3.connect(program.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (answer := await sender.post(body, signature(body, "another wrong key"))) is not None
        assert answer.status == 503
        other.execute("ROLLBACK")


@pytest.mark.parametrize("command", [("check",), ("serve",)])
async def test_a_secret_in_a_broken_configuration_is_not_shown(command: tuple[str, ...], tmp_path: Path) -> None:
    destinations = {"crm": http("https://crm.example.com", auth={"bearer": "${CRM_TOKEN}", "basic": "${CRM_TOKEN}"})}
    broken = settings(destinations, chatbot(["crm"], signing_keys={"key": "${SIGN_KEY}"}, ack="${CRM_TOKEN}"))
    async with Program(tmp_path, broken, {**ENVIRONMENT, "CRM_TOKEN": TOKEN}) as program:
        done = await program.run(*command)
    assert done.status == 1
    assert done.output + done.errors
    for secret in (TOKEN, KEY):
        assert secret not in done.output + done.errors
