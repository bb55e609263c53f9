"""A thousand chatbots, a file each: checked, started and reloaded in the time that a person waits for."""

import asyncio
import json
import os
import resource
import time
from pathlib import Path

import pytest

from tests.acceptance.configured import ENVIRONMENT, SERIAL
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

pytestmark = pytest.mark.alone

CHATBOTS = 1_000
RATE = 200
CHECK_SECONDS = 4.0
"""Of processor time, twice of what it takes: another program on the machine makes it slower, not dearer."""
START_SECONDS = 4.0
"""The same for a start, until the bridge listens."""
RELOAD_SHARE = 1.0
"""Of the seconds of a check in the same run, about one. A reload reads one file anew, while leads come."""


def write(folder: Path, number: int, greeting: str = "FirstName") -> None:
    serial = SERIAL if number == 0 else f"serial-number-{number}"
    text = f"""\
chatbots:
  bot-{number}:
    serial_number: {serial}
    signing_keys: ["${{SIGN_KEY}}"]
    routes:
      - to: crm
        when: Email or PhoneNumber
        fields:
          email: Email
          name: "{{{{ {greeting} }}}} {{{{ LastName }}}}"
          phone: {{from: PhoneNumber, transform: [{{e164: US}}]}}
          message: "{{{{ Content | truncate(500) }}}}"
"""
    new = folder / f".{number}"
    new.write_text(text)
    new.rename(folder / f"bot-{number:04}.yaml")


async def test_a_thousand_chatbots_are_checked_started_and_reloaded_under_load(tmp_path: Path) -> None:
    settings = {
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "store": {"url": "sqlite:///leadbridge.db"},
        "destinations": {"crm": {"connector": "http", "url": "http://127.0.0.1:9/", "allow_private": True}},
    }
    async with Program(tmp_path, settings, ENVIRONMENT) as program, Sender(program) as sender:
        folder = tmp_path / "configuration"
        folder.mkdir()
        program.config.rename(folder / "common.yaml")
        program.config = folder
        for number in range(CHATBOTS):
            write(folder, number)

        started, spent = time.perf_counter(), children_seconds()
        checked = await program.run("check", str(folder))
        assert checked.status == 0, checked.output
        check_took = time.perf_counter() - started
        assert children_seconds() - spent < CHECK_SECONDS

        await program.start()
        assert process_seconds(program.pid) < START_SECONDS

        answers: list[bool] = []
        sending = asyncio.create_task(send_steadily(sender, answers))
        await asyncio.sleep(0.5)
        write(folder, 7, greeting="URI")
        changed = time.time()
        await until(lambda: bool(program.events("reloaded")), lambda: f"a reload; it says {program.told()}")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

        (reloaded,) = program.events("reloaded")
        assert (reloaded["result"], reloaded["chatbots"]) == ("complete", CHATBOTS)
        said = f"{reloaded}, {time.time() - changed:.2f} s after the change; a check took {check_took:.2f} s"
        assert reloaded["seconds"] < RELOAD_SHARE * check_took, said
        assert answers
        assert all(answers), f"{answers.count(False)} of {len(answers)} requests failed: {json.dumps(reloaded)}"


def children_seconds() -> float:
    """Return the processor time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process_seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def send_steadily(sender: Sender, answers: list[bool]) -> None:
    """Send leads at a fixed rate, counted from when each is due, until cancelled."""
    begun = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        answer = await sender.send(lead())
        answers.append(answer is not None and answer.succeeded)

    for number in range(60 * RATE):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
