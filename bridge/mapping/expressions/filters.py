"""Filters, tests and operators that take their cost from the current budget before they run. Pure.

Most are Jinja's own. The rates are the highest that were measured with hostile values, rounded up.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import lru_cache, wraps
from typing import Any, Final, cast

from jinja2.filters import FILTERS, do_float, do_int
from jinja2.tests import TESTS

from bridge.mapping import budget
from bridge.mapping.budget import FIELD_TEXT, ITEM_STEPS, LimitError
from bridge.mapping.transform_api import Transform, TransformStep, value_as_text

_INTEGER_BITS: Final = 4_096
_NUMBER_TEXT: Final = 400
"""Maximum number of characters of a text that is read as a number."""
_ATTRIBUTE_TEXT: Final = 200
_SHORT_TEXT: Final = 30_000
"""Length up to which Python searches a text by trying each position."""
_NEEDLE: Final = 100
"""Length of a searched text from which Python does not try each position."""
_CALL: Final = 1_000
"""Steps for each element of a list that a filter or test is called with."""
_FORMAT_LIMIT: Final = 1_000
_ROUND_LIMIT: Final = 15
_WIDE_FORMAT: Final = re.compile(r"%[^a-zA-Z%]*(\*|\d{4})")


def word_set(text: str) -> frozenset[str]:
    """Return the set of words in a text."""
    return frozenset(text.split())


_CASES: Final = word_set("capitalize casefold lower swapcase title upper")
_FROM_THE_END: Final = word_set("lstrip rfind rindex rpartition rsplit rstrip strip")
"""Methods that compare at each position, or look up each character."""
_RATES: Final[Mapping[str, int]] = {
    **dict.fromkeys(word_set("abs count d default first items last length"), 0),
    **dict.fromkeys(word_set("dictsort list max min reverse string sum unique wordcount"), 100),
    **dict.fromkeys(word_set("capitalize sort striptags"), 200),
    **dict.fromkeys(word_set("map reject rejectattr select selectattr"), 1),
    "urlencode": 1_500,
}
"""Jinja's filters, each with the maximum number of steps for a character of its arguments."""
INTERNAL_FILTERS: Final = frozenset({"counted", "sliced", "sought", "weighed"})
"""Filters that `check` inserts into an expression; authors cannot use them."""
_OF_ATTRIBUTES: Final = word_set("map max min reject rejectattr select selectattr sort sum unique")
_JINJA_TESTS: Final = word_set(
    "boolean defined eq equalto false float ge gt greaterthan in integer le lessthan lower lt mapping ne none "
    "number sequence string true undefined upper == != > >= < <="
)
_NUMBER_TESTS: Final = ("odd", "even", "divisibleby")


def filters(transforms: Mapping[str, Transform]) -> dict[str, Any]:
    """Return all filters of an expression, by name. Transforms replace Jinja's filters of the same name."""
    result_filters: dict[str, Any] = {name: _charged(name, FILTERS[name], rate) for name, rate in _RATES.items()}
    result_filters |= dict(zip(sorted(INTERNAL_FILTERS), (_counted, _sliced, _sought, _weighed), strict=True))
    result_filters |= {
        "float": _float,
        "format": _format,
        "int": _int,
        "join": join,
        "replace": replace,
        "round": _round,
    }
    return result_filters | {name: _as_filter(transform) for name, transform in transforms.items()}


def tests() -> dict[str, Any]:
    """Return all tests of an expression, by name."""
    result_filters: dict[str, Any] = {
        name: _charged_test(cast("Callable[..., Any]", TESTS[name])) for name in _JINJA_TESTS
    }
    return result_filters | {name: _for_numbers(cast("Callable[..., Any]", TESTS[name])) for name in _NUMBER_TESTS}


def operators() -> dict[str, Callable[[Any, Any], Any]]:
    """Return the operators with possibly large results, by symbol."""
    return {"+": _plus, "*": _times, "**": _power, "%": _modulo, "//": _whole}


def materialized(value: object) -> object:
    """Return a list for an iterator or a view, since `map` and `select` only work while they are traversed."""
    return list(value) if isinstance(value, Iterator | ItemsView | KeysView | ValuesView) else value


