"""What an expression can reach while it runs, and how much work it can cause. Pure.

The text of an expression comes from the author of the configuration and is trusted to mean well. The values that it
works on come from strangers, and all of it runs on the event loop. So what is taken away is everything by which a value
could decide how much memory or time is used: repetition and powers without a bound, widths in formats, `range`, loops
over long texts, and every method that is not on a list.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import lru_cache
from typing import Any, Final, cast

from jinja2 import ChainableUndefined, StrictUndefined, Undefined, pass_context
from jinja2.filters import FILTERS
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import missing

from bridge.steps import Step, Transform, as_text

TEXT_LIMIT: Final = 4_000_000
"""Characters, or elements of a list, that an operation may make."""
LOOP_STEPS: Final = 10_000
"""Turns that all `{% for %}` loops of one rendering may take together."""
_INTEGER_BITS: Final = 4_096
_FORMAT_LIMIT: Final = 1_000
_ROUND_LIMIT: Final = 15
_WIDE_FORMAT: Final = re.compile(r"%[^a-zA-Z%]*(\*|\d{4})")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TEXT_METHODS: Final = _words(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
    "split splitlines startswith strip swapcase title upper"
)
OBJECT_METHODS: Final = frozenset({"get", "items", "keys", "values"})
LIST_METHODS: Final = frozenset({"count", "index"})
_LOOP_MEMBERS: Final = _words("depth depth0 first index index0 last length nextitem previtem revindex revindex0")
METHODS: Final = TEXT_METHODS | OBJECT_METHODS | LIST_METHODS
_MEMBERS: Final[tuple[tuple[type | tuple[type, ...], frozenset[str]], ...]] = (
    (str, TEXT_METHODS),
    (dict, OBJECT_METHODS),
    ((list, tuple), LIST_METHODS),
    (LoopContext, _LOOP_MEMBERS),
)

_JINJA_FILTERS: Final = _words(
    "abs capitalize count d default dictsort first float int items last length list map max min reject rejectattr "
    "reverse select selectattr sort string striptags sum unique urlencode wordcount"
)
_JINJA_TESTS: Final = _words(
    "boolean defined eq equalto false float ge gt greaterthan in integer le lessthan lower lt mapping ne none "
    "number sequence string true undefined upper == != > >= < <="
)
_NUMBER_TESTS: Final = ("odd", "even", "divisibleby")


class LimitError(ValueError):
    """An operation that the values given would make too large. The message holds no value."""


def _written(value: object) -> object:
    """Make of a value what a text shows: nothing for null, JSON for lists and objects; a method is a slip."""
    if isinstance(value, str | Undefined):
        return value
    if callable(value):
        raise TypeError("a method is written without its `()`")
    return as_text(settled(value))


def settled(value: object) -> object:
    """Give a list for what is only a way to make one (`map` and `select` work when they are asked)."""
    return list(value) if isinstance(value, Iterator | ItemsView | KeysView | ValuesView) else value


class Run(Context):
    """The variables of one rendering: only what Jinja's generated code asks for.

    Jinja's own context copies the variables and the globals and sets up blocks, macros and inheritance for each
    rendering, which takes ten times as long as an expression does.
    """

    def __init__(self, values: Mapping[str, Any], environment: "Sandbox") -> None:  # the base copies what is not needed
        self.parent = cast("dict[str, Any]", values)
        self.environment = environment
        self.eval_ctx = environment.evaluation
        self.vars: dict[str, Any] = {}
        self.exported_vars: set[str] = set()
        self.steps = LOOP_STEPS

    def resolve_or_missing(self, key: str) -> Any:  # noqa: ANN401 - a variable's value
        """Look a variable up."""
        return self.parent.get(key, missing)


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment with the transforms as filters and with bounds on what an operation can make."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(
        self,
        transforms: Mapping[str, Transform],
        undefined: type[Undefined] = StrictUndefined,
        finalize: Callable[..., Any] | None = _written,
    ) -> None:
        super().__init__(autoescape=False, undefined=undefined, finalize=finalize)
        self.evaluation = EvalContext(self)
        self.globals = {}
        self.filters = {name: FILTERS[name] for name in _JINJA_FILTERS}
        self.filters |= {"counted": _counted, "format": _format, "join": _join, "replace": _replace, "round": _round}
        self.filters |= {name: _as_filter(transform) for name, transform in transforms.items()}
        self.tests = {name: TESTS[name] for name in _JINJA_TESTS}
        self.tests |= {name: _for_numbers(cast("Callable[..., Any]", TESTS[name])) for name in _NUMBER_TESTS}
        self.binop_table |= {"*": _times, "**": _power, "%": _modulo}

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:  # noqa: ARG002 - Jinja's signature
        """Allow the members on the lists, of JSON's types and of `loop`, and nothing else."""
        return any(isinstance(obj, kind) and attr in members for kind, members in _MEMBERS)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ANN401 - Jinja's signature
        """Leave `format` to `is_safe_attribute`: a value with braces in it could ask for any width."""

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - Jinja's signature
        """Look up `obj.attribute`; of an object its keys first, for an answer may well have one named `items`."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        found = super().getattr(obj, attribute)
        return self.undefined(f"there is no `{attribute}`") if isinstance(found, Undefined) else found

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - Jinja's signature
        """Look up `obj[argument]`. What is said of a failure leaves the argument out: it may be an event's value."""
        found = super().getitem(obj, argument)
        return self.undefined("there is no such element") if isinstance(found, Undefined) else found

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Jinja's signature
        """Call a method, after a look at how much it would make."""
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str) and obj.__name__ == "replace":
            return _replace(owner, *args, **kwargs)
        if isinstance(owner, str) and obj.__name__ == "join":
            return _join(args[0] if args else (), owner)
        return super().call(context, obj, *args, **kwargs)


