from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http.answers import Reader, ResultsReader
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import CallTraits
from connectors.testing import Fault, Sandbox
from tests.connectors.building import NOW, connector, context, record, records

BY_POSITION = {"each": "answer.results", "ok": "result.ok", "error": "result.error"}
BY_KEY = {**BY_POSITION, "match": {"record": "fields.email | lower", "result": "result.key"}}


async def deliver(crm: Sandbox, made: list[Any], **settings: Any) -> list[Outcome]:
    target = connector(crm.url, **settings)
    assert target.batches()
    outcomes = list(await target.deliver(made))
    await target.close()
    return outcomes


@pytest.mark.parametrize("results", [BY_POSITION, BY_KEY])
async def test_one_call_and_an_outcome_for_each(results: dict[str, Any]) -> None:
    async with Sandbox() as crm:
        outcomes = await deliver(crm, records(100), results=results, remote_id="result.id")
    assert outcomes == [Delivered(remote_id=str(number + 1), status=200) for number in range(100)]
    assert (len(crm.ledger), len(crm.records)) == (1, 100)


async def test_a_record_that_is_refused_does_not_touch_the_others() -> None:
    async with Sandbox(required=["email"]) as crm:
        made = [*records(2), record({"name": "nobody"}), record({"email": "Z@example.com"})]
        outcomes = await deliver(crm, made, results=BY_POSITION)
    assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered, Rejected, Delivered]
    assert outcomes[2] == Rejected(
        Reason.REFUSED,
        'it answered 200, but results.ok is not true for this record ("required: email")',
        Blame.RECORD,
        200,
    )


async def test_results_in_another_order_are_matched_by_their_key() -> None:
    async with Sandbox(shuffled=True) as crm:
        made = [record({"email": f"Lead{number}@Example.com"}) for number in range(20)]
        outcomes = await deliver(crm, made, results=BY_KEY, remote_id="result.key")
    assert [outcome.remote_id for outcome in outcomes if isinstance(outcome, Delivered)] == [
        f"lead{number}@example.com" for number in range(20)
    ]


async def test_what_is_wrong_with_one_record_alone_keeps_it_from_the_call() -> None:
    async with Sandbox() as crm:
        unsendable = record({"email": "x@example.com", "x": {"y": object()}})
        without_key = record({"name": "David"})
        outcomes = await deliver(crm, [unsendable, *records(2), without_key], results=BY_KEY)
        assert [type(outcome) for outcome in outcomes] == [Rejected, Delivered, Delivered, Rejected]
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Rejected)} == {Reason.MAPPING}
        assert len(crm.records) == 2
        assert all(isinstance(each, Rejected) for each in await deliver(crm, [unsendable], results=BY_KEY))
        assert len(crm.ledger) == 1


async def test_a_call_that_is_refused_as_a_whole_is_to_be_split() -> None:
    async with Sandbox(max_batch=2) as crm:
        outcomes = await deliver(crm, records(3), results=BY_POSITION)
    assert (
        outcomes
        == [
            Rejected(
                Reason.REFUSED,
                'it answered 400: it refuses the request ("1 to 2 records are allowed, got 3")',
                Blame.BATCH,
                400,
            )
        ]
        * 3
    )


async def test_a_call_without_a_whole_answer_leaves_all_of_them_open() -> None:
    async with Sandbox() as crm:
        crm.faults.next(Fault.half_an_answer())
        outcomes = await deliver(crm, records(3), results=BY_POSITION)
    assert {type(outcome) for outcome in outcomes} == {Retry}
    assert len(crm.records) == 3


def test_two_records_with_the_same_key_never_share_a_call() -> None:
    target = connector("https://crm.example/", results=BY_KEY)
    first, second = record({"email": "A@b.co"}), record({"email": "a@b.co"})
    assert target.batch_key(first) == target.batch_key(second) == "a@b.co"
    nobody = record({"name": "x"})
    assert target.batch_key(nobody) == nobody.id
    by_position = connector("https://crm.example/", results=BY_POSITION)
    assert by_position.batch_key(first) == first.id
    assert by_position.batch_group(first) == by_position.batch_group(second)


def read(document: Any, made: list[Any], status: int = 200, **settings: Any) -> list[Outcome]:
    parsed = HttpSettings.model_validate({"url": "https://crm.example/", "results": BY_POSITION, **settings})
    assert parsed.results is not None
    reader = ResultsReader(parsed.results, context(), Reader(parsed, context(), CallTraits(), Secrets("sesame")))
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return reader.outcomes(Answer(status, CIMultiDict(), body), made, NOW)


