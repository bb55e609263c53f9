import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from connectors.activities import activity_mark
from connectors.base import Blame, Delivered, Reason, Record, Rejected, Retry
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Limits, Property, faults
from tests.connectors.building import NOW, context
from tests.connectors.http_client.test_tokens import Store
from tests.connectors.hubspot.building import (
    REMARK,
    again,
    appointment,
    connector,
    deliver,
    deliver_all,
    ids,
    lead,
    with_fields,
)


async def test_a_remark_becomes_a_note_of_its_contact() -> None:
    async with HubSpotSandbox() as crm:
        (outcome,) = await deliver(crm, lead(0, REMARK, Content='said <b>"hi" & bye\nsecond line'))
        (contact,), (note,) = crm.contacts, crm.notes
        assert note.associations == {"contacts": [contact.id]}
        body = note.properties["hs_note_body"]
        assert body.startswith('said &lt;b&gt;"hi" &amp; bye<br>second line')
        assert activity_mark("record-0") in body
        assert note.properties["hs_timestamp"] == "2026-11-24T10:00:00Z"
        assert outcome.memo == {"contact": contact.id, "note": note.id}


async def test_a_hundred_new_contacts_cost_two_calls() -> None:
    async with HubSpotSandbox(echoes_trace_ids=False) as crm:
        ids(await deliver(crm, *(lead(number, REMARK) for number in range(100))))
        assert len(crm.ledger) == 2
        emails = {each.id: each.properties["email"] for each in crm.contacts}
        marks = {activity_mark(f"record-{number}"): f"lead{number}@example.com" for number in range(100)}
        for note in crm.notes:
            (mark,) = (each for each in marks if each in note.properties["hs_note_body"])
            assert emails[note.associations["contacts"][0]] == marks[mark]


@pytest.mark.parametrize("version", ["2026-09", "2026-03", "v3"])
async def test_a_hundred_known_contacts_cost_four_calls(version: str) -> None:
    async with HubSpotSandbox() as crm:
        people = range(100)
        # Half of them have a note already, one has several.
        await deliver(crm, *(lead(number, REMARK if number % 2 else {}) for number in people), api_version=version)
        await deliver(crm, lead(500, REMARK, Email="lead1@example.com"), api_version=version)
        crm.ledger.clear()
        records = [replace(lead(number, REMARK), id=f"second-{number}") for number in people]
        ids(await deliver(crm, *records, api_version=version))
        assert [each.path.rpartition("/")[2] for each in crm.ledger] == ["upsert", "read", "read", "create"]
        assert len(crm.notes) == 151


async def test_what_a_contact_has_is_read_page_by_page() -> None:
    async with HubSpotSandbox(association_page=3) as crm:
        records = [lead(number, REMARK, Email="a@b.co") for number in range(8)]
        for each in records:
            await deliver(crm, each)
        # As after a kill, when nothing is remembered: each finds its own, wherever it stands.
        for each in records:
            ids(await deliver(crm, each))
        assert len(crm.notes) == 8


async def test_with_few_calls_there_is_progress() -> None:
    """Three hundred texts have to be read, and no more than three calls are allowed at a time."""
    now = NOW
    async with HubSpotSandbox(now=lambda: now) as crm:
        for each in range(3):
            await deliver(crm, *(replace(lead(number, REMARK), id=f"{each}-{number}") for number in range(100)))
        crm.meter.limits = Limits(ten_secondly=3)
        target, waiting = connector(crm, context(now=lambda: now)), [lead(number, REMARK) for number in range(100)]
        left: list[int] = []
        while waiting and len(left) < 10:
            now += 10
            outcomes = await target.deliver(waiting)
            told = zip(waiting, outcomes, strict=True)
            waiting = [again(each, outcome) for each, outcome in told if isinstance(outcome, Retry)]
            left.append(len(waiting))
        await target.close()
        assert (waiting, len(crm.notes)) == ([], 400), left