def _as_filter(transform: Transform) -> TransformStep:
    """Return a Jinja filter, which gets the arguments with each value, for a transform, which binds them once."""
    if not transform.parameters:
        step = lru_cache(maxsize=1)(transform.bind)  # it may load a library, for those who use it

        def convert(value: object) -> Any:
            return step()(value)

        return convert

    bind: Callable[..., TransformStep] = lru_cache(maxsize=256, typed=True)(
        lambda *args, **named: transform.bind(args, named)
    )

    def apply(value: object, *args: Any, **named: Any) -> Any:
        if any(isinstance(argument, dict | list) for argument in args) or named:
            return transform.bind(args, named)(value)
        return bind(*args)(value)

    return apply


def method_cost(owner: str, method: str, args: tuple[Any, ...]) -> int:
    """Return the maximum number of steps of a text's method."""
    size = len(owner)
    needle = max((len(each) for each in args if isinstance(each, str)), default=0)
    more = len(args) * ITEM_STEPS
    if method in _CASES:
        return size * 100 + more
    if method in _FROM_THE_END:
        return size * max(10, needle) + more
    return size * 10 + _search_cost(size, needle) + more


def _search_cost(size: int, needle: int) -> int:
    """Return the maximum number of steps of a search in a text."""
    return 2 * size + (size * min(needle, _NEEDLE) if size < _SHORT_TEXT else 0)


def _charged(name: str, function: Callable[..., Any], rate: int) -> Callable[..., Any]:
    """Return one of Jinja's filters that takes its cost before it runs, and that of each element of its result."""
    if rate == 0:
        return function

    def charged(*args: Any, **named: Any) -> Any:
        left = budget.current_budget()
        value = materialized(args[at])
        rest = (*args[at + 1 :], *named.values())
        _check_attributes(name, rest)
        left.charge_value((value, rest), rate)
        left.charge(_CALL + _more(name, value))
        result = function(*args[:at], value, *args[at + 1 :], **named)
        return list(_counted(result, _CALL)) if isinstance(result, Iterator) else result

    at = 1 if hasattr(function, "jinja_pass_arg") else 0
    return wraps(function)(charged)


def _more(name: str, value: Any) -> int:
    """Return the steps of a filter besides those for its elements and characters."""
    if name == "striptags":  # it copies the rest of the text for each comment
        text = value_as_text(value)
        return len(text) * text.count("<!--") // 10
    if name in {"sort", "dictsort"} and hasattr(value, "__len__"):
        return len(value) * len(value).bit_length() * ITEM_STEPS
    if name == "sum" and isinstance(value, list) and any(isinstance(each, list | tuple) for each in value):
        return len(value) * sum(len(each) for each in value if isinstance(each, list | tuple))
    return 0


def _check_attributes(name: str, arguments: Iterable[object]) -> None:
    """Raise LimitError for a long attribute path, because it is followed for each element."""
    if name in _OF_ATTRIBUTES:
        for each in arguments:
            if isinstance(each, str) and len(each) > _ATTRIBUTE_TEXT:
                raise LimitError(f"`{name}` accepts an attribute name of at most {_ATTRIBUTE_TEXT} characters")


def _charged_test(test: Callable[..., Any]) -> Callable[..., Any]:
    def charged(*args: Any) -> Any:
        left = budget.current_budget()
        left.charge(ITEM_STEPS)
        if len(args) > 1:
            left.charge_value(args, 2)
            sizes = [len(each) for each in args if isinstance(each, str)]
            if len(sizes) == len(args):
                left.charge(_search_cost(max(sizes), min(sizes)))
        elif isinstance(args[0], str):
            left.charge(len(args[0]))
        return test(*args)

    return wraps(test)(charged)


def _weighed(value: object) -> object:
    """Take the cost of comparing a value or converting it to text."""
    plain = materialized(value)
    left = budget.current_budget()
    left.charge(ITEM_STEPS)
    left.charge_value(plain, 2)
    return plain


def _sought(value: object) -> object:
    """Take the cost of searching a value."""
    plain = materialized(value)
    left = budget.current_budget()
    left.charge_value(plain, 2)
    if isinstance(plain, str):
        left.charge(_search_cost(len(plain), _NEEDLE))
    return plain


