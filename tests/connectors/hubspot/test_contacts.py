import asyncio
import json
from dataclasses import replace

import pytest

from connectors.base import Blame, Delivered, Reason, Rejected, Retry, WrittenRecord
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Limits, Property, faults
from tests.connectors.building import NOW, context
from tests.connectors.hubspot.building import (
    again,
    connector,
    deliver,
    deliver_all,
    ids,
    lead,
    with_fields,
    with_route,
)

KEY = {"contacts": [Property(name="lead_key", unique=True)]}


def calls(crm: HubSpotSandbox) -> list[tuple[str, str]]:
    return [(each.method, each.path.removeprefix("/crm/objects/2026-09/")) for each in crm.ledger]


@pytest.mark.parametrize("version", ["2026-09", "2026-03", "v3"])
@pytest.mark.parametrize("echoes", [True, False])
async def test_a_batch_is_one_upsert_and_answers_are_matched(version: str, *, echoes: bool) -> None:
    async with HubSpotSandbox(echoes_trace_ids=echoes) as crm:
        records = [lead(number, Email=f"Lead{number}@Example.com") for number in range(20)]
        outcomes = await deliver(crm, *records, api_version=version)
        by_email = {each.properties["email"]: each for each in crm.contacts}
        assert ids(outcomes) == [by_email[f"lead{number}@example.com"].id for number in range(20)]
        assert len(crm.ledger) == 1
        second = await deliver(crm, *records, api_version=version)
        assert ids(second) == ids(outcomes)
        assert len(crm.contacts) == 20
        if version != "v3":
            first = outcomes[0]
            assert isinstance(first, Delivered)
            assert first.remote_url == crm.page_url(by_email["lead0@example.com"])
        assert outcomes[0].memo == {"contact": ids(outcomes)[0]}


async def test_a_thousand_leads_cost_ten_calls_and_poisoned_ones_stand_alone() -> None:
    async with HubSpotSandbox() as crm:
        records = [lead(number) for number in range(1000)]
        for number in range(3, 1000, 150):
            records[number] = lead(number, Email=f"lead{number}@nowhere")
        target = connector(crm)
        outcomes = await deliver_all(target, records)
        await target.close()
        dead = [each for each in outcomes if isinstance(each, Rejected)]
        assert (len(dead), len(crm.contacts)) == (7, 993)
        assert all("Email address lead" in each.detail and each.blame is Blame.RECORD for each in dead)
        assert len(crm.ledger) <= 12
        assert crm.refusals < 0.05 * len(crm.ledger)  # what HubSpot wants of an app that it certifies


async def test_a_refused_optional_field_is_dropped_and_kept_in_a_note() -> None:
    async with HubSpotSandbox() as crm:
        records = [lead(0), with_fields(lead(1), hs_lead_status="WARM & <b>"), with_fields(lead(2), nonsense=7)]
        outcomes = await deliver(crm, *records)
        plain, status, nonsense = outcomes
        assert isinstance(plain, Delivered)
        assert plain.warning is None
        assert isinstance(status, Delivered)
        assert isinstance(nonsense, Delivered)
        assert "hs_lead_status" in (status.warning or "")
        assert "does not exist" in (nonsense.warning or "")
        assert [path for _, path in calls(crm)] == ["contacts/batch/upsert"] * 2 + ["notes/batch/create"]
        bodies = sorted(each.properties["hs_note_body"] for each in crm.notes)
        assert "hs_lead_status: WARM &amp; &lt;b&gt;" in bodies[0]
        assert "nonsense: 7" in bodies[1]


async def test_a_value_that_a_rule_of_the_administrator_refuses_is_kept_in_a_note() -> None:
    rule = Property(name="firstname", only_letters=True)
    async with HubSpotSandbox(properties={"contacts": [rule]}) as crm:
        good, bad = await deliver(crm, lead(0, FirstName="Núñez"), lead(1, FirstName="Jean-Luc"))
        assert isinstance(good, Delivered)
        assert good.warning is None
        assert isinstance(bad, Delivered)
        assert bad.warning == (
            "left out because HubSpot refuses it: firstname (Enter only letters); its value is in the remark"
        )
        (note,) = crm.notes
        assert "firstname: Jean-Luc" in note.properties["hs_note_body"]


