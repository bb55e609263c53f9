"""A store that cannot commit: the sender is told to come again, and never success; it goes on when the trouble ends."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program, run
from tests.acceptance.sending import Answer, Sender, lead
from tests.acceptance.trouble import TROUBLES, full_disk, locked, read_only, small_disk
from tests.acceptance.waiting import until

REFUSALS = 12
CHECKS = 200
LEADS = 5
LOG_PAGE_LINES = 60
"""Leads whose lines are more than what still fits into the last page of a file on a full disk."""


@dataclass(frozen=True)
class Bridge:
    """A program that is up, its destination and its sender."""

    crm: Sandbox
    program: Program
    sender: Sender


@asynccontextmanager
async def running(folder: Path, log: Path | None = None) -> AsyncIterator[Bridge]:
    async with (
        Sandbox(key=None) as crm,
        Program(folder, settings({"crm": http(crm.url)}), ENVIRONMENT, log=log) as program,
        Sender(program) as sender,
    ):
        await program.start()
        yield Bridge(crm, program, sender)
        assert await program.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridge]:
    """One program that has all the troubles one after the other, as each is to leave no trace."""
    async with running(tmp_path_factory.mktemp("trouble")) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("what", TROUBLES)
async def test_no_success_while_it_lasts_and_it_goes_on_by_itself(what: str, bridge: Bridge) -> None:
    await _through(bridge, TROUBLES[what](bridge.program))


async def test_a_full_disk_costs_nothing_either(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with running(disk) as bridge:
            await _through(bridge, full_disk(disk))


async def _through(bridge: Bridge, trouble: AbstractContextManager[None]) -> None:
    """Send before, during and after the trouble; check what was answered, and what has arrived in the end."""
    crm, program, sender = bridge.crm, bridge.program, bridge.sender
    had = len(crm.records)
    before = [lead() for _ in range(LEADS)]
    for each in before:
        await sender.deliver(each)
    await until(lambda: len(crm.records) == had + LEADS, lambda: f"what comes before the trouble; {program.told()}")
    with trouble:
        taken, refused = await _until_refused(sender)
        # Each answer is a commit of one page, and a full disk may hold some more of those in the room of the log.
        ready = 200
        for _ in range(CHECKS):
            if (ready := await _status(f"{program.admin}/readyz")) != 200:
                break
        assert await _status(f"{program.admin}/healthz") == 200, "the process lives all the same"
        assert program.alive, program.told()
    first, *others = refused
    await sender.insist(first)
    after = [lead() for _ in range(LEADS)]
    for each in (*others, *after):
        await sender.deliver(each)
    assert await _status(f"{program.admin}/readyz") == 200, "it does not find that it is ready again"
    wanted = sorted(each["SessionID"] for each in (*before, *taken, *refused, *after))
    await until(lambda: len(crm.records) >= had + len(wanted), lambda: f"all to arrive; {program.told()}")
    rows = await program.settled()
    assert {row["state"] for row in rows} == {"delivered"}
    assert len(rows) == len(crm.records)
    assert sorted(each.fields["lead"] for each in crm.records[had:]) == wanted, "each lead once"
    assert ready == 503, f"/readyz answered {ready} while the store could not commit"


async def _until_refused(sender: Sender) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Send until the store has refused enough; give the leads that it took all the same, and those it refused."""
    taken: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    while len(refused) < REFUSALS:
        leads = [lead() for _ in range(REFUSALS)]
        for document, answer in zip(leads, await asyncio.gather(*map(sender.send, leads)), strict=True):
            # A full disk may still hold what fits into the room that the store already has.
            (taken if answer and answer.succeeded else refused).append(document)
            assert answer, "no answer at all"
            assert answer.succeeded or _comes_again(answer), f"{answer.status} {answer.body!r} {dict(answer.headers)}"
        assert len(taken) < 1000, "the trouble does not trouble the store: this test shows nothing"
    return taken, refused


def _comes_again(answer: Answer) -> bool:
    """Tell whether the sender is asked to come again, in a way that it cannot take for success."""
    if answer.status != 503 or answer.headers["Content-Type"] != "application/json":
        return False
    said = json.loads(answer.body)["status"]
    return int(answer.headers["Retry-After"]) > 0 and "success" not in said.lower()


async def _status(url: str) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    return await asyncio.to_thread(ask)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_that_ends_while_the_store_cannot_commit_is_not_made_again(bridge: Bridge) -> None:
    """What a destination has answered is written down, however long that takes."""
    crm, program = bridge.crm, bridge.program
    had, calls, waits = len(crm.ledger), len(program.events("attempt")), len(program.events("lane_waits_for_store"))
    for each in [lead() for _ in range(LEADS)]:
        await bridge.sender.deliver(each)
    with locked(program):
        # A fast machine may have written all outcomes before the lock was taken; then there is nothing to see here.
        await until(
            lambda: (
                len(program.events("lane_waits_for_store")) > waits or len(program.events("attempt")) == calls + LEADS
            ),
            lambda: f"the lane to notice; {program.told()}",
        )
    assert {row["state"] for row in await program.settled()} == {"delivered"}
    assert len(crm.ledger) == had + LEADS, "a call was made twice"


async def test_a_log_that_cannot_be_written_costs_no_lead(tmp_path: Path) -> None:
    """The log often goes to a file, and its disk may be full while the store's is not."""
    with small_disk(tmp_path / "disk") as disk:
        async with running(tmp_path, log=disk / "log") as bridge:
            crm, program = bridge.crm, bridge.program
            leads = [lead() for _ in range(LOG_PAGE_LINES)]
            with full_disk(disk):
                answers = [await bridge.sender.send(each) for each in leads]
                assert program.alive, program.told()
            failed = [answer for answer in answers if not answer or not answer.succeeded]
            await until(
                lambda: len(crm.records) >= len(leads),
                lambda: f"all leads to arrive: {len(crm.records)} of {len(leads)}; {program.told()}",
                seconds=10,
            )
            assert not failed, (
                f"{len(failed)} of {len(leads)} were not answered with success, the first with {failed[0]}"
            )
            assert {row["state"] for row in await program.settled(10)} == {"delivered"}
            assert len(crm.ledger) == len(leads), "calls were made twice"


async def test_a_store_that_is_read_only_from_the_start_is_named(tmp_path: Path) -> None:
    async with Program(tmp_path, settings({"crm": http("http://127.0.0.1:9/")}), ENVIRONMENT) as program:
        assert (await program.run("db", "migrate")).status == 0
        (program.folder / "leadbridge.db-wal").touch()
        with read_only(program):
            done = await run("serve", str(program.config), folder=tmp_path, environment=program.environment)
    assert done.status == 1, f"{done.status}: {done.output} {done.errors}"
    assert "leadbridge.db" in done.errors, f"it does not say which file: {done.errors}"
    assert "Traceback" not in done.errors