class Lenient(ChainableUndefined):
    """A value that is not there, in an expression: empty, and so is everything in it."""


class _BareGenerator(NativeCodeGenerator):
    """Generates code that yields a bare expression's value as it is."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return repr(next(iter(group)))  # there is only the expression; Jinja's own would turn a constant into text


class BareSandbox(Sandbox):
    """The environment of bare expressions: a value keeps its type, and a name that is missing is empty."""

    code_generator_class = _BareGenerator

    def __init__(self, transforms: Mapping[str, Transform]) -> None:
        super().__init__(transforms, Lenient, finalize=None)


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


def _check_size(size: int) -> None:
    if size > TEXT_LIMIT:
        raise LimitError(f"the result would be longer than {TEXT_LIMIT:,} characters")


def _times(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    for several, times in ((left, right), (right, left)):
        if isinstance(several, str | list | tuple) and isinstance(times, int):
            _check_size(len(several) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return left * right


def _power(base: Any, exponent: Any) -> Any:  # noqa: ANN401 - operands
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * exponent)
    return base**exponent


def _check_bits(bits: int) -> None:
    if bits > _INTEGER_BITS:
        raise LimitError("the number would be too large")


def _modulo(left: Any, right: Any) -> Any:  # noqa: ANN401 - operands
    if isinstance(left, str) and (len(left) > _FORMAT_LIMIT or _WIDE_FORMAT.search(left)):
        raise LimitError("a format for `%` is short and has widths below 1,000")
    return left % right


def _format(template: object, *values: object, **named: object) -> Any:  # noqa: ANN401 - see `_modulo`
    return _modulo(as_text(template), named or values)


def _for_numbers(test: Callable[..., Any]) -> Callable[..., bool]:
    def check(value: object, *args: object) -> bool:
        return isinstance(value, int | float) and bool(test(value, *args))  # of a text, `%` would be a format

    return check


def _round(value: Any, precision: int = 0) -> Any:  # noqa: ANN401 - a number
    if abs(precision) > _ROUND_LIMIT:
        raise LimitError(f"`round` takes a precision of at most {_ROUND_LIMIT}")
    return round(value, precision)


def _replace(value: object, old: object, new: object, count: int = -1) -> str:
    text, gone, instead = as_text(value), as_text(old), as_text(new)
    _check_size(len(text) + text.count(gone) * max(0, len(instead) - len(gone)))
    return text.replace(gone, instead, count)


def _join(values: Iterable[object], between: object = "") -> str:
    pieces = [as_text(value) for value in values]
    glue = as_text(between)
    _check_size(sum(map(len, pieces)) + len(glue) * len(pieces))
    return glue.join(pieces)


@pass_context
def _counted(context: Run, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        context.steps -= 1
        if context.steps < 0:
            raise LimitError(f"the loops take more than {LOOP_STEPS:,} turns")
        yield value


def join_bounded(pieces: Iterable[str]) -> str:
    """Join the pieces of a rendering that has loops; raises `LimitError` before they fill the memory."""
    kept = []
    size = 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        kept.append(piece)
    return "".join(kept)
