"""Many leads at once, as the lane would hand them over: in batches, with what fails coming again."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from connectors.base import Delivered, Outcome, Record, Rejected
from connectors.salesforce import SalesforceConnector
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.subject import MemoryVault
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import FIELDS, KEY, appointment, connector, leads, record, route


async def deliver(target: SalesforceConnector, records: Sequence[Record]) -> dict[str, Outcome]:
    """Deliver records by group, in batches of 200, four at once, until none is left to try again."""
    settled: dict[str, Outcome] = {}
    waiting = list(records)
    gate = asyncio.Semaphore(4)

    async def call(batch: Sequence[Record]) -> Sequence[Outcome]:
        async with gate:
            return await target.deliver(batch)

    for _ in range(20):
        groups: dict[object, list[Record]] = {}
        for each in waiting:
            groups.setdefault(target.batch_group(each), []).append(each)
        batches = [group[start : start + 200] for group in groups.values() for start in range(0, len(group), 200)]
        results = await asyncio.gather(*map(call, batches))
        said = [
            pair for batch, result in zip(batches, results, strict=True) for pair in zip(batch, result, strict=True)
        ]
        settled |= {each.id: outcome for each, outcome in said if isinstance(outcome, Delivered | Rejected)}
        waiting = [
            replace(each, is_repeat=True, memo={**each.memo, **outcome.memo})
            for each, outcome in said
            if each.id not in settled
        ]
        if not waiting:
            return settled
    raise AssertionError(f"{len(waiting)} are never settled")


async def test_a_thousand_leads_cost_five_calls_and_a_describe(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    outcomes = await deliver(target, leads(1000, made))
    assert Counter(type(each) for each in outcomes.values()) == {Delivered: 1000}
    assert (len(org.ledger), len(org.tokens.requests), len(org.leads)) == (6, 1, 1000)


async def test_poisoned_leads_die_alone(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda _, fields: "No free mail" if "free" in str(fields["Email"]) else None)
    records = leads(1000)
    for number in range(7):
        at = number * 140
        records[at] = replace(records[at], fields={**records[at].fields, "Email": f"free{number}@example.com"})
    outcomes = await deliver(target, records)
    assert Counter(type(each) for each in outcomes.values()) == {Delivered: 993, Rejected: 7}
    assert {each.detail for each in outcomes.values() if isinstance(each, Rejected)} == {
        "FIELD_CUSTOM_VALIDATION_EXCEPTION: No free mail"
    }
    assert (len(org.ledger), len(org.leads)) == (6, 993)


async def test_leads_that_were_waiting_when_the_process_began_cost_one_call_more_for_each_batch(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    target.open(MemoryVault())
    outcomes = await deliver(target, leads(1000))
    assert Counter(type(each) for each in outcomes.values()) == {Delivered: 1000}
    assert (len(org.ledger), {lead.assignments for lead in org.leads}) == (11, {1})


async def test_keys_of_any_length_make_no_long_addresses(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    """Two hundred of them are asked for in one call, an appointment is looked for by one."""
    keys = [f"{number}".rjust(255, "é") for number in range(200)]
    records = [record({**FIELDS, "Email": f"l{key.strip('é')}@example.com", KEY: key}, is_repeat=True) for key in keys]
    written = await target.deliver(records)
    appointments = await target.deliver([appointment(fields={**FIELDS, KEY: keys[0]})])
    assert all(isinstance(each, Delivered) for each in (*written, *appointments))
    assert (len(org.leads), len(org.events)) == (200, 1)
    assert max(len(each.path) for each in org.ledger) < 100


async def test_lost_answers_make_nothing_twice() -> None:
    async with SalesforceSandbox(now=lambda: NOW, seed=3) as org:
        org.faults.share(faults.lost_answer(), 0.05)
        target = connector(org)
        made = route(remark="Content")
        events = [appointment(made=made, Email=f"a{number}@b.co") for number in range(60)]
        tasks = [appointment("some day", made=made) for _ in range(60)]
        records = [*leads(400, made), *events, *tasks]
        outcomes = await deliver(target, records)
        await target.close()
    assert all(isinstance(each, Delivered) for each in outcomes.values())
    assert sum(each.fault is not None for each in org.ledger) > 5
    assert Counter(lead.fields[KEY] for lead in org.leads) == Counter(each.id for each in records)
    by_key = {lead.id: lead.fields[KEY] for lead in org.leads}
    assert Counter(by_key[each.fields["WhoId"]] for each in org.events) == Counter(each.id for each in events)
    assert Counter(by_key[each.fields["WhoId"]] for each in org.tasks) == Counter(each.id for each in tasks)
    assert {lead.assignments for lead in org.leads} == {1}


async def test_a_thousand_leads_with_conditional_fields_cost_at_most_twelve_calls(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    """Half of the people are known: one read and one write for each batch, and the schema of leads."""
    made = route(remark="Content")
    people = [{**FIELDS, "Email": f"l{number}@example.com", KEY: f"l{number}@example.com"} for number in range(1000)]
    await deliver(target, [record(each, made) for each in people[::2]])
    for lead in org.leads:
        org.org.rows.change(lead, {"Company": "Own company", "LeadSource": None})
    org.ledger.clear()
    later = [record({**each, "Company": "Default", "LeadSource": "Web", "Status": "New"}, made) for each in people]
    if_empty, create_only = frozenset({"Company", "LeadSource"}), frozenset({"Status"})
    outcomes = await deliver(target, [replace(each, if_empty=if_empty, create_only=create_only) for each in later])
    assert Counter(type(each) for each in outcomes.values()) == {Delivered: 1000}
    assert len(org.ledger) <= 11
    found = Counter((each.fields["Company"], each.fields["LeadSource"], each.fields["Status"]) for each in org.leads)
    known = ("Own company", "Web", "Open - Not Contacted")
    assert found == {known: 500, ("Default", "Web", "New"): 500}


async def test_conditional_fields_of_events_with_their_own_leads_cost_nothing(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    records = [replace(each, if_empty=frozenset({"Company"})) for each in leads(1000)]
    await deliver(target, records)
    assert (len(org.ledger), len(org.leads)) == (6, 1000)