async def test_a_record_is_repaired_until_nothing_is_left_to_drop() -> None:
    """HubSpot may name one property at a time."""

    def refusal(name: str) -> Fault:
        inner = json.dumps([{"isValid": False, "message": "no", "error": "INVALID_OPTION", "name": name}])
        body = {
            "status": "error",
            "category": "VALIDATION_ERROR",
            "message": f"Property values were not valid: {inner}",
        }
        return Fault.answers(400, {"Content-Type": "application/json"}, json.dumps(body).encode())

    names = ("firstname", "website", "hs_lead_status")
    fields = {"website": "x", "hs_lead_status": "y"}
    for record in (
        with_fields(lead(0), **fields),
        with_fields(lead(0, Email="", PhoneNumber="+34600000000"), **fields),
    ):
        async with HubSpotSandbox() as crm:
            if "email" not in record.fields:
                crm.faults.next(Fault())  # the search
            for name in names:
                crm.faults.next(refusal(name))
            (outcome,) = await deliver(crm, record)
            assert isinstance(outcome, Delivered), outcome
            assert all(name in (outcome.warning or "") for name in names)
            assert len(crm.contacts) == 1


async def test_a_conflict_by_a_secondary_email_becomes_an_update_without_it() -> None:
    conflict = {"status": "error", "category": "CONFLICT", "message": "Contact already exists. Existing ID: 101"}
    async with HubSpotSandbox() as crm:
        await deliver(crm, lead(9, Email="main@example.com"))
        crm.faults.next(Fault.answers(409, {"Content-Type": "application/json"}, json.dumps(conflict).encode()))
        (outcome,) = await deliver(crm, lead(0))
        assert ids([outcome]) == ["101"]
        assert "email" not in json.loads(crm.ledger[-1].body)["properties"]
        (contact,) = crm.contacts
        assert (contact.properties["email"], contact.properties["firstname"]) == ("main@example.com", "Lead 0")


async def test_an_email_of_another_contact_is_left_out_of_the_keys_contact() -> None:
    async with HubSpotSandbox(properties=KEY) as crm:
        route = {"match": "lead_key"}
        await deliver(crm, lead(1))
        await deliver(crm, with_route(with_fields(lead(0, Email="a@example.com"), lead_key="k0"), **route))
        own = with_route(with_fields(lead(1, FirstName="Both"), lead_key="k0"), **route)
        (outcome,) = await deliver(crm, own)
        assert isinstance(outcome, Delivered)
        assert "email (another contact has it)" in (outcome.warning or "")
        assert [each.properties["email"] for each in crm.contacts] == ["lead1@example.com", "a@example.com"]
        assert [each.properties["firstname"] for each in crm.contacts] == ["Lead 1", "Both"]


async def test_a_field_that_is_refused_for_all_is_dropped_from_all() -> None:
    async with HubSpotSandbox() as crm:
        inner = '[{"isValid":false,"message":"no such","error":"PROPERTY_DOESNT_EXIST","name":"nonsense"}]'
        body = {
            "status": "error",
            "category": "VALIDATION_ERROR",
            "message": f"Property values were not valid: {inner}",
        }
        fault = Fault.answers(400, {"Content-Type": "application/json"}, json.dumps(body).encode())
        crm.faults.next(fault)
        outcomes = await deliver(crm, lead(0), with_fields(lead(1), nonsense="x"))
        ids(outcomes)
        assert len(crm.contacts) == 2


async def test_the_key_is_never_dropped_nor_what_is_refused_twice() -> None:
    async with HubSpotSandbox(required={"contacts": ["company"]}) as crm:
        wrong, missing = await deliver(crm, lead(0, Email="nobody"), with_fields(lead(1), hs_lead_status="x"))
        assert isinstance(wrong, Rejected)
        assert isinstance(missing, Rejected)
        assert "missing: company" in missing.detail
        assert not crm.contacts


async def test_what_the_answer_does_not_mention_is_tried_again_alone() -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(faults.empty_answer(207, written=True))
        records = [lead(0), lead(1)]
        outcomes = await deliver(crm, *records)
        assert all(isinstance(each, Retry) and each.reason is Reason.BAD_ANSWER for each in outcomes)
        target = connector(crm)
        groups = {target.batch_group(again(one, told)) for one, told in zip(records, outcomes, strict=True)}
        assert len(groups) == 2
        await deliver_all(target, [again(one, told) for one, told in zip(records, outcomes, strict=True)])
        await target.close()
        assert len(crm.contacts) == 2


