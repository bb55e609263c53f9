"""Whatever loops, filters, tests and methods an expression uses, the values that strangers send cost bounded work."""

import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.mapping.budget import FIELD_TEXT, Budget, InlineBudget, InlineOverrun, LimitError, spending
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.expressions.filters import INTERNAL_FILTERS
from bridge.mapping.expressions.sandbox import LIST_METHODS, OBJECT_METHODS, TEXT_METHODS, ExpressionSandbox
from bridge.mapping.transforms import BUILTIN
from connectors.base import ExpressionError

EXPRESSIONS = JinjaExpressions()
SANDBOX = ExpressionSandbox(BUILTIN)
STEPS = 5_000_000
SECONDS = 0.15
"""How long an expression may take on any value with so many steps: a tenth of it on an idle machine."""
SIZE = 20_000
MAX_BODY = 1024 * 1024
TEXTS = {
    "commas": "a," * (SIZE // 2),
    "tags": "<!---->" * (SIZE // 7),
    "digits": "9" * MAX_BODY,
    "sharp": "ß" * SIZE,
    "needle": "a" * SIZE + "b" * 99,
}
ARGUMENTS = {
    "date": "('%Y')",
    "e164": "('US')",
    "format": "(Content, Content)",
    "join": "(Content)",
    "lookup": "({'a': 1})",
    "map": "('upper')",
    "phone_country": "('US')",
    "query_param": "('a')",
    "regex_extract": "('a*?b|(a)')",
    "regex_replace": "('a', 'aa')",
    "reject": "('in', Content)",
    "rejectattr": "(Content)",
    "replace": "('a', Content)",
    "round": "(2)",
    "select": "('in', Content)",
    "selectattr": "(Content)",
    "truncate": "(5)",
    "counted": "",
}
LISTS = ("Content | list", "Content.split('a')", "[Content] * 50", "[[[Content] * 9] * 9] * 9")


def sources() -> Iterator[str]:
    for name in sorted(SANDBOX.filters.keys() - INTERNAL_FILTERS):
        call = f"{name}{ARGUMENTS.get(name, '')}"
        yield f"{{{{ Content | {call} }}}}"
        for items in LISTS:
            yield f"{{{{ ({items}) | {call} | list | length }}}}"
        yield f"{{{{ (Content | list) | map('{name}') | list | length }}}}"
    for name in sorted(name for name in SANDBOX.tests if name.isalpha()):
        yield f"{{{{ Content is {name} }}}}{{{{ Content is {name}(Content) }}}}"
        yield f"{{{{ Content | list | select('{name}', Content) | list | length }}}}"
        yield f"{{% for a in Content %}}{{% if Content is {name}(Content ~ a) %}}{{% endif %}}{{% endfor %}}"
    for name in sorted(TEXT_METHODS):
        yield f"{{{{ Content.{name}() }}}}"
        yield f"{{{{ Content.{name}(Content[:5000] ~ 'b') | string | length }}}}"
        yield f"{{% for a in Content %}}{{{{ Content.{name}(a) | string | length }}}}{{% endfor %}}"
    for name in sorted(LIST_METHODS):
        yield f"{{{{ (Content | list).{name}(Content) }}}}{{{{ ([[Content] * 99] * 99).{name}([Content] * 99) }}}}"
    for name in sorted(OBJECT_METHODS):
        yield f"{{{{ {{Content: Content}}.{name}({'Content' if name == 'get' else ''}) | string | length }}}}"


OTHERS = (
    "{% for a in Content %}{% for b in Content %}{{ a ~ b }}{% endfor %}{% endfor %}",
    "{% for a in Content %}{{ Content }}{% endfor %}",
    "{% for a in Content %}{% if Content == Content ~ a %}x{% endif %}{% endfor %}",
    "{% for a in Content %}{% if 'xyz' in Content %}x{% endif %}{% endfor %}",
    "{% for a in Content %}{% if a not in Content %}x{% endif %}{% endfor %}",
    "{% for a in Content %}{% if Content < Content + a %}x{% endif %}{% endfor %}",
    "{% for a in Content %}{{ Content[1:] | length }}{% endfor %}",
    "{% for a in Content %}{{ (Content | list)[::2] | length }}{% endfor %}",
    "{% for a in Content %}{{ loop.length }}{{ loop.revindex }}{% endfor %}",
    "{{ Content * 10 }}",
    "{{ [Content] * 10 ** 9 }}",
    "{{ Content + Content + Content }}",
    "{{ Content ~ Content ~ Content }}",
    "{{ '%s' * 300 % Content }}",
    "{{ '%s%s%s' % (Content, Content, Content) }}",
    "{{ '%999d%999d' % (1, 2) }}",
    "{{ (Content | int) ** 99 }}",
    "{{ (Content | int(0, 16)) // 7 }}{{ (Content | int(0, 16)) % 7 }}{{ (Content | int(0, 16)) * 7 }}",
    "{{ Content | float }}",
    "{% set a = [Content, Content] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "{% set a = ['x'] %}{% set b = ['x'] %}" + "{% set a = [a, a] %}{% set b = [b, b] %}" * 40 + "{{ a == b }}",
    "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a | string }}{{ a ~ '' }}{{ a | join }}{{ [a] | json }}",
    "{% set a = [[Content]] * 300 %}{{ a | sum(start=[]) | length }}",
    "{{ [Content, Content ~ 'x'] | map('map', 'upper') | map('list') | list | length }}",
    "{{ Content | list | sort(attribute=Content) | list }}",
    "{{ Content.strip(Content ~ 'b') }}",
    "{{ Content.rfind('b' ~ Content[:500000]) }}",
)


@pytest.fixture
def own_objects_only() -> Iterator[None]:
    """Keep the garbage collector away from what thousands of other tests have left: it takes 0.3 s to look at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("own_objects_only")
@pytest.mark.parametrize("text", TEXTS)
def test_every_filter_test_and_method_is_bounded(text: str) -> None:
    values = {"Content": TEXTS[text]}
    slow = []
    for source in (*sources(), *OTHERS):
        try:
            template = EXPRESSIONS.template(source, frozenset({"Content"}))
        except ExpressionError:
            continue  # takes no such arguments
        began = time.thread_time()
        with contextlib.suppress(ExpressionError), spending(Budget(STEPS)):
            assert len(template(values)) <= FIELD_TEXT
        took = time.thread_time() - began
        if took > SECONDS:
            slow.append(f"{took:.1f} s: {source}")
    assert slow == []


def test_nearly_all_of_them_are_compiled() -> None:
    compiled = 0
    for source in sources():
        try:
            EXPRESSIONS.template(source, frozenset({"Content"}))
            compiled += 1
        except ExpressionError:
            pass
    assert compiled > 0.9 * len(list(sources()))


@pytest.mark.parametrize("name", sorted(INTERNAL_FILTERS))
def test_nobody_can_write_the_filters_that_count(name: str) -> None:
    with pytest.raises(ExpressionError, match="unknown transform or filter"):
        EXPRESSIONS.template(f"{{{{ 'a' | {name} }}}}")
    with pytest.raises(ExpressionError, match="unknown transform or filter"):
        EXPRESSIONS.template(f"{{{{ ['a'] | map('{name}') | list }}}}")


def test_one_budget_serves_all_that_is_called_inside() -> None:
    template = EXPRESSIONS.template("{% for a in Content %}{% endfor %}")
    with spending(Budget(1_000_000)) as budget:
        template({"Content": "a" * 1_000})
        once = budget.spent
        assert once > 1_000
        with pytest.raises(ExpressionError, match="steps"):
            template({"Content": "a" * 2_000})


@pytest.mark.parametrize(
    "source", ["{% for a in Content %}{{ a }}{% endfor %}", "{{ Content | regex_replace('a', 'b') }}"]
)
def test_work_that_is_too_long_for_the_event_loop_leaves_it_at_once(source: str) -> None:
    template = EXPRESSIONS.template(source)
    began = time.thread_time()
    with pytest.raises(InlineOverrun), spending(InlineBudget()):
        template({"Content": "a" * 30_000})
    assert time.thread_time() - began < 0.1


@pytest.mark.parametrize(("letters", "ends"), [(60, True), (130, False)])
def test_a_loop_within_a_loop_is_cut_off_early(letters: int, ends: bool) -> None:
    """The turns are counted and not timed: at twice the usual time for each, they take less than a tenth of a second.

    A turn of this loop takes some 5 microseconds, so 100 letters squared are half of that.
    """
    template = EXPRESSIONS.template("{% for a in Content %}{% for b in Content %}{{ a ~ b }}{% endfor %}{% endfor %}")
    with contextlib.nullcontext() if ends else pytest.raises(ExpressionError, match="steps"), spending(Budget()):
        template({"Content": "a" * letters})


@pytest.mark.parametrize(
    ("source", "values", "result"),
    [
        ("{% for word in Content.split() %}{{ word | title }} {% endfor %}", {"Content": "a b " * 500}, "A B " * 500),
        ("{{ Content | upper | replace('A', 'b') | truncate(9) }}", {"Content": "a" * 50_000}, "b" * 9),
        ("{{ Content | regex_replace('\\\\s+', ' ') | length }}", {"Content": "a  b " * 4_000}, "16000"),
        ("{{ Content | json | length }}", {"Content": '"' * 100_000}, "200002"),
        ("{{ Content.split(',') | map('trim') | unique | sort | join(', ') }}", {"Content": "c, b ,a" * 9}, None),
        ("{{ 'x' in Content and Content == Content }}", {"Content": "x" * MAX_BODY}, "true"),
    ],
)
def test_ordinary_work_on_long_texts_is_far_from_the_bound(source: str, values: Any, result: str | None) -> None:
    with spending(Budget()) as budget:
        text = EXPRESSIONS.template(source)(values)
    assert result is None or text == result
    assert budget.spent < budget.steps / 2


def test_a_budget_counts_what_a_list_holds_many_times() -> None:
    nested: list[Any] = ["x"]
    for _ in range(60):
        nested = [nested, nested]
    with pytest.raises(LimitError):
        Budget().charge_value(nested)
