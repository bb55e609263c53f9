"""What a destination refuses is kept with the reason, can be read, and is delivered by `replay` once it is mended."""

from pathlib import Path
from typing import Any

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

REFUSAL = Fault.answers(400, {"Content-Type": "application/json"}, b'{"error": "the field stage has no option new"}')


async def test_a_refused_lead_is_kept_with_the_reason_and_can_be_replayed(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        crm.faults.next(REFUSAL)
        refused, taken = lead(), lead()
        await sender.deliver(refused)
        (row,) = await _dead(program)
        await sender.deliver(taken)
        await until(lambda: len(crm.records) == 1, "the next lead to arrive in spite of it")
        (story,) = await program.stories([row["id"]])
        assert story["reason"] == "refused"
        assert "the field stage has no option new" in story["detail"], "the destination's own words"
        (attempt,) = story["attempts"]
        assert (attempt["number"], attempt["status"], attempt["outcome"]) == (1, 400, "rejected")
        assert "the field stage has no option new" in attempt["detail"]

        done = await program.run("deliveries", "replay", str(row["id"]))
        assert done.status == 0, done.errors
        await until(lambda: len(crm.records) == 2, f"the replayed lead to arrive; {program.told()}")
        assert {each.fields["lead"] for each in crm.records} == {refused["SessionID"], taken["SessionID"]}
        await program.settled()
        (story,) = await program.stories([row["id"]])
        assert story["state"] == "delivered"
        assert [each["outcome"] for each in story["attempts"]] == ["rejected", "delivered"], "the history is kept"


async def test_a_lead_that_cannot_be_mapped_is_delivered_after_the_mapping_is_mended(tmp_path: Path) -> None:
    async with Sandbox() as crm:
        fields: dict[str, Any] = {"email": {"from": "Email", "required": True}, "lead": "SessionID"}
        broken = settings({"crm": http(crm.url)}, _website(fields))
        async with Program(tmp_path, broken, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            await sender.deliver(lead(Email=""))
            (row,) = await _dead(program)
            assert row["reason"] == "mapping"
            (story,) = await program.stories([row["id"]])
            assert "email" in story["detail"], "it says which field is empty"
            assert story["attempts"] == [], "no call is made for what cannot be mapped"
            assert await program.stop() == 0
        mended = settings({"crm": http(crm.url)}, _website({"email": {"from": ["Email", "PhoneNumber"]}}))
        async with Program(tmp_path, mended, ENVIRONMENT) as program:
            await program.start()
            assert (await program.run("deliveries", "replay", str(row["id"]))).status == 0
            await until(lambda: len(crm.records) == 1, f"the replayed lead to arrive; {program.told()}")


async def test_what_fails_for_too_long_is_given_up_with_the_last_reason(tmp_path: Path) -> None:
    retry = {"initial": "100ms", "max": "200ms", "give_up_after": "1s"}
    async with (
        Deciding(lambda record: (500 if record["first_name"] == "Poison" else 200, {"error": "out of order"})) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, retry=retry)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        await sender.deliver(lead(FirstName="Poison"))
        good = [lead() for _ in range(3)]
        for each in good:
            await sender.deliver(each)
        # Others show meanwhile that the destination works: else it would be the destination's trouble, not the lead's.
        await until(lambda: len(crm.taken()) == len(good), f"the others to arrive; {program.told()}")
        (row,) = await _dead(program, sender)
        (story,) = await program.stories([row["id"]])
        assert story["reason"] == "server_error"
        assert len(story["attempts"]) > 1


def _website(fields: dict[str, Any]) -> dict[str, Any]:
    from tests.acceptance.configured import chatbot

    return chatbot([{"to": "crm", "fields": fields}])


async def _dead(program: Program, sender: Sender | None = None) -> list[dict[str, Any]]:
    """Wait until there are dead letters; give them. With a sender, further leads keep the destination going."""
    while True:
        rows = await program.deliveries("--state", "dead")
        if rows:
            return rows
        if sender:
            await sender.deliver(lead())
        assert program.alive, program.told()
