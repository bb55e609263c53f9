"""Batches with one poisoned record: the others are delivered, and it alone becomes a dead letter, with the reason.

The same leads go to three destinations: one that gives its results in the order of the records, one that gives them
in another order, and one that refuses a batch as a whole without saying for which record.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LEADS = 24
CONTACTS = 4
RESULTS = {"each": "answer.results", "ok": "result.ok", "error": "result.error"}
MATCHED = {**RESULTS, "match": {"record": "fields.email | lower", "result": "result.key"}}
BATCH = {"batch": {"size": LEADS, "linger": "300ms"}, "concurrency": 1}
FIELDS = {"email": "Email", "stage": "FirstName", "lead": "SessionID"}
WORDS = {
    "in order": "required: stage",
    "in another order": "required: stage",
    "as a whole": "stage has no option Poison",
}


@dataclass
class Ended:
    """What there is to see when all is done."""

    calls: dict[str, list[list[dict[str, Any]]]]
    """The batches that each destination got, in order."""
    taken: dict[str, list[int]]
    """The leads that each has taken, as often as it has."""
    stories: dict[str, list[dict[str, Any]]]
    """All about the deliveries that ended as dead letters."""
    good: list[int]
    again: list[int]
    """Further leads, all of a few contacts."""


def _refuse_whole(records: Any) -> tuple[int, Any]:
    if any(record["stage"] == "Poison" for record in records):
        return 400, {"error": WORDS["as a whole"]}
    return 200, {"results": [{"ok": True} for _ in records]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    folder = tmp_path_factory.mktemp("batches")
    async with (
        Sandbox(required=["stage"]) as ordered,
        Sandbox(required=["stage"], shuffled=True) as shuffled,
        Deciding(_refuse_whole) as whole,
    ):
        destinations = {
            "in_order": http(ordered.url, results=RESULTS, **BATCH),
            "in_another_order": http(shuffled.url, results=MATCHED, **BATCH),
            "as_a_whole": http(whole.url, results=RESULTS, **BATCH),
        }
        poisoned = {**FIELDS, "stage": {"from": "FirstName", "default": "Poison"}}
        routes = [{"to": name, "fields": poisoned if name == "as_a_whole" else FIELDS} for name in destinations]
        async with (
            Program(folder, settings(destinations, chatbot(routes)), ENVIRONMENT) as program,
            Sender(program) as sender,
        ):
            await program.start()
            good = [lead() for _ in range(LEADS - 1)]
            await asyncio.gather(*map(sender.deliver, [*good[: LEADS // 2], lead(FirstName=""), *good[LEADS // 2 :]]))
            await _attempted(program, 3 * LEADS)
            again = [lead(Email=f"contact.{at % CONTACTS}@example.com") for at in range(LEADS)]
            await asyncio.gather(*map(sender.deliver, again))
            await _attempted(program, 6 * LEADS)
            rows = [row for row in await program.settled() if row["state"] != "delivered"]
            stories = await program.stories([row["id"] for row in rows]) if rows else []
        names = dict(zip(destinations, WORDS, strict=True))
        calls = {
            "in order": [orjson.loads(call.body) for call in ordered.ledger],
            "in another order": [orjson.loads(call.body) for call in shuffled.ledger],
            "as a whole": [each.document for each in whole.received],
        }
        taken = {
            **{
                name: [record["lead"] for batch in calls[name] for record in batch if "stage" in record]
                for name in calls
            },
            "as a whole": [record["lead"] for batch in whole.taken() for record in batch],
        }
        yield Ended(
            calls,
            taken,
            {name: [each for each in stories if names[each["destination"]] == name] for name in WORDS},
            [each["SessionID"] for each in good],
            [each["SessionID"] for each in again],
        )


async def _attempted(program: Program, count: int) -> None:
    """Wait until so many records have got an answer of their own."""
    await until(
        lambda: len(program.events("attempt")) >= count,
        lambda: f"{count} records to be answered; {len(program.events('attempt'))} were: {program.told()}",
    )


@pytest.mark.parametrize("name", WORDS)
def test_the_others_are_delivered_once(name: str, ended: Ended) -> None:
    assert sorted(ended.taken[name]) == sorted(ended.good + ended.again)


@pytest.mark.parametrize("name", WORDS)
def test_the_poisoned_one_is_dead_with_the_destinations_reason(name: str, ended: Ended) -> None:
    (story,) = ended.stories[name]
    assert (story["state"], story["reason"]) == ("dead", "refused")
    assert WORDS[name] in story["detail"]
    assert story["attempts"][-1]["outcome"] == "rejected"


@pytest.mark.parametrize("name", WORDS)
def test_they_go_in_batches(name: str, ended: Ended) -> None:
    calls = [batch for batch in ended.calls[name] if not {record["lead"] for record in batch} & set(ended.again)]
    # To find one record among 24, a batch is halved five times.
    most = 16 if name == "as a whole" else LEADS // 2
    assert len(calls) <= most, f"{len(calls)} calls with {[len(batch) for batch in calls]} records"


def test_two_leads_of_one_key_never_share_a_batch(ended: Ended) -> None:
    for batch in ended.calls["in another order"]:
        keys = [record["email"].lower() for record in batch]
        assert len(keys) == len(set(keys)), f"one key twice: {sorted(keys)}"


@pytest.mark.parametrize("name", WORDS)
def test_leads_of_one_contact_stay_in_order(name: str, ended: Ended) -> None:
    of_contacts: dict[str, list[int]] = {}
    for batch in ended.calls[name]:
        for record in batch:
            of_contacts.setdefault(record["email"], []).append(record["lead"])
    assert all(numbers == sorted(numbers) for numbers in of_contacts.values())