@pytest.mark.parametrize("named", [True, False])
async def test_a_conflict_becomes_an_update(*, named: bool) -> None:
    async with HubSpotSandbox(properties=KEY, names_existing=named) as crm:
        (first,) = await deliver(crm, lead(0))
        other = with_route(with_fields(lead(0), lead_key="k1", firstname="New"), match="lead_key")
        (second,) = await deliver(crm, other)
        assert ids([first]) == ids([second])
        (contact,) = crm.contacts
        assert (contact.properties["lead_key"], contact.properties["firstname"]) == ("k1", "New")
        assert calls(crm)[-1] == (
            "PATCH",
            f"contacts/{contact.id if named else 'lead0%40example.com?idProperty=email'}",
        )


async def test_a_custom_key_serves_leads_without_email() -> None:
    async with HubSpotSandbox(properties=KEY) as crm:
        record = with_route(with_fields(lead(0, Email=""), lead_key="k1"), match="lead_key")
        for _ in range(2):
            ids(await deliver(crm, record))
        assert len(crm.contacts) == 1
        # Another one without a value for it is found by its e-mail.
        ids(await deliver(crm, with_route(lead(1), match="lead_key")))
        assert len(crm.contacts) == 2


async def test_with_a_custom_key_the_phone_stands_in_for_a_missing_name_of_new_contacts_only() -> None:
    async with HubSpotSandbox(properties=KEY) as crm:
        record = with_fields(lead(0, Email="", PhoneNumber="+34600000000"), lead_key="k1")
        ids(await deliver(crm, with_route(record, match="lead_key")))
        nameless = with_route(with_fields(record, firstname=None), match="lead_key")
        new = replace(with_fields(nameless, lead_key="k2"), id="another")
        ids(await deliver(crm, nameless, new))
        known, created = crm.contacts
        assert known.properties["firstname"] == "Lead 0"
        assert "lastname" not in known.properties
        assert created.properties["lastname"] == "+34600000000"


async def test_a_lead_with_a_phone_only_is_found_by_it() -> None:
    async with HubSpotSandbox() as crm:
        record = with_fields(lead(0, Email="", PhoneNumber="+34600000000"), firstname=None)
        first = await deliver(crm, record)
        second = await deliver(crm, replace(record, id="another"))
        assert ids(first) == ids(second)
        assert [path for _, path in calls(crm)[:2]] == ["contacts/search", "contacts"]
        (contact,) = crm.contacts
        assert contact.properties["lastname"] == "+34600000000"


async def test_a_contact_is_found_by_its_phone_in_another_notation() -> None:
    async with HubSpotSandbox() as crm:
        for number, phone in enumerate(("600 00 00 00", "+34600000000", "+34 600 00 00 00")):
            ids(await deliver(crm, with_fields(lead(number, Email="", PhoneNumber=phone), phone=phone)))
        (contact,) = crm.contacts
        assert contact.properties["phone"] == "+34 600 00 00 00"


async def test_phones_are_remembered_while_search_lags() -> None:
    now = NOW
    async with HubSpotSandbox(search_lag=10, now=lambda: now) as crm:
        target = connector(crm)
        record = lead(0, Email="", PhoneNumber="+34600000000")
        first = await target.deliver([record])
        second = await target.deliver([replace(record, id="another")])
        await target.close()
        assert ids(first) == ids(second)


async def test_after_a_restart_the_contact_of_the_last_delivery_is_known_while_search_lags() -> None:
    now = NOW
    async with HubSpotSandbox(search_lag=10, now=lambda: now) as crm:
        phone = lead(0, Email="", PhoneNumber="+34600000000")
        (first,) = await deliver(crm, phone)
        assert isinstance(first, Delivered)
        written = WrittenRecord(first.remote_id, first.memo)
        same = replace(phone, id="another", written=written)
        (second,) = await deliver(crm, with_fields(same, phone="+34 600 00 00 00"))
        other = replace(lead(1, Email="", PhoneNumber="+34611111111"), written=written)
        (third,) = await deliver(crm, other)
        gone = replace(lead(2, Email="", PhoneNumber="+34622222222"), written=WrittenRecord("9", {"contact": "987"}))
        (fourth,) = await deliver(crm, gone)
        assert ids([first]) == ids([second])
        assert len(ids([first, third, fourth])) == len(crm.contacts) == 3


