"""The language: what it gives, what it tells before and while it runs, and what it never does."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.expressions.sandbox import ALLOWED_METHODS
from bridge.mapping.mapping import EVENT_NAME_MEMBERS, EVENT_NAMES
from connectors.base import ExpressionError, Expressions

EXPRESSIONS = JinjaExpressions(
    members={"event": EVENT_NAME_MEMBERS["event"]}
)  # the names hold values of all types here
EVENT: Mapping[str, Any] = {
    **dict.fromkeys(EVENT_NAMES, ""),
    "Type": "Lead",
    "FirstName": "Ada",
    "LastName": "Lovelace",
    "Email": "ada@example.com",
    "Content": "hello " * 100,
    "SessionID": 31305,
    "event": {"id": "0f" * 16, "received_at": "2026-11-24T10:00:00.000Z"},
    "chatbot": "acme",
}


def render(source: str, values: Mapping[str, Any] = EVENT, names: frozenset[str] | None = EVENT_NAMES) -> str:
    return EXPRESSIONS.template(source, names)(values)


def evaluate(source: str, values: Mapping[str, Any] = EVENT, names: frozenset[str] | None = EVENT_NAMES) -> Any:
    return EXPRESSIONS.expression(source, names)(values)


def test_it_is_what_connectors_are_promised() -> None:
    promised: Expressions = EXPRESSIONS
    assert promised.template("x")({}) == "x"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ FirstName }} {{ LastName }}", "Ada Lovelace"),
        ("{{ Content | truncate(8) }}", "hello he"),
        ("{{ event.id }}/{{ chatbot }}", "0f" * 16 + "/acme"),
        ("{{ event }}", '{"id":"' + "0f" * 16 + '","received_at":"2026-11-24T10:00:00.000Z"}'),
        ("{% if Email %}mail{% else %}none{% endif %}", "mail"),
        ("{% for word in Content.split()[:3] %}{{ loop.index }}{{ word | upper }}{% endfor %}", "1HELLO2HELLO3HELLO"),
        ("{% set name = FirstName | lower %}{{ name }}", "ada"),
        ("{{ Email.split('@')[1] }}", "example.com"),
        ("{{ PhoneNumber | default('none', true) }}", "none"),
        ("{{ SessionID + 1 }}", "31306"),
        ("{{ '%08d' % SessionID }} {{ '%08d' | format(SessionID) }}", "00031305 00031305"),
        ("{{ Content | regex_replace(pattern='l+', with='L') | truncate(4) }}", "heLo"),
        ("{{ [FirstName, LastName] | map('truncate', 1) | join('.') }}", "A.L"),
        ("{{ ', '.join([FirstName, LastName]) }}", "Ada, Lovelace"),
        ("{{ FirstName.replace('A', 'O') }}{{ FirstName | replace('a', 'o') }}", "OdaAdo"),
        ("{{ 2.5 | round }}{{ 1.234 | round(1) }}", "2.01.2"),
        ("{{ none }}{{ true }}", "true"),
        ("{{ [FirstName, LastName] | map('upper') }}", '["ADA","LOVELACE"]'),
        ("{{ FirstName -}}   \n", "Ada"),
        ("<b>{{ '<i>' }}</b>", "<b><i></b>"),
        ("ends\n", "ends"),
        ("", ""),
    ],
)
def test_a_template_gives_text(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('Type == "Lead" and (Email or PhoneNumber)', "ada@example.com"),
        ("SessionID", 31305),
        ("SessionID is odd", True),
        ("Content is odd", False),
        ("Type in ['Lead', 'Appointment']", True),
        ("Email is defined and not PhoneNumber", True),
        ("true", True),
        ("none", None),
        ("[1, SessionID]", [1, 31305]),
        ("event", EVENT["event"]),
        ("Email if PhoneNumber", None),
        ("Email | lookup({'ada@example.com': 5})", 5),
        ("SessionID ** 2 % 7", 31305**2 % 7),
        ("Email | length > 3", True),
    ],
)
def test_an_expression_keeps_its_type(source: str, expected: Any) -> None:
    value = evaluate(source)
    assert value == expected
    assert type(value) is type(expected)


ANSWER = {"ok": True, "none": None, "items": {"items": [{"id": 5}], "keys": "k"}, "count": 0, "_links": {"self": "x"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("missing", None),
        ("missing.deeper.still", None),
        ("missing or 'x'", "x"),
        ("items.items[0].id", 5),
        ("items.items[7].id", None),
        ("items.keys", "k"),
        ("items.get('zz', 3)", 3),
        ("_links.self", "x"),
        ("ok and not error", True),
        ("items.items | length", 1),
        ("items.items | map(attribute='id') | list", [5]),
        ("items.items | map(attribute='id')", [5]),
        ("items.items | selectattr('id', 'eq', 7)", []),
        ("_links.keys()", ["self"]),
        ("none is none and count == 0", True),
    ],
)
def test_of_an_answer_what_is_missing_is_empty(source: str, expected: Any) -> None:
    assert evaluate(source, ANSWER, None) == expected


@pytest.mark.parametrize(
    ("source", "line", "column", "told"),
    [
        ("{{ Emial }}", 1, 4, "unknown name `Emial` (did you mean `Email`?)"),
        ("a\nb {{ Email }}\n  {{ Emial }}", 3, 6, "unknown name `Emial` (did you mean `Email`?)"),
        ("{{- Email -}} \r\n {{- Emial }}", 2, 6, "unknown name `Emial` (did you mean `Email`?)"),
        ("{# Emial #}\n{{ Emial }}", 2, 4, "unknown name `Emial` (did you mean `Email`?)"),
        ("{{ Email | trunctae(5) }}", 1, 12, "unknown transform or filter `trunctae` (did you mean `truncate`?)"),
        ("{{ Email |\n lowr }}", 2, 2, "unknown transform or filter `lowr` (did you mean `lower`?)"),
        ("{{ Email | attr('x') }}", 1, 12, "unknown transform or filter `attr`"),
        ("{{ Email is defind }}", 1, 13, "unknown test `defind` (did you mean `defined`?)"),
        ("{{ event.recieved_at }}", 1, 10, "`event` has no `recieved_at` (did you mean `received_at`?)"),
        ("{{ Email | truncate('x') }}", 1, 12, "`n` must be a whole number"),
        ("{{ Email | truncate }}", 1, 12, "needs `n`"),
        ("{{ Email | truncate(*[1]) }}", 1, 12, "write the arguments of"),
        ("{{ Email | regex_extract(Content) }}", 1, 12, "must be a constant here"),
        ("{{ [Email] | map('regex_extract', Content) | list }}", 1, 14, "must be a constant here"),
        ("{{ [Email] | map(Content) | list }}", 1, 14, "a filter in quotes"),
        ("{{ [Email] | map(*['hash']) | list }}", 1, 14, "a filter in quotes"),
        ("{{ [Email] | map('map', 'regex_extract', Content) | list }}", 1, 14, "must be a constant here"),
        ("{{ [Email] | map('nothing') | list }}", 1, None, "unknown transform or filter `nothing`"),
        ("{{ Email | default(1, 2, 3) }}", 1, 12, "filter `default`: too many positional arguments"),
        ("{{ Email.domain() }}", 1, 10, "there is no method `domain`"),
        ("{{ '{:>99}'.format(1) }}", 1, 13, "there is no method `format`"),
        ("{{ range(9) }}", 1, 4, "there is no function `range`"),
        ("{{ upper(Email) }}", 1, 4, "use the filter: `… | upper`"),
        ("{{ Email", 1, 9, "ends too early"),
        ("{{ }}", 1, 4, "expected an expression, got `}}`"),
        ("{{ Email Email }}", 1, 10, "expected token `}}`, got 'Email'"),
        ("{{ 'x }}", 1, 4, "a quote may not be closed"),
        ("{% if Email %}", 1, 15, "`{% if %}` is never closed: add `{% endif %}`"),
        ("x {% include 'y' %}", 1, 6, "`{% include %}` is not available"),
        ("{% macro f() %}{% endmacro %}", 1, 4, "`{% macro %}` is not available"),
        ("{% for a in Content recursive %}{% endfor %}", 1, 21, "recursive"),
        ("{{ self }}", 1, 4, "unknown name `self`"),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", 1, None, "nested too deeply"),
        ("{{ " + "1" * 5000 + " }}", 1, None, "a number that is too long"),
        ("{{ " + " and ".join(["Email"] * 3000) + " }}", 1, None, "nested too deeply"),
        ("x" * 70_000, 1, None, "longer than"),
    ],
)
def test_what_is_wrong_in_a_template_is_told_with_its_place(
    source: str, line: int, column: int | None, told: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        EXPRESSIONS.template(source, EVENT_NAMES)
    assert told in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "line", "column", "told"),
    [
        ("", 1, None, "is empty"),
        ("Type =", 1, 6, "two values are compared with `==`"),
        ("{{ Type }}", 1, 1, "without `{{` and `}}`"),
        ("Email and\n  Phone", 2, 3, "unknown name `Phone` (did you mean `PhoneNumber`?)"),
        ("Email ==", 1, 9, "ends too early"),
        ("(Email", 1, 7, "ends too early: expected ')'"),
        ('Email == "x', 1, 10, "a quote may not be closed"),
        ("Email ? 1", 1, 7, "unexpected '?'"),
    ],
)
def test_what_is_wrong_in_an_expression_is_told_with_its_place(
    source: str, line: int, column: int | None, told: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        EXPRESSIONS.expression(source, EVENT_NAMES)
    assert told in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "line", "told"),
    [
        ("\n\n{{ SessionID + Email }}", 3, "unsupported operand type(s) for +: 'int' and 'str'"),
        ("{% if Email %}\n{{ SessionID / 0 }}{% endif %}", 2, "divides by zero"),
        ("{{ Email.foo }}", 1, "there is no `foo`"),
        ("{{ event[Email] }}", 1, "there is no such element"),
        ("{{ Email.upper }}", 1, "a method needs its `()`"),
        ("{{ Email | truncate(Email) }}", 1, "`n` must be a whole number"),
        ("{{ Email.index('zz') }}", 1, "cannot be computed for this event's values (ValueError)"),
        ("{{ x }}{% set x = Email %}", 1, "'x' is undefined"),
        ("{{ Email.__class__ }}", 1, "there is no `__class__`"),
        ("{{ Email['__class__'] }}", 1, "there is no such element"),
        ("{{ Email['format'] }}", 1, "there is no such element"),
    ],
)
def test_a_failure_is_told_with_its_line_and_without_values(source: str, line: int, told: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        render(source)
    assert told in caught.value.message
    assert caught.value.line == line
    assert EVENT["Email"] not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_expression_that_gives_a_method_fails() -> None:
    with pytest.raises(ExpressionError, match="is a method"):
        evaluate("Email.upper")


def test_a_template_over_any_names_is_strict_when_it_runs() -> None:
    template = EXPRESSIONS.template("{{ whatever }}")
    assert template({"whatever": 1}) == "1"
    with pytest.raises(ExpressionError, match="'whatever' is undefined"):
        template({})


HUGE: Mapping[str, Any] = {**EVENT, "SessionID": 10**12, "Content": "%(a)999d{:>999999999}\n" * 20_000}


@pytest.mark.parametrize(
    "source",
    [
        "'x' * SessionID",
        "SessionID * 'x'",
        "[1] * SessionID",
        "SessionID ** SessionID",
        "2 ** 10 ** 1000",
        "'%999999999d' % 1",
        "'%*d' % (SessionID, 1)",
        "'%999999999d' | format(1)",
        "Content % {'a': 1}",
        "Content | format(a=1)",
        "Content.replace('', Content)",
        "Content | replace('', Content)",
        "Content.join(Content)",
        "Content | join(Content)",
        "SessionID | round(SessionID)",
        "[Content] * 3000 | join",
        "Content * 5000",
    ],
)
def test_values_cannot_make_an_expression_large(source: str) -> None:
    started = time.process_time()
    with pytest.raises(ExpressionError):
        evaluate(source, HUGE)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in Content %}{{ a }}{% endfor %}",
        "{% for a in Content %}{% for b in Content %}{% endfor %}{% endfor %}",
        "{% for a in Content.split() %}{{ Content }}{% endfor %}",
        "{% for a in Content if a == 'x' %}{% endfor %}",
        "{% for a in Content %}{{ loop.length }}{% endfor %}",
    ],
)
def test_values_cannot_keep_a_loop_going(source: str) -> None:
    started = time.process_time()
    with pytest.raises(ExpressionError, match=r"steps|longer than"):
        render(source, HUGE)
    assert time.process_time() - started < 1


def test_every_method_on_the_lists_works_and_no_other() -> None:
    for name in ALLOWED_METHODS:
        EXPRESSIONS.template("{{ Email." + name + "() }}", EVENT_NAMES)
    for name in ("format", "format_map", "ljust", "center", "zfill", "expandtabs", "encode", "translate", "to_bytes"):
        with pytest.raises(ExpressionError, match="no method"):
            EXPRESSIONS.template("{{ Email." + name + "() }}", EVENT_NAMES)


def test_the_same_text_is_compiled_once() -> None:
    assert EXPRESSIONS.template("{{ Email }}!", EVENT_NAMES) is EXPRESSIONS.template("{{ Email }}!", EVENT_NAMES)
    assert EXPRESSIONS.template("{{ Email }}!", EVENT_NAMES) is not EXPRESSIONS.template("{{ Email }}!", None)


@given(st.text(alphabet="{}%#|()[].,'\"=+-*/ \n<>!~:aeEmilxnotifsdrue0123456789_"))
def test_no_text_breaks_the_compiler(source: str) -> None:
    for compile_text in (EXPRESSIONS.template, EXPRESSIONS.expression):
        error = _failure(compile_text, source)
        if error:
            assert 1 <= error.line <= source.count("\n") + source.count("\r") + 1
            assert error.column is None or error.column >= 1


def _failure(compile_text: Any, source: str) -> ExpressionError | None:
    try:
        compile_text(source, EVENT_NAMES)(EVENT)
    except ExpressionError as error:
        return error
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.fixed_dictionaries(dict.fromkeys(sorted(EVENT_NAMES), JSON)))
def test_no_values_break_an_expression(values: dict[str, Any]) -> None:
    for source in ("{{ Email.split('@')[0] | title }}", "{{ SessionID + 1 }}", "{{ event.id }} {{ Content | hash }}"):
        with contextlib.suppress(ExpressionError):
            assert isinstance(render(source, values), str)


def test_it_costs_microseconds() -> None:
    condition = EXPRESSIONS.expression('Type == "Lead" and (Email or PhoneNumber)', EVENT_NAMES)
    template = EXPRESSIONS.template("{{ FirstName }} {{ LastName }}", EVENT_NAMES)
    times = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(1_000):
            condition(EVENT)
            template(EVENT)
        times.append((time.process_time() - started) / 2_000)
    assert min(times) < 20e-6  # some 1 µs on an idle machine
