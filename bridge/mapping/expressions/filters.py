"""Filters, tests and operators that take their cost from the budget in force before they run. Pure.

Most are Jinja's own. The rates are the worst that was measured on hostile values, rounded up.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import lru_cache, wraps
from typing import Any, Final, cast

from jinja2 import pass_context
from jinja2.filters import FILTERS, do_float, do_int
from jinja2.runtime import Context
from jinja2.tests import TESTS

from bridge.mapping import budget
from bridge.mapping.budget import FIELD_TEXT, ITEM, LimitError
from bridge.mapping.transform_api import Step, Transform, as_text

_INTEGER_BITS: Final = 4_096
_NUMBER_TEXT: Final = 400
"""Characters that a text may have to be read as a number."""
_ATTRIBUTE_TEXT: Final = 200
_SHORT_TEXT: Final = 30_000
"""Characters up to which Python looks for a text in another one by trying each place."""
_NEEDLE: Final = 100
"""Characters of a text beyond which it does not do so."""
_CALL: Final = 1_000
"""Steps that a filter or test takes for each element of a list that it is called with."""
_FORMAT_LIMIT: Final = 1_000
_ROUND_LIMIT: Final = 15
_WIDE_FORMAT: Final = re.compile(r"%[^a-zA-Z%]*(\*|\d{4})")


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_CASES: Final = words("capitalize casefold lower swapcase title upper")
_FROM_THE_END: Final = words("lstrip rfind rindex rpartition rsplit rstrip strip")
"""Methods that compare what they look for at each place, or look each character up."""
_RATES: Final[Mapping[str, int]] = {
    **dict.fromkeys(words("abs count d default first items last length"), 0),
    **dict.fromkeys(words("dictsort list max min reverse string sum unique wordcount"), 100),
    **dict.fromkeys(words("capitalize sort striptags"), 200),
    "urlencode": 1_500,
}
"""Jinja's filters that work at once, each with the steps that a character of its arguments takes at the most."""
INNER: Final = frozenset({"counted", "sliced", "sought", "weighed"})
"""Filters that `check` puts into an expression, and that no author may write."""
_LAZY: Final = words("map reject rejectattr select selectattr")
"""Jinja's filters whose work is done when their result is gone through."""
_OF_ATTRIBUTES: Final = words("max min rejectattr selectattr sort sum unique")
_JINJA_TESTS: Final = words(
    "boolean defined eq equalto false float ge gt greaterthan in integer le lessthan lower lt mapping ne none "
    "number sequence string true undefined upper == != > >= < <="
)
_NUMBER_TESTS: Final = ("odd", "even", "divisibleby")


def filters(transforms: Mapping[str, Transform]) -> dict[str, Any]:
    """Return all filters of an expression, by name; a transform comes before one of Jinja's."""
    found: dict[str, Any] = {name: _at_once(name, FILTERS[name], rate) for name, rate in _RATES.items()}
    found |= {name: _lazy(name, FILTERS[name]) for name in _LAZY}
    found |= dict(zip(sorted(INNER), (_counted, _sliced, _sought, _weighed), strict=True))
    found |= {"float": _float, "format": _format, "int": _int, "join": join, "replace": replace, "round": _round}
    return found | {name: _as_filter(transform) for name, transform in transforms.items()}


def tests() -> dict[str, Any]:
    """Return all tests of an expression, by name."""
    found: dict[str, Any] = {name: _charged_test(cast("Callable[..., Any]", TESTS[name])) for name in _JINJA_TESTS}
    return found | {name: _for_numbers(cast("Callable[..., Any]", TESTS[name])) for name in _NUMBER_TESTS}


def operators() -> dict[str, Callable[[Any, Any], Any]]:
    """Return the operators whose result may be large, by their signs."""
    return {"+": _plus, "*": _times, "**": _power, "%": _modulo, "//": _whole}


def settled(value: object) -> object:
    """Return a list for an iterator or a view: `map` and `select` work when they are gone through."""
    return list(value) if isinstance(value, Iterator | ItemsView | KeysView | ValuesView) else value


