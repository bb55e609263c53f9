"""Every published error code has one kind, and each kind one reaction."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.salesforce.errors import SalesforceProblem, outcome
from connectors.salesforce.status_codes import KINDS, ErrorKind
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox
from connectors.testing.salesforce.problems import Problem, ProblemError
from tests.connectors.salesforce.building import FIELDS, connector, leads, record, route

REACTIONS = {
    ErrorKind.ACCOUNT: (Retry, Blame.DESTINATION),
    ErrorKind.CONFIGURATION: (Retry, Blame.RECORD),
    ErrorKind.CONVERTED: (Rejected, Blame.RECORD),
    ErrorKind.DUPLICATE: (Rejected, Blame.RECORD),
    ErrorKind.FIELD: (Retry, Blame.RECORD),
    ErrorKind.HALTED: (Retry, Blame.UNCLEAR),
    ErrorKind.HELD: (Retry, Blame.RECORD),
    ErrorKind.LOCKED: (Retry, Blame.RECORD),
    ErrorKind.NESTED: (Rejected, Blame.RECORD),
    ErrorKind.REFUSED: (Rejected, Blame.RECORD),
    ErrorKind.SERVER: (Retry, Blame.UNCLEAR),
    ErrorKind.SESSION: (Retry, Blame.DESTINATION),
    ErrorKind.VALUE: (Rejected, Blame.RECORD),
    ErrorKind.VANISHED: (Retry, Blame.RECORD),
}


def test_the_table_has_all_codes_of_the_list() -> None:
    """592 values of `StatusCode`, and six codes that only answers as a whole have."""
    assert len(KINDS) == 592 + 6


@pytest.mark.parametrize("kind", REACTIONS)
def test_each_code_has_the_reaction_of_its_kind(kind: ErrorKind) -> None:
    codes = [code for code, known in KINDS.items() if known is kind]
    assert codes
    for code in codes:
        found = outcome(SalesforceProblem(200, code, "words"))
        assert (type(found), found.blame) == REACTIONS[kind], code
        assert found.detail.startswith(code)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("ENTITY_IS_LOCKED", "the entity is locked for editing", ErrorKind.HELD),
        ("LIMIT_EXCEEDED", "System.LimitException: Too many SOQL queries: 101", ErrorKind.LOCKED),
        ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", ErrorKind.LOCKED),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "LeadTrigger: UNABLE_TO_LOCK_ROW, unable to", ErrorKind.LOCKED),
        ("CANNOT_EXECUTE_FLOW_TRIGGER", "Apex CPU time limit exceeded", ErrorKind.LOCKED),
        ("CANNOT_EXECUTE_FLOW_TRIGGER", "The flow failed", ErrorKind.REFUSED),
        ("CUSTOM_APEX_ERROR", "Too many concurrent requests", ErrorKind.LOCKED),
        ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", ErrorKind.EXHAUSTED),
        ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded.", ErrorKind.BUSY),
        ("INSUFFICIENT_ACCESS_OF_A_NEW_KIND", "words", ErrorKind.CONFIGURATION),
        ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights", ErrorKind.CONFIGURATION),
        ("A_CODE_OF_NEXT_YEAR", "words", ErrorKind.REFUSED),
    ],
)
def test_a_message_decides_where_the_code_does_not(code: str, message: str, kind: ErrorKind) -> None:
    assert SalesforceProblem(200, code, message).kind is kind


def test_one_record_held_by_an_approval_is_tried_again_alone() -> None:
    found = outcome(SalesforceProblem(200, "ENTITY_IS_LOCKED", "the entity is locked for editing"))
    assert isinstance(found, Retry)
    assert (found.reason, found.blame) == (Reason.CONFLICT, Blame.RECORD)


def fault(status: int, document: Any) -> Fault:
    return Fault.answers(status, {}, orjson.dumps(document))


def warned(outcome: Outcome) -> str | None:
    assert isinstance(outcome, Delivered), outcome
    return outcome.warning


OWNER = "0055g00000ZZZZZ"
REFUSALS = [
    ("INACTIVE_OWNER_OR_USER", "operation performed with inactive user [0055g] as owner of lead", ("OwnerId",)),
    ("INACTIVE_OWNER_OR_USER", "operation performed with inactive user [0055g] as owner of lead", ()),
    ("FIELD_INTEGRITY_EXCEPTION", "Owner ID: id value of incorrect type: 0055g", ("OwnerId",)),
    ("FIELD_INTEGRITY_EXCEPTION", "Owner ID: id value of incorrect type: 0055g", ()),
    ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ("OwnerId",)),
    ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ()),
    ("MALFORMED_ID", "Owner ID: id value of incorrect type: x", ("OwnerId",)),
    ("MALFORMED_ID", "malformed id x", ()),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights on cross-reference id", ("OwnerId",)),
]


@pytest.mark.parametrize(("code", "message", "fields"), REFUSALS)
@pytest.mark.parametrize("whole", [False, True])
async def test_an_optional_field_that_is_refused_does_not_cost_the_lead(
    org: SalesforceSandbox, code: str, message: str, fields: tuple[str, ...], *, whole: bool
) -> None:
    """In the row of a collection, and as the answer to a call with one record."""
    each = record({**FIELDS, "OwnerId": OWNER}, route(remark="Content"))
    document = [{"errorCode": code, "statusCode": code, "message": message, "fields": list(fields)}]
    row = [{"success": False, "errors": document}]
    org.faults.next(fault(400, document) if whole else fault(200, row), on="/composite/sobjects/")
    target = connector(org)
    (done,) = await target.deliver([each])
    await target.close()
    (lead,) = org.leads
    assert warned(done) == "OwnerId refused by Salesforce and left out; the value is in the remark"
    assert lead.fields["Description"] == f'said "hello"\nOwnerId: {OWNER}'
    assert lead.fields["Email"] == FIELDS["Email"]


async def test_a_refused_owner_of_one_lead_costs_the_others_nothing(org: SalesforceSandbox) -> None:
    problem = Problem("INACTIVE_OWNER_OR_USER", "operation performed with inactive user", ("OwnerId",))

    def refuse(_: str, fields: Mapping[str, Any]) -> None:
        if fields["OwnerId"] == OWNER + "AAA":
            raise ProblemError(400, problem)

    org.org.validation_rules.append(refuse)
    target = connector(org)
    records = [*leads(3), record({**FIELDS, "OwnerId": "0055g00000ZZZZZAAA"})]
    outcomes = await target.deliver(records)
    await target.close()
    assert [warned(each) is None for each in outcomes] == [True, True, True, False]
    assert len(org.ledger) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 500])
async def test_an_invalid_session_renews_the_token_whatever_the_status(org: SalesforceSandbox, status: int) -> None:
    document = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
    org.faults.next(fault(status, document), on="/composite/sobjects/")
    target = connector(org)
    outcomes = await target.deliver(leads(2))
    await target.close()
    assert all(each.status == 200 for each in outcomes)
    assert (len(org.leads), len(org.tokens.requests)) == (2, 2)