async def test_searches_keep_to_their_own_limit() -> None:
    async with HubSpotSandbox() as crm:
        target = connector(crm)
        people = [lead(number, Email="", PhoneNumber=f"+3460000000{number}") for number in range(8)]
        outcomes = await asyncio.gather(*(target.deliver([each]) for each in people))
        await target.close()
        assert len(ids([each for (each,) in outcomes])) == len(crm.contacts) == 8


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer_lost(),
        Fault.half_an_answer(),
        Fault.answers(502, written=True),
        Fault.answers(503, {"Retry-After": "1"}, written=True),
        Fault.answers(200, {"Content-Type": "text/html"}, b"<html>", written=True),
    ],
)
@pytest.mark.parametrize("is_same_process", [True, False])
async def test_after_a_lost_creation_search_is_given_time(fault: Fault, *, is_same_process: bool) -> None:
    now = NOW
    async with HubSpotSandbox(search_lag=10, now=lambda: now) as crm:
        made = context(now=lambda: now)
        target = connector(crm, made)
        crm.faults.next(Fault())  # the search goes well
        crm.faults.next(fault)
        record = lead(0, Email="", PhoneNumber="+34600000000")
        (lost,) = await target.deliver([record])
        assert isinstance(lost, Retry)
        if lost.blame is not Blame.DESTINATION:
            assert lost.after == 15
        if not is_same_process:
            await target.close()
            target = connector(crm, made)
        crm.ledger.clear()
        now += 5
        (early,) = await target.deliver([again(record, lost)])
        assert isinstance(early, Retry)
        assert (early.after, early.blame, len(crm.ledger)) == (10, Blame.RECORD, 0)
        now += 10
        ids(await target.deliver([again(record, early)]))
        await target.close()
        assert len(crm.contacts) == 1


async def test_a_creation_that_was_cut_off_is_given_time_too() -> None:
    now = NOW
    async with HubSpotSandbox(search_lag=10, now=lambda: now) as crm:
        target = connector(crm, context(now=lambda: now))
        crm.faults.next(Fault())
        crm.faults.next(Fault.slow(30.0))
        record = lead(0, Email="", PhoneNumber="+34600000000")
        delivering = asyncio.create_task(target.deliver([record]))
        while not crm.contacts:
            await asyncio.sleep(0.01)
        now += 20  # so long that search would be asked, if it were counted from the beginning
        await asyncio.sleep(0.01)
        delivering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivering
        (early,) = await target.deliver([record])
        assert isinstance(early, Retry)
        assert early.after == 15
        now += 15
        ids(await target.deliver([record]))
        await target.close()
        assert len(crm.contacts) == 1


@pytest.mark.parametrize("fault", [faults.ten_secondly(), Fault.answers(403), Fault.answers(423)])
async def test_a_refused_creation_may_be_tried_at_once(fault: Fault) -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(Fault())
        crm.faults.next(fault)
        target, record = connector(crm), lead(0, Email="", PhoneNumber="+34600000000")
        (refused,) = await target.deliver([record])
        assert "unclear" not in refused.memo
        ids(await target.deliver([again(record, refused)]))
        await target.close()
        assert len(crm.contacts) == 1


async def test_a_lead_with_a_refused_email_is_found_by_its_phone() -> None:
    async with HubSpotSandbox() as crm:
        bad = lead(0, Email="foo@bar", PhoneNumber="+34600000000")
        records = [bad, lead(1), lead(2, Email="foo@baz")]
        target = connector(crm)
        first = await target.deliver(records)
        assert [type(each) for each in first] == [Retry, Delivered, Rejected]
        assert target.batch_group(again(bad, first[0])) != target.batch_group(bad)
        (one,), (two,) = [await target.deliver([again(bad, first[0])]) for _ in range(2)]
        await target.close()
        assert isinstance(two, Delivered)
        assert ids([one]) == ids([two])
        assert "email (Email address foo@bar is invalid)" in (two.warning or "")
        found = next(each for each in crm.contacts if each.id == two.remote_id)
        assert (found.properties["phone"], "email" in found.properties) == ("+34600000000", False)
        assert len(crm.contacts) == 2
        (note,) = crm.notes
        assert "email: foo@bar" in note.properties["hs_note_body"]


async def test_a_lead_with_a_refused_email_is_not_the_contact_with_its_phone_and_another_email() -> None:
    """Families share phones: the other contact keeps its name, also if a lead without an e-mail was written into it."""
    async with HubSpotSandbox() as crm:
        first, unnamed = lead(0, PhoneNumber="+34600000000"), lead(1, Email="", PhoneNumber="+34600000000")
        bad = lead(2, Email="foo@bar", PhoneNumber="+34600000000", FirstName="Bob")
        target = connector(crm)
        (known,), (found,) = [await target.deliver([each]) for each in (first, unnamed)]
        assert ids([known]) == ids([found])
        name = crm.contacts[0].properties.get("firstname")
        (one,), (two,) = [await target.deliver([bad]) for _ in range(2)]
        await target.close()
        assert ids([one]) == ids([two]) != ids([known])
        assert len(crm.contacts) == 2
        assert crm.contacts[0].properties.get("firstname") == name


