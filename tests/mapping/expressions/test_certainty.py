"""What is known of an expression before there is an event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import EVENT_NAMES
from connectors.base import ExpressionError

EXPRESSIONS = JinjaExpressions()


@pytest.mark.parametrize(
    ("text", "lead", "appointment"),
    [
        ('Type == "Lead"', True, False),
        ('Type == "lead"', False, False),
        ('"Lead" == Type and Email', None, False),
        ('Type == "Appointment" or Email', None, True),
        ('not (Type == "Lead")', False, True),
        ('Type in ["Lead", "Other"]', True, False),
        ('Type not in ["Lead", "Other"]', False, True),
        ("Email and not true", False, False),
        ("Email or true", True, True),
        ("Email", None, None),
        ("not Email", None, None),
        ("Email if false else ''", False, False),
        ("'x' if Email else 'x'", None, None),  # no more than is easily sure
        ('(Type | lower) == "lead"', True, False),
        ('(Type ~ "s") == "Leads"', True, False),
        ('Type[:4] == "Lead"', True, False),
        ("Type is string", True, True),
        ("1 > 2", False, False),
        ("'' | default('x', true)", True, True),
        ("5 * 0", None, None),  # the sandbox works it out at run time only
        ("1 / 0", None, None),
        ("Email ==", None, None),
    ],
)
def test_what_is_certain(text: str, lead: bool | None, appointment: bool | None) -> None:
    assert EXPRESSIONS.certain_truth(text, {"Type": "Lead"}) is lead
    assert EXPRESSIONS.certain_truth(text, {"Type": "Appointment"}) is appointment


ATOMS = st.sampled_from(
    [
        "Email",
        "PhoneNumber",
        'Type == "Lead"',
        'Type != "Lead"',
        "Type in ['Appointment']",
        "true",
        "false",
        "''",
        "Type",
    ]
)
TEXTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=8,
)


@given(TEXTS, st.sampled_from(["Lead", "Appointment"]), st.sampled_from(["", "a@b.co"]), st.sampled_from(["", "1"]))
def test_what_is_certain_holds_for_every_event(text: str, kind: str, email: str, phone: str) -> None:
    certain = EXPRESSIONS.certain_truth(text, {"Type": kind})
    values: dict[str, Any] = {"Type": kind, "Email": email, "PhoneNumber": phone}
    try:
        value = EXPRESSIONS.expression(text, EVENT_NAMES)(values)
    except ExpressionError:
        return
    assert certain is None or certain is bool(value)