def _sliced(value: object) -> object:
    """Take the cost of slicing a value."""
    if isinstance(value, str):
        budget.current_budget().charge_text(len(value))
    elif isinstance(value, list | tuple):
        budget.current_budget().charge(len(value) * ITEM_STEPS)
    return value


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        budget.current_budget().charge_text(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        budget.current_budget().charge((len(left) + len(right)) * ITEM_STEPS)
    return left + right


def _times(left: Any, right: Any) -> Any:
    for several, times in ((left, right), (right, left)):
        if isinstance(several, str) and isinstance(times, int):
            budget.current_budget().charge_text(len(several) * max(0, times))
        elif isinstance(several, list | tuple) and isinstance(times, int):
            budget.current_budget().charge(len(several) * max(0, times) * ITEM_STEPS)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return left * right


def _whole(left: Any, right: Any) -> Any:
    _check_divided(left, right)
    return left // right


def _check_divided(left: object, right: object) -> None:
    for each in (left, right):
        if isinstance(each, int):
            _check_bits(each.bit_length())


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * exponent)
    return base**exponent


def _check_bits(bits: int) -> None:
    if bits > _INTEGER_BITS:
        raise LimitError("the number would be too large")


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        if len(left) > _FORMAT_LIMIT or _WIDE_FORMAT.search(left):
            raise LimitError("a format for `%` must be short, with widths below 1,000")
        values = right if isinstance(right, tuple) else tuple(right.values()) if isinstance(right, dict) else (right,)
        left_over = budget.current_budget()
        left_over.charge_value(values)
        longest = max((len(each) for each in values if isinstance(each, str)), default=0)
        left_over.charge_text(len(left) + left.count("%") * (_FORMAT_LIMIT + longest))
    else:
        _check_divided(left, right)
    return left % right


def _format(template: object, *values: object, **named: object) -> Any:
    if isinstance(template, list | dict):
        raise LimitError("a format for `%` must be text")
    return _modulo(_text(template), named or values)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:
    number = do_int(value, default, base) if _is_short(value) else default
    if isinstance(number, int):
        _check_bits(number.bit_length())
    return number


def _float(value: Any, default: Any = 0.0) -> Any:
    return do_float(value, default) if _is_short(value) else default


def _is_short(value: object) -> bool:
    return not isinstance(value, str) or len(value) <= _NUMBER_TEXT


def _for_numbers(test: Callable[..., Any]) -> Callable[..., bool]:
    def check(value: object, *args: object) -> bool:
        return isinstance(value, int | float) and bool(test(value, *args))  # for a text, `%` would format

    return check


def _round(value: Any, precision: int = 0) -> Any:
    if abs(precision) > _ROUND_LIMIT:
        raise LimitError(f"`round` accepts a precision of at most {_ROUND_LIMIT}")
    return round(value, precision)


def replace(value: object, old: object, new: object, count: int = -1) -> str:
    """Replace a text in another text."""
    text, gone, instead = _text(value), _text(old), _text(new)
    left = budget.current_budget()
    left.charge(_search_cost(len(text), len(gone)) * 2)
    left.charge_text(len(text) + text.count(gone) * max(0, len(instead) - len(gone)))
    return text.replace(gone, instead, count)


def join(values: Iterable[object], between: object = "") -> str:
    """Join the texts of several values."""
    left = budget.current_budget()
    glue = _text(between)
    pieces = []
    size = 0
    for value in values:
        pieces.append(_text(value))
        size += len(pieces[-1]) + len(glue)
        left.charge(ITEM_STEPS)
        if size > FIELD_TEXT:
            break
    left.charge_text(size)
    return glue.join(pieces)


def _text(value: object) -> str:
    """Return a value as text, after taking the cost of its length."""
    if isinstance(value, str):
        return value
    budget.current_budget().charge_value(value)
    return value_as_text(value)


def _counted(values: Iterable[Any], cost: int) -> Iterator[Any]:
    left = budget.current_budget()
    for value in values:
        left.charge(cost)
        yield value


def join_pieces(pieces: Iterable[str]) -> str:
    """Join the pieces of a rendering; raise `LimitError` before they fill the memory."""
    kept = list(pieces)
    budget.current_budget().charge_text(sum(map(len, kept)))
    return "".join(kept)


def join_few_pieces(pieces: Iterable[str]) -> str:
    """Join the few pieces of a rendering, none of which fills the memory."""
    text = "".join(pieces)
    if len(text) > _CALL:
        budget.current_budget().charge_text(len(text))
    return text