@pytest.mark.parametrize(
    "document",
    [
        {"results": [{"ok": True}]},
        {"results": [{"ok": True}] * 3},
        {"results": []},
        {"results": None},
        {"results": {"a": 1}},
        {"results": "ok"},
        {},
        [],
        None,
        b"",
        b'{"results": [{"ok": true}, {"ok": tr',
        b"<html>",
    ],
)
@pytest.mark.parametrize("results", [BY_POSITION, BY_KEY])
def test_an_answer_that_does_not_account_for_the_records_delivers_none(document: Any, results: dict[str, Any]) -> None:
    outcomes = read(document, records(2), results=results)
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert isinstance(outcome, Retry)
        assert (outcome.reason, outcome.blame) == (Reason.BAD_ANSWER, Blame.UNCLEAR)


def test_a_record_that_is_not_among_the_results_is_not_delivered() -> None:
    document = {"results": [{"ok": True, "key": "lead1@example.com"}, {"ok": True, "key": "who@example.com"}]}
    missing, found, other = read(document, records(3), results=BY_KEY)
    assert isinstance(found, Delivered)
    for outcome in (missing, other):
        assert isinstance(outcome, Retry)
        assert outcome.blame is Blame.RECORD
        assert outcome.detail == "it answered 200, but says nothing of this record"


def test_two_results_for_one_record_are_none() -> None:
    document = {"results": [{"ok": True, "key": "lead0@example.com"}, {"ok": False, "key": "lead0@example.com"}]}
    (outcome,) = read(document, records(1), results=BY_KEY)
    assert isinstance(outcome, Retry)


def test_results_without_a_key_belong_to_nobody() -> None:
    document = {
        "results": [{"ok": True, "key": None}, {"ok": True}, {"ok": True, "key": True}, {"ok": True, "key": []}]
    }
    assert all(isinstance(outcome, Retry) for outcome in read(document, records(4), results=BY_KEY))
    (outcome,) = read({"results": [{"ok": True}]}, [record({"name": "nobody"})], results=BY_KEY)
    assert isinstance(outcome, Retry)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"ok": False}, Rejected),
        ({"ok": "false"}, Rejected),
        ({"ok": None}, Rejected),
        ({}, Rejected),
        (None, Rejected),
        ({"ok": True}, Delivered),
        ({"ok": "yes"}, Delivered),
    ],
)
def test_one_result(result: Any, expected: type[Outcome]) -> None:
    (outcome,) = read({"results": [result]}, records(1))
    assert isinstance(outcome, expected)


def test_a_result_that_cannot_be_read_is_tried_again() -> None:
    (outcome,) = read({"results": [{"n": "x"}]}, records(1), results={**BY_POSITION, "ok": "result.n > 1"})
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.BAD_ANSWER, Blame.RECORD)


def test_results_may_say_that_a_refusal_passes() -> None:
    (outcome,) = read({"results": [{"ok": False}]}, records(1), results={**BY_POSITION, "otherwise": "retry"})
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.REFUSED, Blame.RECORD)


def test_the_reason_is_found_without_an_expression_and_secrets_in_it_are_masked() -> None:
    (outcome,) = read(
        {"results": [{"ok": False, "message": "wrong: sesame"}]},
        records(1),
        results={"each": "answer.results", "ok": "result.ok"},
    )
    assert isinstance(outcome, Rejected)
    assert outcome.detail == 'it answered 200, but results.ok is not true for this record ("wrong: ***")'


def test_the_call_as_a_whole_must_be_a_success_too() -> None:
    document = {"ok": False, "error": "read only", "results": [{"ok": True}]}
    (outcome,) = read(document, records(1), success={"when": "answer.ok", "otherwise": "reject"})
    assert outcome == Rejected(
        Reason.REFUSED, 'it answered 200, but success.when is not true ("read only")', Blame.BATCH, 200
    )
    assert isinstance(read({"results": [{"ok": True}]}, records(1), status=207)[0], Delivered)
    assert isinstance(read({"results": [{"ok": True}]}, records(1), status=503)[0], Retry)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["ok", "lead0@example.com", "false"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["ok", "key", "error", "results", "id"]), inner)
    ),
)


@given(json_values | st.builds(lambda results: {"results": results}, st.lists(json_values, max_size=4)), st.booleans())
def test_whatever_the_answer_there_is_one_outcome_for_each_record(document: Any, by_key: bool) -> None:
    made = records(3)
    outcomes = read(document, made, results=BY_KEY if by_key else BY_POSITION)
    assert len(outcomes) == 3
    delivered = sum(isinstance(outcome, Delivered) for outcome in outcomes)
    results = document.get("results") if isinstance(document, dict) else None
    said_ok = (
        [each for each in results if isinstance(each, dict) and each.get("ok")] if isinstance(results, list) else []
    )
    assert delivered <= len(said_ok)
