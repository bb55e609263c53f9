"""Patterns: on RE2, over any text, in linear time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mapping.budget import Budget, LimitError, spending
from bridge.mapping.pattern import Pattern, PatternError, compile_pattern
from tests.acceptance.hostile import PATTERNS

LONG = 1_000_000
SIMPLE = ["x*", "[ \n]+", "é", "(a)(b)?", "[^a]", "$", "^", "a|", "(?i)É", ".", r"\d\d"]
"""Patterns that Python's engine reads in the same way."""


def replaced(pattern: str, text: str, template: str) -> str:
    compiled = compile_pattern(pattern)
    return compiled.replace(text, compiled.replacement(template))


@given(st.sampled_from(SIMPLE), st.text(alphabet="aABbxéÉ€😀 1\n") | st.text())
def test_it_finds_what_pythons_engine_finds(pattern: str, text: str) -> None:
    flagged = f"(?s){pattern}"  # a `$` before a last line break is Python's alone
    if pattern == "$":
        pattern, flagged = r"\z", r"\Z"
    elif not pattern.startswith("(?i)"):
        pattern = flagged
    else:
        flagged = pattern
    found = re.search(flagged, text)
    assert compile_pattern(pattern).extract(text, 0) == (found[0] if found else "")
    assert replaced(pattern, text, "<é>") == re.sub(flagged, "<é>", text)


@pytest.mark.parametrize(
    ("pattern", "text", "template", "result"),
    [
        (r"(\w)(\d)", "é a1", r"\2\1", "é 1a"),
        (r"(?P<x>\d)", "a1", r"[\g<x>]", "a[1]"),
        (r"(\d)", "a1", r"\g<1>0", "a10"),
        ("a", "a", r"\g<0>\g<0>", "aa"),
        ("a", "a", r"ü\n\\\q", "ü\n\\\\q"),
        ("(a)|b", "b", r"<\1>", "<>"),
        ("x*", "é😀", "-", "-é-😀-"),
        (r"\b", "ab cd", "|", "|ab| |cd|"),
        (r"(?m)^", "a\nb", "> ", "> a\n> b"),
        ("a", "\ud800a", "b", "\ud800b"),
    ],
)
def test_a_replacement_may_hold_groups_and_any_letter(pattern: str, text: str, template: str, result: str) -> None:
    assert replaced(pattern, text, template) == result


@pytest.mark.parametrize("template", [r"\1", r"\g<x>", r"\g<1>", r"a\99"])
def test_a_group_that_is_not_there_is_refused(template: str) -> None:
    with pytest.raises(PatternError, match="does not have"):
        compile_pattern("a").replacement(template)


def test_a_wrong_pattern_is_not_shown_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for pattern in ("(?=a)", r"(a)\1", "(", "\ud800", r"\C", "a{1001}"):
        with pytest.raises(PatternError):
            compile_pattern(pattern)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "pattern", "text"), PATTERNS)
def test_a_hostile_text_takes_milliseconds(name: str, pattern: str, text: str) -> None:
    compiled = compile_pattern(pattern)
    began = time.thread_time()
    compiled.extract(text, 0)
    compiled.replace(text, (b"x",))
    assert time.thread_time() - began < 0.1, name


@pytest.mark.parametrize("letter", ["é", "😀"])
def test_texts_beyond_ascii_are_searched_in_linear_time(letter: str) -> None:
    text = letter * (LONG // len(letter.encode())) + "!"
    began = time.thread_time()
    assert compile_pattern("!").extract(text, 0) == "!"
    assert replaced("!", text, letter) == text.replace("!", letter)
    assert time.thread_time() - began < 0.2


def _spend(compiled: Pattern, text: str, template: str = "x") -> int:
    with spending(Budget()) as budget:
        compiled.replace(text, compiled.replacement(template))
    return budget.spent


def test_many_matches_take_steps() -> None:
    few, many = _spend(compile_pattern("x"), "-x" * 100), _spend(compile_pattern("x"), "-x" * 1_000)
    assert 9 < many / few < 11
    with pytest.raises(LimitError):
        _spend(compile_pattern("x"), "x" * LONG)


def test_searches_that_look_far_beyond_their_match_are_bounded() -> None:
    compiled = compile_pattern("a.*b|a")  # each match has looked at all the rest for a `b`
    began = time.thread_time()
    with pytest.raises(LimitError):
        _spend(compiled, "a" * 40_000)
    assert time.thread_time() - began < 1.0


def test_a_replacement_cannot_fill_the_memory() -> None:
    with pytest.raises(LimitError, match="longer than"):
        _spend(compile_pattern("x"), "x" * 10_000, "y" * 10_000)


def test_a_large_pattern_on_a_long_text_is_refused_before_it_runs() -> None:
    compiled = compile_pattern("(.{1,1000})(.{1,1000})$")
    with pytest.raises(LimitError, match="steps"):
        compiled.extract("é" * LONG, 1)
