"""Patterns that can run without end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.expressions.regex_lint import nested_repetition


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*",
        r"(\w+\s?)*x",
        "(x|y+)*",
        "((a+))+",
        "(a+){2,}",
        "(?:a+?)+",
        "(^a+)+",
        r"(\s*\w+\s*)*",
        "(?P<n>a*)+",
        "x(?=(a+)+)",
        "(?>(a+)+)",
        "(b(a+)+)?",
    ],
)
def test_what_is_found(pattern: str) -> None:
    assert nested_repetition(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "a+b+",
        r"(\w+\s)*",
        "(a+){2,5}",
        "(?>a+)+",
        "(a++)+",
        r"[\w.+-]+@[\w-]+(\.[\w-]+)+",
        r"(\d{1,3},?)+",
        "(ab+)+",
        "(a|b)*",
        "(.*,)*",
        "(",
        "",
        r"order (\d+)",
    ],
)
def test_what_is_let_pass(pattern: str) -> None:
    assert not nested_repetition(pattern)


@given(st.text(alphabet="ab()[]*+?{}|^$\\w,12:=!<>P", max_size=30))
def test_any_text_can_be_looked_at(pattern: str) -> None:
    assert nested_repetition(pattern) in {True, False}
