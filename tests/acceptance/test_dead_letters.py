"""What cannot be delivered is kept with the reason, can be read, and is delivered by `replay` once it is mended."""

from pathlib import Path
from typing import Any

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

WORDS = "the field stage has no option new"
REFUSAL = Fault.answers(400, {"Content-Type": "application/json"}, b'{"error": "%b"}' % WORDS.encode())


def _website(email: dict[str, Any]) -> dict[str, Any]:
    return chatbot([{"to": "crm", "fields": {"lead": "SessionID", "email": email}}])


async def test_dead_letters_are_delivered_after_their_cause_is_mended(tmp_path: Path) -> None:
    async with Sandbox(key="lead") as crm:
        strict = settings({"crm": http(crm.url)}, _website({"from": "Email", "required": True}))
        async with Program(tmp_path, strict, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            crm.faults.next(REFUSAL)
            refused, unmapped, taken = lead(), lead(Email=""), lead()
            await sender.deliver(refused)
            await until(lambda: crm.ledger, "the lead to be refused")
            await sender.deliver(unmapped)
            await sender.deliver(taken)
            await until(lambda: len(crm.records) == 1, "the next lead to arrive in spite of it")
            ids = await _dead(program)
            assert len(crm.ledger) == 2, "a call was made for what cannot be mapped"
            assert await program.stop() == 0
        mended = settings({"crm": http(crm.url)}, _website({"from": ["Email", "PhoneNumber"]}))
        async with Program(tmp_path, mended, ENVIRONMENT) as program:
            await program.start()
            done = await program.run("deliveries", "replay", *map(str, ids))
            assert done.status == 0, done.errors
            await until(lambda: len(crm.records) == 3, lambda: f"what was replayed to arrive; {program.told()}")
            await program.settled()
            stories = await program.stories(ids)
    assert {each.fields["lead"] for each in crm.records} == {each["SessionID"] for each in (refused, unmapped, taken)}
    assert [each["state"] for each in stories] == ["delivered", "delivered"]
    attempts = [[each["outcome"] for each in story["attempts"]] for story in stories]
    assert attempts == [["rejected", "delivered"], ["delivered"]], "the history is kept"


async def _dead(program: Program) -> list[int]:
    """Check what can be read of the two dead letters; give their ids, the older first."""
    rows = sorted(await program.settled(), key=lambda row: row["id"])
    ids = [row["id"] for row in rows if row["state"] == "dead"]
    refused, unmapped = await program.stories(ids)
    assert refused["reason"] == "refused"
    assert WORDS in refused["detail"], "the destination's own words"
    (attempt,) = refused["attempts"]
    assert (attempt["number"], attempt["status"], attempt["outcome"]) == (1, 400, "rejected")
    assert WORDS in attempt["detail"]
    assert unmapped["reason"] == "mapping"
    assert "email" in unmapped["detail"], "which field is empty"
    assert unmapped["attempts"] == []
    return ids


async def test_what_fails_for_too_long_is_given_up_with_the_last_reason(tmp_path: Path) -> None:
    retry = {"initial": "100ms", "max": "200ms", "give_up_after": "1s"}
    async with (
        Deciding(lambda record: (500 if record["first_name"] == "Poison" else 200, {"error": "out of order"})) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, retry=retry)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        await sender.deliver(lead(FirstName="Poison"))
        # Others show meanwhile that the destination works: else it would be the destination's trouble, not the lead's.
        while not (rows := await program.deliveries("--state", "dead")):
            before = len(crm.taken())
            await sender.deliver(lead())
            await until(lambda: len(crm.taken()) > before, lambda: f"another lead to arrive; {program.told()}")  # noqa: B023 - is called in this round
        (story,) = await program.stories([row["id"] for row in rows])
        assert story["reason"] == "server_error"
        assert "500" in story["detail"]
        assert len(story["attempts"]) > 1