async def test_conflicts_of_a_batch_are_settled_a_few_at_a_time() -> None:
    async with HubSpotSandbox(properties=KEY, limits=Limits(ten_secondly=1000)) as crm:
        await deliver(crm, *(lead(number) for number in range(20)))
        crm.faults.share(Fault.slow(0.2), 1.0, on="/contacts/1")
        begun = asyncio.get_running_loop().time()
        keyed = [with_route(with_fields(lead(each), lead_key=f"k{each}"), match="lead_key") for each in range(20)]
        outcomes = await deliver(crm, *keyed)
        assert len(set(ids(outcomes))) == 20
        assert 0.8 <= asyncio.get_running_loop().time() - begun < 2.0
        assert {each.properties["lead_key"] for each in crm.contacts} == {f"k{each}" for each in range(20)}


async def test_a_lead_with_a_name_only_is_created_and_remembered() -> None:
    async with HubSpotSandbox() as crm:
        record = lead(0, Email="")
        (first,) = await deliver(crm, record)
        (second,) = await deliver(crm, again(record, first))
        assert ids([first]) == ids([second])
        assert [method for method, _ in calls(crm)] == ["POST", "PATCH"]


async def test_a_contact_that_is_gone_is_created_again() -> None:
    async with HubSpotSandbox() as crm:
        record = replace(lead(0, Email=""), memo={"contact": "404404"})
        ids(await deliver(crm, record))
        assert len(crm.contacts) == 1


async def test_a_single_refused_field_is_dropped_too() -> None:
    async with HubSpotSandbox() as crm:
        (outcome,) = await deliver(crm, with_fields(lead(0, Email=""), hs_lead_status="no"))
        assert isinstance(outcome, Delivered)
        assert outcome.warning
        assert len(crm.notes) == 1


async def test_other_objects_need_a_key() -> None:
    async with HubSpotSandbox(properties={"companies": [Property(name="lead_key", unique=True)]}) as crm:
        record = with_route(replace(lead(0), fields={"name": "Acme"}), object="companies", match="lead_key")
        (outcome,) = await deliver(crm, record)
        assert isinstance(outcome, Rejected)
        assert outcome.reason is Reason.MAPPING
        ids(await deliver(crm, with_fields(record, lead_key="k")))
        (company,) = crm.records("companies")
        assert company.properties["name"] == "Acme"


@pytest.mark.parametrize(
    ("fault", "reason", "blame", "after"),
    [
        (faults.ten_secondly(), Reason.RATE_LIMITED, Blame.DESTINATION, 10.0),
        (faults.secondly(), Reason.RATE_LIMITED, Blame.DESTINATION, 1.0),
        (faults.daily(), Reason.RATE_LIMITED, Blame.DESTINATION, 1800.0),
        (faults.locked(), Reason.CONFLICT, Blame.UNCLEAR, 2.0),
        (faults.migrating(86400), Reason.CONFLICT, Blame.DESTINATION, 86400.0),
        (faults.page_of_gateway(502), Reason.SERVER_ERROR, Blame.UNCLEAR, None),
        (faults.page_of_gateway(521), Reason.UNREACHABLE, Blame.DESTINATION, None),
        (faults.uri_too_long(), Reason.TOO_LARGE, Blame.DESTINATION, None),
        (faults.answer_lost(), Reason.BAD_ANSWER, Blame.UNCLEAR, None),
        (Fault.half_an_answer(), Reason.BAD_ANSWER, Blame.UNCLEAR, None),
        (Fault.answers(200, {"Content-Type": "text/html"}, b"<html>"), Reason.BAD_ANSWER, Blame.UNCLEAR, None),
        (Fault.answers(429, {"Retry-After": "7"}), Reason.RATE_LIMITED, Blame.DESTINATION, 7.0),
    ],
)
async def test_what_is_to_be_tried_again(fault: Fault, reason: Reason, blame: Blame, after: float | None) -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(fault)
        outcomes = await deliver(crm, lead(0), lead(1))
        for each in outcomes:
            assert isinstance(each, Retry)
            assert (each.reason, each.blame, each.after) == (reason, blame, after)


