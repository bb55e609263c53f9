from dataclasses import replace
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.salesforce.duplicates import Allow, Learn, Update, resolve
from connectors.salesforce.errors import (
    SalesforceProblem,
    call_outcome,
    is_refusal,
    outcome,
    read_salesforce_problem,
    record_outcomes,
)
from connectors.salesforce.status_codes import ErrorKind
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import route

SECRETS = Secrets("s3cret")


def answer(status: int, document: Any) -> Answer:
    return Answer(status, CIMultiDict(), document if isinstance(document, bytes) else orjson.dumps(document))


def said(status: int, code: str, message: str = "words") -> Retry | Rejected | None:
    return call_outcome(answer(status, [{"errorCode": code, "message": message}]), NOW, SECRETS)


@pytest.mark.parametrize(
    ("status", "code", "message", "reason", "after"),
    [
        (401, "INVALID_SESSION_ID", "Session expired or invalid", Reason.UNAUTHORIZED, None),
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", Reason.RATE_LIMITED, 900),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent ...)", Reason.RATE_LIMITED, 5),
        (400, "INVALID_FIELD", "No such column 'X' on sobject of type Lead", Reason.REFUSED, None),
        (400, "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: X", Reason.REFUSED, None),
        (400, "INVALID_TYPE", "sObject type 'X' is not supported.", Reason.REFUSED, None),
        (403, "API_DISABLED_FOR_ORG", "The REST API is not enabled", Reason.FORBIDDEN, None),
        (400, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access", Reason.FORBIDDEN, None),
        (404, "NOT_FOUND", "Provided external ID field does not exist", Reason.NOT_FOUND, None),
        (410, "GONE", "This API version has been retired.", Reason.GONE, None),
        (410, "UNSUPPORTED_API_VERSION", "retired", Reason.GONE, None),
    ],
)
def test_what_stops_every_record_holds_the_destination(
    status: int, code: str, message: str, reason: Reason, after: float | None
) -> None:
    meant = said(status, code, message)
    assert isinstance(meant, Retry)
    assert (meant.blame, meant.reason, meant.after, meant.status) == (Blame.DESTINATION, reason, after, status)
    assert code in meant.detail


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (503, "SERVER_UNAVAILABLE", "The server is unavailable"),
        (500, "UNKNOWN_EXCEPTION", "An unexpected error occurred"),
        (500, "SOMETHING_NEW", "words"),
    ],
)
def test_salesforces_own_failures_are_unclear(status: int, code: str, message: str) -> None:
    meant = said(status, code, message)
    assert isinstance(meant, Retry)
    assert (meant.blame, meant.reason) == (Blame.UNCLEAR, Reason.SERVER_ERROR)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: execution of AfterUpdate: UNABLE_TO_LOCK_ROW, unable"),
        ("DUPLICATE_VALUE", "Duplicate external id specified: k1"),
        ("ENTITY_IS_DELETED", "entity is deleted"),
    ],
)
def test_what_passes_is_tried_again(code: str, message: str) -> None:
    meant = said(400, code, message)
    assert isinstance(meant, Retry)
    assert (meant.blame, meant.reason) == (Blame.RECORD, Reason.CONFLICT)


@pytest.mark.parametrize(
    "code",
    [
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "INVALID_EMAIL_ADDRESS",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "JSON_PARSER_ERROR",
        "REQUIRED_FIELD_MISSING",
        "SOMETHING_NEW",
        "STRING_TOO_LONG",
    ],
)
def test_what_refuses_the_whole_call_is_some_records_fault(code: str) -> None:
    assert said(400, code) == Rejected(Reason.REFUSED, f"{code}: words", Blame.BATCH, 400)


@pytest.mark.parametrize("code", ["DUPLICATES_DETECTED", "DUPLICATE_VALUE"])
def test_a_duplicate_that_is_not_resolved_is_a_conflict(code: str) -> None:
    assert said(400, code) == Rejected(Reason.CONFLICT, f"{code}: words", Blame.BATCH, 400)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"[1]", b'[{"message": "x"}]', b'"x"', b"\xff"])
@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 401, 404, 500, 502, 503, 504])
def test_what_is_no_error_of_salesforces_means_what_its_status_means(status: int, body: bytes) -> None:
    meant = call_outcome(answer(status, body), NOW, SECRETS)
    assert (meant is None) == (status == 200)
    assert not isinstance(meant, Delivered)
    if status >= 500 or 200 < status < 300:
        assert isinstance(meant, Retry)


def test_the_first_cause_counts() -> None:
    halted = {"errorCode": "PROCESSING_HALTED", "message": "The transaction was rolled back"}
    email = {"statusCode": "INVALID_EMAIL_ADDRESS", "message": "Email: invalid email address: x", "fields": ["Email"]}
    picklist = {"statusCode": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "message": "Source", "fields": ["LeadSource"]}
    missing = {"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing", "fields": ["Company"]}
    both = read_salesforce_problem([halted, email, picklist], 400, SECRETS)
    assert both is not None
    assert (both.code, both.fields) == ("INVALID_EMAIL_ADDRESS", ("Email", "LeadSource"))
    worse = read_salesforce_problem([email, missing], 400, SECRETS)
    assert worse is not None
    assert worse.words == "REQUIRED_FIELD_MISSING: Required fields are missing [Company]"
    only = read_salesforce_problem([halted], 400, SECRETS)
    assert only is not None
    assert only.kind is ErrorKind.HALTED


def test_secrets_are_masked_in_its_words() -> None:
    assert "s3cret" not in repr(said(400, "X", "Bearer s3cret"))


WRONG = SalesforceProblem(200, "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights")