async def test_what_was_found_out_is_not_asked_again() -> None:
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(1, REMARK, Email="lead0@example.com"))
        target, record = connector(crm), lead(0, REMARK)
        crm.faults.next(faults.ten_secondly(), on="notes/batch/create")
        (limited,) = await target.deliver([record])
        crm.ledger.clear()
        ids(await target.deliver([again(record, limited)]))
        await target.close()
        assert [each.path.rpartition("/")[2] for each in crm.ledger] == ["upsert", "create"]
        assert len(crm.notes) == 2


async def test_a_time_out_that_hubspot_answers_leaves_open_what_was_written() -> None:
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(1, REMARK, Email="lead0@example.com"))
        target, record = connector(crm), lead(0, REMARK)
        crm.faults.next(Fault.answers(408, written=True), on="notes/batch/create")
        (outcome,) = await target.deliver([record])
        ids(await target.deliver([again(record, outcome)]))
        await target.close()
        assert len(crm.notes) == 2


async def test_a_lane_that_begins_anew_looks_again() -> None:
    """Another process may have created it meanwhile."""
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(0))
        target, record = connector(crm), lead(0, REMARK)
        crm.faults.next(faults.ten_secondly(), on="notes/batch/create")
        (limited,) = await target.deliver([record])
        await deliver(crm, record)
        target.open(Store())
        ids(await target.deliver([again(record, limited)]))
        await target.close()
        assert len(crm.notes) == 1


async def test_an_appointment_is_made_without_a_remark_and_without_words() -> None:
    async with HubSpotSandbox() as crm:
        records = [
            lead(0, Type="Appointment", Content="2026-11-25T10:00:00Z"),
            lead(1, Type="Appointment", Content="soon"),
            lead(2, Type="Appointment", Content=""),
            lead(3, REMARK, Type="Appointment", Content=""),
            lead(4, Content="not an appointment"),
        ]
        outcomes = await deliver(crm, *records)
        ids(outcomes)
        made = [sorted(each.memo.keys() - {"contact"}) for each in outcomes]
        assert made == [["meeting"], ["task"], ["task"], ["task"], []]
        assert crm.tasks[1].properties["hs_task_subject"].startswith("Appointment: Lead")
        # Each can be found again by its mark.
        for each in records:
            ids(await deliver(crm, each))
        assert (len(crm.meetings), len(crm.tasks), len(crm.notes)) == (1, 3, 0)


async def test_notes_that_are_refused_together_go_one_by_one() -> None:
    async with HubSpotSandbox() as crm:
        error = b'{"status":"error","category":"VALIDATION_ERROR","message":"one of them is bad"}'
        crm.faults.next(Fault.answers(400, {"Content-Type": "application/json"}, error), on="notes/batch/create")
        records = [lead(0, REMARK), lead(1), lead(2, REMARK)]
        target = connector(crm)
        first = await target.deliver(records)
        assert [type(each) for each in first] == [Retry, Delivered, Retry]
        outcomes = await deliver_all(target, [again(*each) for each in zip(records, first, strict=True)])
        await target.close()
        ids(outcomes)
        assert len(crm.notes) == 2


async def test_an_appointment_becomes_a_meeting_or_a_task() -> None:
    async with HubSpotSandbox() as crm:
        records = [
            appointment("November 25, 2026 at 10:00 AM", 0, zone="Europe/Madrid", minutes=45),
            appointment("2026-11-25T10:00:00Z", 1),
            appointment("2026-11-25 10:00", 2),
            appointment("some time next week", 3, zone="Europe/Madrid"),
        ]
        outcomes = await deliver(crm, *records)
        ids(outcomes)
        assert [sorted(each.memo) for each in outcomes] == [["contact", "meeting"]] * 2 + [["contact", "task"]] * 2
        first = next(each for each in crm.meetings if each.id == outcomes[0].memo["meeting"])
        assert first.properties["hs_meeting_start_time"] == "2026-11-25T09:00:00Z"
        assert first.properties["hs_meeting_end_time"] == "2026-11-25T09:45:00Z"
        assert first.properties["hs_meeting_title"] == "Appointment: Lead 0 García"
        assert "November 25, 2026" in first.properties["hs_meeting_body"]
        assert {each.properties["hs_task_status"] for each in crm.tasks} == {"NOT_STARTED"}
        assert not crm.notes