UNREAD = [faults.unread(), Fault.html_error(400)]


@pytest.mark.parametrize("fault", UNREAD)
async def test_what_nobody_reads_is_split_and_then_holds_the_destination(fault: Fault) -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(fault, times=20)
        target = connector(crm)
        whole = await target.deliver([lead(0), lead(1), lead(2), lead(3)])
        assert all(isinstance(each, Rejected) and each.blame is Blame.BATCH for each in whole)
        for number in (0, 1, 0, 1, 0):
            (alone,) = await target.deliver([lead(number)])
            assert isinstance(alone, Retry)
            assert alone.blame is Blame.DESTINATION
        # It is known by now that splitting is of no use.
        rest = await target.deliver([lead(2), lead(3)])
        assert all(isinstance(each, Retry) and each.blame is Blame.DESTINATION for each in rest)
        crm.faults.clear()
        ids(await target.deliver([lead(each) for each in range(4)]))
        await target.close()


@pytest.mark.parametrize("fault", UNREAD)
@pytest.mark.parametrize("email", ["lead0@example.com", ""])
async def test_what_is_read_of_others_but_not_of_this_one_is_its_own_trouble(fault: Fault, email: str) -> None:
    async with HubSpotSandbox() as crm:
        target, poisoned = connector(crm), lead(0, Email=email)
        await target.deliver([lead(1)])
        crm.faults.next(fault)
        (first,) = await target.deliver([poisoned])
        assert isinstance(first, Retry)
        assert first.blame is Blame.DESTINATION
        ids(await target.deliver([lead(2)]))
        crm.faults.next(fault)
        (second,) = await target.deliver([again(poisoned, first)])
        await target.close()
        assert isinstance(second, Rejected)
        assert second.blame is Blame.RECORD


async def test_trouble_of_the_configuration_holds_the_destination() -> None:
    async with HubSpotSandbox(scopes=["crm.objects.contacts.read"]) as crm:
        wrong_token = (await deliver(crm, lead(0), access_token="pat-wrong"))[0]
        no_scope = (await deliver(crm, lead(0)))[0]
    async with HubSpotSandbox() as crm:
        not_unique = (await deliver(crm, with_route(lead(0), match="firstname")))[0]
        unknown = (await deliver(crm, with_route(with_fields(lead(0), k="1"), object="nothings", match="k")))[0]
        version = (await deliver(crm, lead(0), api_version="2020-01"))[0]
    expected = [Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.REFUSED, Reason.REFUSED, Reason.NOT_FOUND]
    for each, reason in zip((wrong_token, no_scope, not_unique, unknown, version), expected, strict=True):
        assert isinstance(each, Retry)
        assert (each.reason, each.blame) == (reason, Blame.DESTINATION)
    assert "crm.objects.contacts.write" in no_scope.detail  # type: ignore[union-attr]
    assert "correlation id" in no_scope.detail  # type: ignore[union-attr]


async def test_groups_and_keys_of_batches() -> None:
    target = connector()
    same = [lead(0, Email="A@b.co"), lead(1, Email="a@B.co ")]
    assert len({target.batch_key(each) for each in same}) == 1
    assert len({target.batch_group(each) for each in same}) == 1
    custom = [with_route(with_fields(lead(4), k=key), match="k") for key in ("Key", "kEY")]
    assert len({target.batch_key(each) for each in custom}) == 1
    unkeyed = [lead(2, Email=""), lead(3, Email="")]
    assert len({target.batch_group(each) for each in unkeyed}) == 2
    await target.close()


async def test_quotas_are_what_the_headers_say() -> None:
    async with HubSpotSandbox(now=lambda: NOW) as crm:
        target = connector(crm, context())
        assert target.quotas() == ()
        await target.deliver([lead(0)])
        day, window = target.quotas()
        await target.close()
    assert (day.name, day.limit, day.remaining, day.until) == ("daily", 250_000, 249_999, NOW + 1800)
    assert (window.name, window.limit, window.remaining, window.until) == ("10 s", 100, 99, NOW + 10)


async def test_a_record_that_cannot_be_sent_does_not_keep_the_others() -> None:
    async with HubSpotSandbox() as crm:
        first, second = await deliver(crm, with_fields(lead(0), firstname={"a": 1}), lead(1))
        assert isinstance(first, Rejected)
        assert first.reason is Reason.MAPPING
        assert isinstance(second, Delivered)