def _as_filter(transform: Transform) -> Step:
    """Make a Jinja filter, which is handed the arguments with each value, of a transform, which wants them once."""
    if not transform.parameters:
        return transform.bind()

    bind: Callable[..., Step] = lru_cache(maxsize=256, typed=True)(lambda *args, **named: transform.bind(args, named))

    def apply(value: object, *args: Any, **named: Any) -> Any:  # noqa: ANN401 - as the author wrote them
        if any(isinstance(argument, dict | list) for argument in args) or named:
            return transform.bind(args, named)(value)
        return bind(*args)(value)

    return apply


def method_cost(owner: str, method: str, args: tuple[Any, ...]) -> int:
    """Return the steps that a method of a text takes at the most."""
    size = len(owner)
    needle = max((len(each) for each in args if isinstance(each, str)), default=0)
    more = len(args) * ITEM
    if method in _CASES:
        return size * 100 + more
    if method in _FROM_THE_END:
        return size * max(10, needle) + more
    return size * 10 + _search_cost(size, needle) + more


def _search_cost(size: int, needle: int) -> int:
    """Return the steps that it takes at the most to look for a text in another one."""
    return 2 * size + (size * min(needle, _NEEDLE) if size < _SHORT_TEXT else 0)


def _at_once(name: str, function: Callable[..., Any], rate: int) -> Callable[..., Any]:
    """Have one of Jinja's filters take its cost before it runs."""
    if rate == 0:
        return function

    def charged(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - as Jinja calls it
        left = budget.current()
        value = settled(args[at])
        rest = (*args[at + 1 :], *named.values())
        _check_attributes(name, rest)
        left.charge_value(value, rate)
        left.charge_value(rest, rate)
        left.charge(_CALL + _more(name, value))
        result = function(*args[:at], value, *args[at + 1 :], **named)
        if name == "unique":
            return list(result)
        return result

    at = 1 if hasattr(function, "jinja_pass_arg") else 0
    return wraps(function)(charged)


def _more(name: str, value: Any) -> int:  # noqa: ANN401 - a filter's value
    """Return the steps that a filter takes beyond those for each of its elements and characters."""
    if name == "striptags":  # it copies the rest for each comment
        text = as_text(value)
        return len(text) * text.count("<!--") // 10
    if name in {"sort", "dictsort"} and hasattr(value, "__len__"):
        return len(value) * len(value).bit_length() * ITEM
    if name == "sum" and isinstance(value, list) and any(isinstance(each, list | tuple) for each in value):
        return len(value) * sum(len(each) for each in value if isinstance(each, list | tuple))
    return 0


def _lazy(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Have one of Jinja's filters take the cost of each element when it is gone through."""

    def charged(context: Context, value: Any, *args: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401 - as Jinja calls it
        _check_attributes(name, (*(args if name in _OF_ATTRIBUTES else ()), *named.values()))
        left = budget.current()
        for item in function(context, settled(value), *args, **named):
            left.charge(_CALL)
            yield item

    return pass_context(wraps(function)(charged))


def _check_attributes(name: str, arguments: Iterable[object]) -> None:
    """Refuse the name of an attribute that is a long path, because it is followed for each element."""
    if name in _OF_ATTRIBUTES or name in _LAZY:
        for each in arguments:
            if isinstance(each, str) and len(each) > _ATTRIBUTE_TEXT:
                raise LimitError(f"`{name}` takes the name of an attribute with at most {_ATTRIBUTE_TEXT} characters")


def _charged_test(test: Callable[..., Any]) -> Callable[..., Any]:
    def charged(*args: Any) -> Any:  # noqa: ANN401 - as Jinja calls it
        left = budget.current()
        left.charge(ITEM)
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
    """Take what it costs to compare a value, or to write it as a text."""
    plain = settled(value)
    left = budget.current()
    left.charge(ITEM)
    left.charge_value(plain, 2)
    return plain


def _sought(value: object) -> object:
    """Take what it costs to look for something in a value."""
    plain = settled(value)
    left = budget.current()
    left.charge_value(plain, 2)
    if isinstance(plain, str):
        left.charge(_search_cost(len(plain), _NEEDLE))
    return plain


def _sliced(value: object) -> object:
    """Take what it costs to cut a part out of a value."""
    if isinstance(value, str):
        budget.current().charge_text(len(value))
    elif isinstance(value, list | tuple):
        budget.current().charge(len(value) * ITEM)
    return value


def _plus(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    if isinstance(left, str) and isinstance(right, str):
        budget.current().charge_text(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        budget.current().charge((len(left) + len(right)) * ITEM)
    return left + right


def _times(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    for several, times in ((left, right), (right, left)):
        if isinstance(several, str) and isinstance(times, int):
            budget.current().charge_text(len(several) * max(0, times))
        elif isinstance(several, list | tuple) and isinstance(times, int):
            budget.current().charge(len(several) * max(0, times) * ITEM)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return left * right


def _whole(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    _check_divided(left, right)
    return left // right


def _check_divided(left: object, right: object) -> None:
    for each in (left, right):
        if isinstance(each, int):
            _check_bits(each.bit_length())


def _power(base: Any, exponent: Any) -> Any:  # noqa: ANN401 - operands
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * exponent)
    return base**exponent


def _check_bits(bits: int) -> None:
    if bits > _INTEGER_BITS:
        raise LimitError("the number would be too large")


def _modulo(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    if isinstance(left, str):
        if len(left) > _FORMAT_LIMIT or _WIDE_FORMAT.search(left):
            raise LimitError("a format for `%` is short and has widths below 1,000")
        values = right if isinstance(right, tuple) else tuple(right.values()) if isinstance(right, dict) else (right,)
        left_over = budget.current()
        left_over.charge_value(values)
        longest = max((len(each) for each in values if isinstance(each, str)), default=0)
        left_over.charge_text(len(left) + left.count("%") * (_FORMAT_LIMIT + longest))
    else:
        _check_divided(left, right)
    return left % right


def _format(template: object, *values: object, **named: object) -> Any:  # noqa: ANN401 - see `_modulo`
    if isinstance(template, list | dict):
        raise LimitError("a format for `%` is a text")
    return _modulo(_text(template), named or values)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:  # noqa: ANN401 - a number, or the default
    number = do_int(value, default, base) if _is_short(value) else default
    if isinstance(number, int):
        _check_bits(number.bit_length())
    return number


def _float(value: Any, default: Any = 0.0) -> Any:  # noqa: ANN401 - a number, or the default
    return do_float(value, default) if _is_short(value) else default


def _is_short(value: object) -> bool:
    return not isinstance(value, str) or len(value) <= _NUMBER_TEXT


def _for_numbers(test: Callable[..., Any]) -> Callable[..., bool]:
    def check(value: object, *args: object) -> bool:
        return isinstance(value, int | float) and bool(test(value, *args))  # of a text, `%` would be a format

    return check


def _round(value: Any, precision: int = 0) -> Any:  # noqa: ANN401 - a number
    if abs(precision) > _ROUND_LIMIT:
        raise LimitError(f"`round` takes a precision of at most {_ROUND_LIMIT}")
    return round(value, precision)


def replace(value: object, old: object, new: object, count: int = -1) -> str:
    """Replace a text in another one."""
    text, gone, instead = _text(value), _text(old), _text(new)
    left = budget.current()
    left.charge(_search_cost(len(text), len(gone)) * 2)
    left.charge_text(len(text) + text.count(gone) * max(0, len(instead) - len(gone)))
    return text.replace(gone, instead, count)


def join(values: Iterable[object], between: object = "") -> str:
    """Join the texts of several values."""
    left = budget.current()
    glue = _text(between)
    pieces = []
    size = 0
    for value in values:
        pieces.append(_text(value))
        size += len(pieces[-1]) + len(glue)
        left.charge(ITEM)
        if size > FIELD_TEXT:
            break
    left.charge_text(size)
    return glue.join(pieces)


def _text(value: object) -> str:
    """Write a value as text, after a look at how long that would be."""
    if isinstance(value, str):
        return value
    budget.current().charge_value(value)
    return as_text(value)


def _counted(values: Iterable[Any], cost: int) -> Iterator[Any]:
    left = budget.current()
    for value in values:
        left.charge(cost)
        yield value


def joined(pieces: Iterable[str]) -> str:
    """Join the pieces of a rendering; raises `LimitError` before they fill the memory."""
    kept = list(pieces)
    budget.current().charge_text(sum(map(len, kept)))
    return "".join(kept)


def joined_few(pieces: Iterable[str]) -> str:
    """Do the same for a rendering of few pieces, none of which fills the memory."""
    text = "".join(pieces)
    if len(text) > _CALL:
        budget.current().charge_text(len(text))
    return text