async def test_a_second_remark_of_a_contact_is_a_second_note() -> None:
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(0, REMARK, Email="a@b.co"))
        await deliver(crm, lead(1, REMARK, Email="a@b.co"))
        assert (len(crm.contacts), len(crm.notes)) == (1, 2)


@pytest.mark.parametrize(
    "on", ["contacts/batch/upsert", "notes/batch/create", "notes/batch/read", "contacts/notes/batch/read"]
)
async def test_after_a_lost_answer_there_is_one_note(on: str) -> None:
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(1, Email="lead0@example.com"))
        await deliver(crm, lead(2, REMARK, Email="lead0@example.com"))
        crm.faults.next(faults.answer_lost(), on=on)
        record = lead(0, REMARK)
        (lost,) = await deliver(crm, record)
        assert isinstance(lost, Retry)
        # Once as after a retry, once as after a kill, when nothing is remembered.
        for each in (again(record, lost), record):
            (outcome,) = await deliver(crm, each)
            assert isinstance(outcome, Delivered)
            assert "note" in outcome.memo
        assert (len(crm.contacts), len(crm.notes)) == (1, 2)


async def test_a_replay_creates_nothing_twice() -> None:
    async with HubSpotSandbox() as crm:
        record = lead(0, REMARK)
        (first,) = await deliver(crm, record)
        crm.ledger.clear()
        (second,) = await deliver(crm, again(record, first))
        assert second.memo == first.memo
        assert len(crm.ledger) == 1


@pytest.mark.parametrize("share", [0.05, 0.3])
async def test_with_lost_answers_there_is_one_of_each_in_the_end(share: float) -> None:
    async with HubSpotSandbox(limits=Limits(ten_secondly=100_000)) as crm:
        records = [
            appointment("2026-11-25T10:00:00Z", number) if number % 3 == 0 else lead(number, REMARK)
            for number in range(120)
        ]
        crm.faults.share(faults.answer_lost(), share)
        target = connector(crm)
        outcomes = [
            outcome for start in range(0, 120, 10) for outcome in await deliver_all(target, records[start : start + 10])
        ]
        await target.close()
        assert len(set(ids(outcomes))) == 120
        assert len(crm.contacts) == 120
        assert Counter(each.associations["contacts"][0] for each in [*crm.notes, *crm.meetings]) == Counter(
            ids(outcomes)
        )
        assert (len(crm.notes), len(crm.meetings), len(crm.tasks)) == (80, 40, 0)


@pytest.mark.parametrize("on", ["batch/upsert", "batch/create"])
async def test_a_cancelled_delivery_comes_again_and_doubles_nothing(on: str) -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(Fault.slow(30.0), on=on)
        target, record = connector(crm), lead(0, REMARK)
        delivering = asyncio.create_task(target.deliver([record]))
        while not any(on in each.path for each in crm.ledger):
            await asyncio.sleep(0.01)
        delivering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivering
        ids(await target.deliver([record]))
        await target.close()
        assert (len(crm.contacts), len(crm.notes)) == (1, 1)


async def test_what_cannot_be_looked_at_in_time_comes_later() -> None:
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(0), lead(1))
        await deliver(crm, lead(2, REMARK, Email="lead1@example.com"))
        crm.faults.next(Fault.slow(2.0), on="objects/2026-09/notes/batch/read")
        outcomes = await deliver(crm, lead(0, REMARK), lead(1, REMARK), made=context(timeout=0.6))
        late = [each for each in outcomes if isinstance(each, Retry)]
        assert [(each.reason, each.blame) for each in late] == [(Reason.TIMEOUT, Blame.RECORD)]
        assert len(crm.notes) == 2


