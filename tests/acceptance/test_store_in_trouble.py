"""A store that cannot commit: the sender is told to come again, and never success; it goes on when the trouble ends."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program, run
from tests.acceptance.sending import Answer, Sender, lead
from tests.acceptance.trouble import TROUBLES, full_disk, read_only, small_disk
from tests.acceptance.waiting import until

REFUSALS = 12
LOG_PAGE_LINES = 60
"""Leads whose lines are more than what still fits into the last page of a file on a full disk."""


@contextlib.contextmanager
def place(what: str, folder: Path) -> Iterator[Path]:
    """Give a folder for the store: on a disk of its own where the disk is to be full."""
    if what == "the disk is full":
        with small_disk(folder / "disk") as disk:
            yield disk
    else:
        yield folder


@pytest.mark.parametrize("what", TROUBLES)
async def test_no_success_while_it_lasts_and_it_goes_on_by_itself(what: str, tmp_path: Path) -> None:
    with place(what, tmp_path) as folder:
        async with (
            Sandbox(key=None) as crm,
            Program(folder, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
            Sender(program) as sender,
        ):
            await program.start()
            before = [lead() for _ in range(5)]
            for each in before:
                await sender.deliver(each)
            await until(lambda: len(crm.records) == len(before), f"leads to arrive before the trouble; {program.told()}")

            with TROUBLES[what](program):
                taken, refused = await _until_refused(sender)
                ready = await _status(f"{program.admin}/readyz")
                assert await _status(f"{program.admin}/healthz") == 200, "the process lives all the same"
                assert program.alive, program.told()

            first, *others = refused
            await sender.insist(first)
            after = [lead() for _ in range(5)]
            for each in (*others, *after):
                await sender.deliver(each)
            assert await _status(f"{program.admin}/readyz") == 200
            wanted = sorted(each["SessionID"] for each in (*before, *taken, *refused, *after))
            await until(lambda: len(crm.records) >= len(wanted), f"{len(wanted)} leads to arrive; {program.told()}")
            rows = await program.settled()
            assert {row["state"] for row in rows} == {"delivered"}
            assert sorted(each.fields["lead"] for each in crm.records) == wanted, "each lead once"
            assert len(rows) == len(wanted)
            assert await program.stop() == 0
            assert ready == 503, f"/readyz answered {ready} while the store could not commit"


async def _until_refused(sender: Sender) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Send until the store has refused enough; give the leads that it took all the same, and those it refused."""
    taken, refused = [], []
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
    said = json.loads(answer.body)["status"]
    return answer.status == 503 and int(answer.headers["Retry-After"]) > 0 and "success" not in said.lower()


async def _status(url: str) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    return await asyncio.to_thread(ask)


async def test_a_call_that_ends_while_the_store_cannot_commit_is_not_made_again(tmp_path: Path) -> None:
    """What a destination has answered must be written down however long that takes."""
    async with (
        Sandbox(key=None) as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        for each in [lead() for _ in range(3)]:
            await sender.deliver(each)
        with TROUBLES["the store is locked by another process"](program):
            await until(lambda: program.events("lane_waits_for_store") or _all_settled(program), "the lane to notice")
        rows = await program.settled()
        assert {row["state"] for row in rows} == {"delivered"}
        assert len(crm.ledger) == 3, "a call was made twice"


def _all_settled(program: Program) -> bool:
    """A fast machine may have written all outcomes before the lock was taken; then there is nothing to see here."""
    return len(program.events("attempt")) == 3 and not program.events("lane_waits_for_store")


async def test_a_log_that_cannot_be_written_costs_no_lead(tmp_path: Path) -> None:
    """The log often goes to a file, and its disk may be full while the store's is not."""
    with small_disk(tmp_path / "disk") as disk:
        async with (
            Sandbox(key=None) as crm,
            Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT, log=disk / "log") as program,
            Sender(program) as sender,
        ):
            await program.start()
            leads = [lead() for _ in range(LOG_PAGE_LINES)]
            with full_disk(disk):
                answers = [await sender.send(each) for each in leads]
                assert program.alive, program.told()
            failed = [answer for answer in answers if not answer or not answer.succeeded]
            await until(
                lambda: len(crm.records) >= len(leads),
                lambda: f"all leads to arrive: {len(crm.records)} of {len(leads)}; {program.told()}",
                seconds=10,
            )
            assert {row["state"] for row in await program.settled(10)} == {"delivered"}
            assert len(crm.ledger) == len(leads), "calls were made twice"
            assert not failed, f"{len(failed)} of {len(leads)} were not answered with success, the first with {failed[0]}"


async def test_a_store_that_is_read_only_from_the_start_is_named(tmp_path: Path) -> None:
    async with Program(tmp_path, settings({"crm": http("http://127.0.0.1:9/")}), ENVIRONMENT) as program:
        await program.start()
        assert await program.stop() == 0
        (program.folder / "leadbridge.db-wal").touch()
        with read_only(program):
            done = await run("serve", str(program.config), folder=tmp_path, environment={**program.environment})
    assert done.status == 1, f"{done.status}: {done.output} {done.errors}"
    assert "leadbridge.db" in done.errors
    assert "Traceback" not in done.errors
