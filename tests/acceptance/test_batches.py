"""Batches with one poisoned record: the others are delivered, and it alone becomes a dead letter, with the reason."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LEADS = 24
RESULTS = {"each": "answer.results", "ok": "result.ok", "error": "result.error"}
MATCHED = {**RESULTS, "match": {"record": "fields.email | lower", "result": "result.key"}}
BATCH = {"batch": {"size": LEADS, "linger": "300ms"}, "concurrency": 1}
FIELDS = {"email": "Email", "stage": "FirstName", "lead": "SessionID"}
WHOLE = chatbot([{"to": "crm", "fields": FIELDS}])


async def _send_all(sender: Sender, poison: dict[str, Any]) -> list[dict[str, Any]]:
    """Send leads at once, one of them poisoned; give the good ones."""
    good = [lead() for _ in range(LEADS - 1)]
    await asyncio.gather(*map(sender.deliver, [*good[: LEADS // 2], poison, *good[LEADS // 2 :]]))
    return good


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "in another order"])
async def test_a_record_that_is_refused_by_itself(shuffled: bool, tmp_path: Path) -> None:
    """The destination says of each record what became of it."""
    results = MATCHED if shuffled else RESULTS
    async with (
        Sandbox(required=["stage"], shuffled=shuffled) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, results=results, **BATCH)}, WHOLE), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        poison = lead(FirstName="")
        good = await _send_all(sender, poison)
        await until(lambda: len(crm.records) == len(good), lambda: f"{len(crm.records)} arrived; {program.told()}")
        rows = await program.settled()
        await _check(program, rows, "required: stage")
        assert sorted(each.fields["lead"] for each in crm.records) == sorted(each["SessionID"] for each in good)
        assert all(each.writes == 1 for each in crm.records), "a record was written more than once"
        assert len(crm.ledger) < LEADS / 2, f"{len(crm.ledger)} calls: they did not go in batches"


async def test_a_record_for_which_the_whole_batch_is_refused(tmp_path: Path) -> None:
    """The destination refuses a batch as a whole, and does not say for which record."""

    def decide(records: Any) -> tuple[int, Any]:
        if any(record["stage"] == "Poison" for record in records):
            return 400, {"error": "stage has no option Poison"}
        return 200, {"results": [{"ok": True} for _ in records]}

    async with (
        Deciding(decide) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, results=RESULTS, **BATCH)}, WHOLE), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        good = await _send_all(sender, lead(FirstName="Poison"))
        await until(lambda: len(_taken(crm)) == len(good), lambda: f"{len(_taken(crm))} arrived; {program.told()}")
        await _check(program, await program.settled(), "stage has no option Poison")
        assert sorted(_taken(crm)) == sorted(each["SessionID"] for each in good), "each of the others once"
        assert len(crm.received) <= 16, f"{len(crm.received)} calls to find one record among {LEADS}"


def _taken(crm: Deciding) -> list[int]:
    return [record["lead"] for batch in crm.taken() for record in batch]


async def _check(program: Program, rows: list[dict[str, Any]], words: str) -> None:
    """Check that one delivery is dead, with the destination's own words, and the others are delivered."""
    dead = [row for row in rows if row["state"] == "dead"]
    assert [row["state"] for row in rows].count("delivered") == LEADS - 1
    assert len(dead) == 1, dead
    (story,) = await program.stories([dead[0]["id"]])
    assert story["reason"] == "refused"
    assert words in story["detail"], story["detail"]
    assert story["attempts"][-1]["outcome"] == "rejected"


async def test_two_leads_of_one_key_never_share_a_batch(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,  # refuses a batch in which a key stands twice
        Program(tmp_path, settings({"crm": http(crm.url, results=MATCHED, **BATCH)}, WHOLE), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        leads = [lead(Email=f"contact.{at % 4}@example.com") for at in range(LEADS)]
        await asyncio.gather(*map(sender.deliver, leads))
        await until(
            lambda: sum(len(orjson.loads(call.body)) for call in crm.ledger) == LEADS,
            lambda: f"all to arrive; {program.told()}",
        )
        assert {row["state"] for row in await program.settled()} == {"delivered"}
        for call in crm.ledger:
            keys = [record["email"] for record in orjson.loads(call.body)]
            assert len(keys) == len(set(keys))
