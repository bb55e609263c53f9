from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.hubspot.answers import (
    ActivityPage,
    Stored,
    read_associated,
    read_batch,
    read_record,
    read_search_result,
    read_values,
)
from connectors.hubspot.errors import (
    HubSpotProblem,
    answer_outcome,
    problem_in_answer,
    read_hubspot_problem,
    record_outcome,
)
from tests.connectors.building import NOW

INSIDE = (
    'Property values were not valid: [{"isValid":false,"message":"Property \\"missing\\" does not exist",'
    '"error":"PROPERTY_DOESNT_EXIST","name":"missing","localizedErrorMessage":"...","portalId":891936587}]'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "context", "errors", "results", "id", "objectWriteTraceId", "properties", "new"]
            )
            | st.sampled_from(
                ["numErrors", "from", "to", "toObjectId", "paging", "next", "fromObjectId", "subCategory"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return Answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


def batch(document: Any, *asked: tuple[str, str]) -> list[Stored | HubSpotProblem | None]:
    return read_batch(answer(document), asked, lambda properties: properties.get("email"), Secrets())


def test_the_reasons_are_read_from_inside_the_message() -> None:
    context = {"objectWriteTraceId": ["549b1c2a9351"]}
    problem = read_hubspot_problem({"category": "VALIDATION_ERROR", "message": INSIDE, "context": context}, Secrets())
    assert problem.refused == {"missing": 'Property "missing" does not exist'}
    assert problem.is_schema
    assert problem.trace_ids == ("549b1c2a9351",)
    assert problem.words == 'Property "missing" does not exist'


def test_the_reasons_are_read_from_the_list_too() -> None:
    errors = [{"message": "not allowed", "code": "INVALID_OPTION", "context": {"propertyName": ["a", "b"]}}]
    problem = read_hubspot_problem({"message": INSIDE, "errors": errors}, Secrets())
    assert problem.refused.keys() == {"missing", "a", "b"}
    assert not problem.is_schema


def test_a_value_that_another_record_has_names_its_property() -> None:
    message = "Cannot set PropertyValueCoordinates{portalId=1, propertyName=lead_key, value=k} on 2. 3 has that value."
    assert read_hubspot_problem({"message": message}, Secrets()).refused == {"lead_key": message}


@pytest.mark.parametrize(
    ("document", "existing"),
    [
        ({"message": "Contact already exists. Existing ID: 12345"}, "12345"),
        ({"message": "Contact already exists"}, None),
        ({"message": "", "context": {"existingId": ["171591000198"]}}, "171591000198"),
        ({"context": {"existingId": 7}}, "7"),
        ({"context": {"existingId": None}}, None),
    ],
)
def test_the_existing_record_is_found(document: dict[str, Any], existing: str | None) -> None:
    assert read_hubspot_problem(document, Secrets()).existing == existing


def test_words_are_masked_and_cut_but_keep_the_correlation_id() -> None:
    problem = read_hubspot_problem(
        {"message": "my-secret " + "x" * 1000, "correlationId": "abc-1"}, Secrets("my-secret")
    )
    assert problem.words.startswith("*** x")
    assert problem.words.endswith("…; correlation id abc-1")


@pytest.mark.parametrize(
    ("category", "verdict", "reason"),
    [
        ("VALIDATION_ERROR", Rejected, Reason.REFUSED),
        ("OBJECT_NOT_FOUND", Rejected, Reason.REFUSED),
        ("CONFLICT", Rejected, Reason.CONFLICT),
        ("SOMETHING_NEW", Retry, Reason.REFUSED),
        ("", Retry, Reason.REFUSED),
    ],
)
def test_an_element_is_judged_by_its_category(category: str, verdict: type, reason: Reason) -> None:
    outcome = record_outcome(HubSpotProblem(category=category), 207)
    assert type(outcome) is verdict
    assert (outcome.reason, outcome.blame, outcome.status) == (reason, Blame.RECORD, 207)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_has_an_outcome_that_is_no_success(status: int) -> None:
    given = answer({"message": "no"}, status)
    outcome = answer_outcome(given, problem_in_answer(given, Secrets()), NOW)
    assert isinstance(outcome, Retry | Rejected)
    assert outcome.status == status


def test_the_window_of_a_limit_is_the_headers() -> None:
    body = {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
    given = answer(body, 429, X_HubSpot_RateLimit_Interval_Milliseconds="3000")
    outcome = answer_outcome(given, problem_in_answer(given, Secrets()), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after == 3.0


@pytest.mark.parametrize(
    ("message", "after"),
    [
        ("You have reached your daily limit.", 1800.0),
        ("You have reached your secondly limit.", 1.0),
        ("You have reached your ten_secondly_rolling limit.", 10.0),
        ("You have reached a limit.", 10.0),
    ],
)
def test_a_limit_without_its_policy_is_known_by_its_message(message: str, after: float) -> None:
    given = answer({"status": "error", "message": message, "errorType": "RATE_LIMIT"}, 429)
    outcome = answer_outcome(given, problem_in_answer(given, Secrets()), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after == after


@pytest.mark.parametrize("is_inside", [True, False])
def test_missing_scopes_are_named_wherever_they_stand(*, is_inside: bool) -> None:
    context = {"requiredGranularScopes": ["crm.objects.contacts.write"]}
    document: dict[str, Any] = {"category": "MISSING_SCOPES", "message": "Not all of the scopes are present."}
    document |= {"errors": [{"message": "one of these", "context": context}]} if is_inside else {"context": context}
    assert "one of the scopes crm.objects.contacts.write is required" in read_hubspot_problem(document, Secrets()).words


def test_results_are_found_by_trace_id_then_by_key_never_by_order() -> None:
    results = [
        {"id": "2", "new": True, "objectWriteTraceId": "t2", "url": "https://app.hubspot.com/2"},
        {"id": "1", "properties": {"email": "a@b.co"}, "url": "javascript:x"},
        {"id": "9", "objectWriteTraceId": "stranger"},
        {"objectWriteTraceId": "t3"},
    ]
    asked = (("t1", "a@b.co"), ("t2", "c@d.co"), ("t3", "e@f.co"), ("t4", "g@h.co"))
    assert batch({"results": results}, *asked) == [
        Stored("1", 200),
        Stored("2", 200, new=True, url="https://app.hubspot.com/2"),
        None,
        None,
    ]


def test_errors_are_read_whatever_the_status_says() -> None:
    errors = [{"category": "CONFLICT", "context": {"objectWriteTraceId": ["t1"]}}, {"context": {"ids": ["c@d.co"]}}]
    first, second, third = batch({"results": [], "errors": errors}, ("t1", "a"), ("t2", "c@d.co"), ("t3", "e"))
    assert isinstance(first, HubSpotProblem)
    assert isinstance(second, HubSpotProblem)
    assert third is None


def test_of_a_single_input_the_only_result_or_error_is_its_own() -> None:
    assert batch({"results": [{"id": "1"}]}, ("t", "k")) == [Stored("1", 200)]
    (problem,) = batch({"errors": [{"category": "VALIDATION_ERROR"}]}, ("t", "k"))
    assert isinstance(problem, HubSpotProblem)


RESULTS = [{"id": "1", "objectWriteTraceId": "t1"}, {"id": "2", "objectWriteTraceId": "t2"}]
BOTH = (("t1", "a"), ("t2", "b"))
ERROR = {"category": "VALIDATION_ERROR", "message": "no"}
MINE = {**ERROR, "context": {"objectWriteTraceId": ["t2"]}}


@pytest.mark.parametrize(
    ("document", "stored"),
    [
        ({"results": RESULTS}, 2),
        ({"results": RESULTS, "numErrors": 0}, 2),
        ({"results": RESULTS, "numErrors": 1}, 0),
        ({"results": RESULTS, "numErrors": 1, "errors": [ERROR]}, 0),
        ({"results": RESULTS, "errors": [ERROR]}, 0),
        ({"results": RESULTS[:1], "numErrors": 1}, 1),
        ({"results": RESULTS[:1], "numErrors": 1, "errors": [MINE]}, 1),
        ({"results": RESULTS[:1], "numErrors": 2, "errors": [MINE]}, 0),
        ({"results": RESULTS[:1], "numErrors": "2", "errors": [MINE]}, 1),
        ({"results": [], "numErrors": 0, "errors": []}, 0),
    ],
)
def test_more_errors_than_are_accounted_for_put_the_results_in_doubt(document: dict[str, Any], stored: int) -> None:
    assert sum(isinstance(each, Stored) for each in batch(document, *BOTH)) == stored


def test_a_problem_shows_no_words() -> None:
    assert "secret" not in repr(read_hubspot_problem({"message": "secret", "category": "secret"}, Secrets()))


NONE = {"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND", "context": {"fromObjectId": ["2"]}}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"results": [{"from": {"id": "1"}, "to": [{"toObjectId": 7}, {"toObjectId": "8"}]}]}, (("7", "8"), ())),
        ({"results": [], "errors": [NONE], "numErrors": 1}, ((), ())),
        ({"results": [], "errors": [NONE], "numErrors": 2}, (None, ())),
        ({"results": [], "errors": [NONE, ERROR]}, (None, ())),
        ({"results": []}, ((), ())),
    ],
)
def test_associations_are_of_those_that_are_named(document: dict[str, Any], told: tuple[Any, ...]) -> None:
    pages = read_associated(answer(document), ["1", "2"])
    assert isinstance(pages, dict)
    assert tuple(each.ids if isinstance(each, ActivityPage) else None for each in pages.values()) == told


@given(JSON)
def test_no_answer_breaks_the_reading(document: object) -> None:
    read_hubspot_problem(document, Secrets())
    batch(document, ("t1", "k1"), ("t2", "k2"))
    given_answer = answer(document)
    read_record(given_answer, new=True)
    read_search_result(given_answer)
    read_associated(given_answer, ["1", "2"])
    read_values(given_answer, "hs_note_body")


def test_an_answer_that_is_no_json_says_nothing() -> None:
    broken = answer(b"<html>")
    assert isinstance(read_record(broken, new=True), Retry)
    assert isinstance(read_search_result(broken), Retry)
    assert isinstance(read_associated(broken, ["1"]), Retry)
    assert isinstance(read_values(broken, "hs_note_body"), Retry)