async def test_an_appointment_elsewhere_is_told() -> None:
    async with HubSpotSandbox(properties={"companies": [Property(name="lead_key", unique=True)]}) as crm:
        record = lead(0, {"object": "companies", "match": "lead_key"}, Type="Appointment", Content="soon")
        (outcome,) = await deliver(crm, replace(record, fields={"lead_key": "k", "name": "Acme"}))
        assert isinstance(outcome, Delivered)
        assert "object: contacts" in (outcome.warning or "")


async def test_a_refused_note_is_a_failure_that_remembers_the_contact() -> None:
    async with HubSpotSandbox() as crm:
        error = b'{"status":"error","category":"VALIDATION_ERROR","message":"no such thing"}'
        crm.faults.next(Fault.answers(400, {"Content-Type": "application/json"}, error), on="notes/batch/create")
        (outcome,) = await deliver(crm, lead(0, REMARK))
        assert isinstance(outcome, Rejected)
        assert "no such thing" in outcome.detail
        assert outcome.memo == {"contact": crm.contacts[0].id}


async def test_a_note_without_an_answer_of_its_own_is_not_taken_for_created() -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(faults.empty_answer(201, written=True), on="notes/batch/create")
        record = lead(0, REMARK)
        (outcome,) = await deliver(crm, record)
        assert isinstance(outcome, Retry)
        ids(await deliver(crm, again(record, outcome)))
        assert len(crm.notes) == 1


async def test_a_long_remark_is_cut_and_said_so() -> None:
    async with HubSpotSandbox() as crm:
        (outcome,) = await deliver(crm, lead(0, REMARK, Content="<&\n" * 40_000))
        assert isinstance(outcome, Delivered)
        assert "cut" in (outcome.warning or "")
        assert activity_mark("record-0") in crm.notes[0].properties["hs_note_body"]


async def test_a_wrong_remark_is_told_before_anything_is_written() -> None:
    async with HubSpotSandbox() as crm:
        (unknown,) = await deliver(crm, lead(0, {"remark": "Contents"}))
        (template,) = await deliver(crm, lead(0, {"remark": "{{ Contents }}"}))
        for each in (unknown, template):
            assert isinstance(each, Rejected)
            assert each.reason is Reason.MAPPING
        assert not crm.ledger


async def test_a_template_and_a_refused_value_share_a_note() -> None:
    async with HubSpotSandbox() as crm:
        record: Record = lead(0, {"remark": "{{ Content }} ({{ URI }})"}, Content="hello")
        ids(await deliver(crm, with_fields(record, hs_lead_status="odd")))
        (note,) = crm.notes
        text = note.properties["hs_note_body"]
        assert text.startswith("hello (www.example.com)<br><br>Not accepted by HubSpot:<br>hs_lead_status: odd")


async def test_a_meeting_has_the_texts_and_times_of_the_route() -> None:
    said = {"title": "Demo with {{ FirstName }}", "location": "https://meet.example.com/1", "zone": "Europe/Madrid"}
    async with HubSpotSandbox() as crm:
        texts = ["25 de noviembre de 2026 de 10:00 a 11:15", "miércoles 25 de noviembre de 2026 a las 10:00"]
        for number, (content, kind) in enumerate(zip(texts, ("Demo", "Lunch"), strict=True)):
            ids(await deliver(crm, appointment(content, number, **said, type=kind, minutes=45)))
        first, second = (each.properties for each in crm.meetings)
    assert first["hs_meeting_title"].startswith("Demo with ")
    assert first["hs_meeting_location"] == "https://meet.example.com/1"
    assert [first[f"hs_meeting_{name}_time"] for name in ("start", "end")] == [
        "2026-11-25T09:00:00Z",
        "2026-11-25T10:15:00Z",
    ]
    assert second["hs_meeting_end_time"] == "2026-11-25T09:45:00Z"
    assert (first["hs_activity_type"], second.get("hs_activity_type")) == ("Demo", None)  # one type is not on the list
