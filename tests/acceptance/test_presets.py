"""Forty clients, a HubSpot account each, that share presets: short files, a quick check, one change for all of them."""

import asyncio
import contextlib
import resource
import time
from pathlib import Path

from connectors.testing.hubspot import HubSpotSandbox
from tests.acceptance.configured import ENVIRONMENT, SERIAL
from tests.acceptance.crms import UNLIMITED
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

CLIENTS = 40
RATE = 100
MOST_LINES = 8
CHECK_SECONDS = 1.0
"""Of processor time, start of the program included: other tests may run beside this one."""

COMMON = """\
presets:
  destinations:
    hubspot: {connector: hubspot, allow_private: true, rate_limit: {requests: 1000, per: 1s}}
  routes:
    leads:
      when: Email or PhoneNumber
      fields:
        email: {from: Email, transform: [email]}
        firstname: FirstName
        lastname: LastName
        phone: {from: PhoneNumber, transform: [{e164: US}]}
        company: {value: nobody, write: always}
  chatbots:
    workspace: {signing_keys: ["${SIGN_KEY}"]}
"""
CLIENT = """\
destinations:
  client-{number}-hubspot: {{use: hubspot, access_token: "${{file:tokens/{number}}}", base_url: "{origin}"}}
chatbots:
  client-{number}:
    use: workspace
    serial_number: {serial}
    routes:
      - {{use: leads, to: client-{number}-hubspot, fields: {{company: {{value: Client {number}, write: always}}}}}}
"""


def serial(number: int) -> str:
    return f"{SERIAL}-{number}"


async def test_forty_clients_share_presets_and_one_change_reloads_all_under_load(tmp_path: Path) -> None:
    settings = {
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "store": {"url": "sqlite:///leadbridge.db"},
    }
    async with contextlib.AsyncExitStack() as stack:
        accounts = [
            await stack.enter_async_context(HubSpotSandbox(access_token=f"pat-na1-{number:036}", limits=UNLIMITED))
            for number in range(CLIENTS)
        ]
        program = await stack.enter_async_context(Program(tmp_path, settings, ENVIRONMENT))
        sender = await stack.enter_async_context(Sender(program))
        folder = tmp_path / "configuration"
        (folder / "tokens").mkdir(parents=True)
        program.config.rename(folder / "00-server.yaml")
        program.config = folder
        (folder / "01-common.yaml").write_text(COMMON)
        for number, account in enumerate(accounts):
            (folder / "tokens" / str(number)).write_text(f"{account.access_token}\n")
            text = CLIENT.format(number=number, origin=account.origin, serial=serial(number))
            assert text.count("\n") <= MOST_LINES
            (folder / f"client-{number:02}.yaml").write_text(text)

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        checked = await program.run("check", str(folder))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (checked.status, "warning" in checked.output) == (0, False), checked.output
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < CHECK_SECONDS

        await program.start()
        await program.at_work()
        answers: list[bool] = []
        sending = asyncio.create_task(send_steadily(sender, answers))
        await until(lambda: all(each.contacts for each in accounts), lambda: f"a lead of each; {program.told()}")
        assert {each.contacts[-1].properties.get("company") for each in accounts} == {
            f"Client {number}" for number in range(CLIENTS)
        }
        new = folder / ".new"
        new.write_text(COMMON.replace("lastname: LastName", 'lastname: "{{ LastName | upper }}"'))
        new.rename(folder / "01-common.yaml")
        await until(
            lambda: all("GARC" in str(each.contacts[-1].properties.get("lastname")) for each in accounts),
            lambda: f"the change at each client; {program.told()}",
        )
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

        (reloaded,) = program.events("reloaded")
        assert (reloaded["result"], reloaded["chatbots"]) == ("complete", CLIENTS)
        assert answers
        assert all(answers), f"{answers.count(False)} of {len(answers)} requests failed: {program.told()}"
        rows = await program.settled()
        assert {row["state"] for row in rows} == {"delivered"}
        assert sum(len(each.contacts) for each in accounts) >= len(answers)


async def send_steadily(sender: Sender, answers: list[bool]) -> None:
    """Send leads at a fixed rate, to one client after the other, until cancelled; those on their way are awaited."""
    begun = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        answer = await sender.send(lead(SerialNumber=serial(number % CLIENTS)))
        answers.append(answer is not None and answer.succeeded)

    try:
        for number in range(60 * RATE):
            await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        await asyncio.gather(*tasks)