def blames(problems: list[SalesforceProblem], people: str, *, described: bool = False) -> set[Blame]:
    found = record_outcomes(problems, [{}] * len(problems), list(people), described=described)
    assert all(isinstance(each, Retry) for each in found)
    return {each.blame for each in found if isinstance(each, Retry)}


@pytest.mark.parametrize("code", ["INSUFFICIENT_ACCESS_OR_READONLY", "NOT_FOUND", "INVALID_FIELD", "INVALID_TYPE"])
def test_wrong_rights_are_one_records_own_trouble_whatever_is_beside_it(code: str) -> None:
    wrong = SalesforceProblem(200, code, "words")
    assert blames([wrong], "a") == {Blame.RECORD}
    done = Delivered("00Q", status=200)
    tried, taken = record_outcomes([wrong, done], [{"k": "v"}, {}], "ab")
    assert taken is done
    assert isinstance(tried, Retry)
    assert (tried.blame, tried.memo) == (Blame.RECORD, {"k": "v"})


def test_wrong_rights_are_the_destinations_where_it_is_proven() -> None:
    assert blames([WRONG] * 5, "abcde") == {Blame.DESTINATION}
    assert blames([WRONG] * 4, "abcd") == {Blame.RECORD}
    assert blames([WRONG] * 5, "abcda") == {Blame.RECORD}  # four people
    assert blames([*[WRONG] * 4, SalesforceProblem(200, "NOT_FOUND", "")], "abcde") == {Blame.RECORD}
    assert blames([WRONG], "a", described=True) == {Blame.DESTINATION}
    assert blames([replace(WRONG, is_whole_call=True)], "a") == {Blame.DESTINATION}
    assert blames([SalesforceProblem(200, "STORAGE_LIMIT_EXCEEDED", "")], "a") == {Blame.DESTINATION}
    assert blames([SalesforceProblem(200, "UNABLE_TO_LOCK_ROW", "")], "a", described=True) == {Blame.RECORD}


@pytest.mark.parametrize(
    ("code", "message", "fields"),
    [
        ("INVALID_FIELD", "No such column 'Nope__c' on sobject of type Lead", ("Nope__c",)),
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: A__c, B. Please check", ("A__c", "B")),
        ("INVALID_EMAIL_ADDRESS", "Email: invalid email address: x", ("Email",)),
        ("INVALID_FIELD", "words", ()),
        ("NOT_FOUND", "No such column 'X'", ()),
    ],
)
def test_a_message_names_its_fields(code: str, message: str, fields: tuple[str, ...]) -> None:
    assert SalesforceProblem(400, code, message).named == fields


def test_a_question_that_is_refused_is_told_from_one_that_fails() -> None:
    assert is_refusal(outcome(SalesforceProblem(404, "NOT_FOUND", "")))
    assert is_refusal(outcome(SalesforceProblem(400, "INVALID_FIELD", "")))
    assert not is_refusal(outcome(SalesforceProblem(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests")))
    assert not is_refusal(outcome(SalesforceProblem(500, "UNKNOWN_EXCEPTION", "")))


def duplicate(spelling: str, *found: tuple[str, str, float], allows: bool = True) -> SalesforceProblem:
    records = [
        {"matchConfidence": sure, "record": {"attributes": {"type": kind}, "Id": name}} for name, kind, sure in found
    ]
    result = {"allowSave": allows, "matchResults": [{"entityType": "Lead", "matchRecords": records}]}
    document = [{spelling: result, "errorCode": "DUPLICATES_DETECTED", "message": "Use one of these records?"}]
    problem = read_salesforce_problem(document, 400, SECRETS)
    assert problem is not None
    return problem


@pytest.mark.parametrize("spelling", ["duplicateResut", "duplicateResult"])
def test_the_surest_match_of_the_object_is_updated(spelling: str) -> None:
    problem = duplicate(spelling, ("003A", "Contact", 100.0), ("00QA", "Lead", 70.0), ("00QB", "Lead", 90.0))
    found = resolve(problem, route())
    assert isinstance(found, Update)
    assert found.id == "00QB"
    assert resolve(problem, route(duplicates="allow")) is None
    assert resolve(problem, route(duplicates="dead_letter")) is None


def test_a_match_of_another_object_is_saved_beside_where_the_rule_allows_it() -> None:
    assert isinstance(resolve(duplicate("duplicateResult", ("003A", "Contact", 100.0)), route()), Allow)
    blocked = duplicate("duplicateResult", ("003A", "Contact", 100.0), allows=False)
    assert resolve(blocked, route()) is None


def test_the_short_form_of_a_collection_asks_for_the_long_one() -> None:
    assert isinstance(
        resolve(SalesforceProblem(200, "DUPLICATES_DETECTED", "Use one of these records?"), route()), Learn
    )


def test_a_unique_field_names_the_other_record() -> None:
    words = "duplicate value found: Phone__c duplicates value on record with id: 00Q5g0000000001"
    found = resolve(SalesforceProblem(200, "DUPLICATE_VALUE", words), route())
    assert isinstance(found, Update)
    assert found.id == "00Q5g0000000001"
    assert resolve(SalesforceProblem(200, "DUPLICATE_VALUE", "on record with id: <unknown>"), route()) is None


@pytest.mark.parametrize(
    "result",
    [1, {}, {"matchResults": 1}, {"matchResults": [1, {"matchRecords": 1}, {"matchRecords": [1, {"record": {}}]}]}],
)
def test_a_duplicate_that_cannot_be_read_does_no_harm(result: Any) -> None:
    problem = read_salesforce_problem([{"errorCode": "DUPLICATES_DETECTED", "duplicateResult": result}], 400, SECRETS)
    assert problem is not None
    assert problem.matches == ()
