"""The machine's clock is set while the program runs: no lead waits for it."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.destination import Deciding, Decision
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until
from tests.chaos.victim import Victim

DAY = 86_400.0
LINGER = 2.0


async def test_a_clock_that_is_set_back_a_day_holds_up_no_lead(tmp_path: Path) -> None:
    """While a batch lingers, while a retry waits, and for new leads; and again when it is set right."""
    failing = True

    def decide(_: object) -> Decision:
        return (503 if failing else 200), {}

    def taken(records: list[object]) -> Decision:
        return 200, [{"ok": True} for _ in records]

    beside = tmp_path / "beside"
    beside.mkdir()
    async with Deciding(decide) as retried, Deciding(taken) as batched:
        results = {"ok": "result.ok"}
        destinations = {
            "retried": http(retried.url),
            "batched": http(batched.url, batch={"size": 50, "linger": f"{LINGER:g}s"}, results=results),
        }
        # The sender's clock is right all the time.
        wanted = settings(destinations, chatbot(list(destinations), signature_tolerance="0s"))
        async with Victim(tmp_path, beside, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.up()
            for shift in (-DAY, 0.0):
                failing = True
                before = (len(retried.taken()), batched.calls)
                await sender.deliver(lead())
                await until(lambda: retried.received and retried.received[-1].status == 503, "a failure")
                program.set_clock(shift)
                began = time.monotonic()
                failing = False
                await until(lambda before=before: len(retried.taken()) > before[0], "the retry", 10)  # type: ignore[misc]
                await until(lambda before=before: batched.calls > before[1], "the batch", LINGER + 10)  # type: ignore[misc]
                await sender.deliver(lead())
                await until(lambda before=before: len(retried.taken()) > before[0] + 1, "a new lead", 10)  # type: ignore[misc]
                assert time.monotonic() - began < LINGER + 20
                async with aiohttp.ClientSession() as session, session.get(f"{program.admin}/readyz") as answer:
                    said = await answer.json()
                assert answer.status == 200
                assert said.get("clock_set_forward_seconds", 0.0) == shift
            await program.settled()


async def test_a_clock_that_is_set_ahead_four_days_gives_up_no_lead(tmp_path: Path) -> None:
    """Ten leads wait for a CRM that refuses each of them for a while, and takes them afterwards."""
    failing = True

    def decide(records: list[object]) -> Decision:
        return 200, [{"ok": not failing} for _ in records]

    beside = tmp_path / "beside"
    beside.mkdir()
    async with Deciding(decide) as crm:

        def attempts() -> int:
            return sum(len(each.document) for each in crm.received)

        destination = http(
            crm.url,
            batch={"size": 50},
            results={"ok": "result.ok", "otherwise": "retry"},
            retry={"initial": "1s", "max": "5s", "jitter": 0},
        )
        wanted = settings({"crm": destination}, chatbot(["crm"], signature_tolerance="0s"))
        async with Victim(tmp_path, beside, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.up()
            for _ in range(10):
                await sender.deliver(lead())
            await until(lambda: attempts() >= 20, "two attempts of each")
            program.set_clock(4 * DAY)
            before = attempts()
            await until(lambda: attempts() >= before + 20, "more attempts under the new clock", 20)
            failing = False
            rows = await program.settled()
            assert [each["state"] for each in rows] == ["delivered"] * 10


@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
async def test_a_process_whose_clock_is_an_hour_ahead_delays_no_lead_of_its_lanes(tmp_path: Path) -> None:
    """Two processes share four lanes whose destinations are away. The one with the wrong clock is killed."""
    from tests.postgresql import database

    away = True
    names = ("one", "two", "three", "four")
    async with contextlib.AsyncExitStack() as stack:
        environment = {**ENVIRONMENT, "STORE_URL": stack.enter_context(database(migrated=False))}
        crms = [await stack.enter_async_context(Deciding(lambda _: (503 if away else 200, {}))) for _ in names]
        retry = {"initial": "1s", "max": "4s", "jitter": 0}
        wanted = settings(
            {name: http(crm.url, retry=retry) for name, crm in zip(names, crms, strict=True)},
            chatbot(list(names), signature_tolerance="0s"),
        )
        wanted["store"]["url"] = "${STORE_URL}"
        programs = []
        for name in ("ahead", "right"):
            folder = tmp_path / name
            beside = folder / "beside"
            beside.mkdir(parents=True)
            programs.append(await stack.enter_async_context(Victim(folder, beside, wanted, environment)))
        ahead, right = programs
        ahead.set_clock(3_600.0)
        for each in programs:
            await each.up()
        sender = await stack.enter_async_context(Sender(right))

        async def worked() -> set[int]:
            lanes = (await right.run("lanes", "list", "--json")).json()
            return {int(each["owner"].split(":")[1]) for each in lanes if each["owner"]}

        async with asyncio.timeout(20):
            while await worked() != {ahead.pid, right.pid}:
                await asyncio.sleep(0.1)
        for _ in range(6):
            await sender.deliver(lead())
        for crm in crms:
            await until(lambda crm=crm: len(crm.received) >= 6, "the lane to pause")  # type: ignore[misc]
        ahead.signal(signal.SIGKILL)
        await ahead.ended()
        await asyncio.sleep(2)
        away = False
        rows = await right.settled(20)
        assert [each["state"] for each in rows] == ["delivered"] * 24
