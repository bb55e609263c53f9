"""Limits of what an expression can reach and of the work that it can cause. Pure.

The text of an expression comes from the author of the configuration and is trusted. Its values come from strangers. So
each operation whose cost depends on a value takes that cost from the current budget (`bridge.mapping.budget`) before it
runs: filters, tests, methods, operators, slices, and turns of loops. `range`, widths in formats, and all filters, tests
and methods that are not listed are unavailable.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from jinja2 import ChainableUndefined, StrictUndefined, Undefined
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from bridge.mapping import budget
from bridge.mapping.budget import ITEM_STEPS
from bridge.mapping.expressions.filters import (
    filters,
    join,
    materialized,
    method_cost,
    operators,
    replace,
    tests,
    word_set,
)
from bridge.mapping.transform_api import Transform, value_as_text

TEXT_METHODS: Final = word_set(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
    "split splitlines startswith strip swapcase title upper"
)
OBJECT_METHODS: Final = frozenset({"get", "items", "keys", "values"})
LIST_METHODS: Final = frozenset({"count", "index"})
_LOOP_MEMBERS: Final = word_set("depth depth0 first index index0 last length nextitem previtem revindex revindex0")
ALLOWED_METHODS: Final = TEXT_METHODS | OBJECT_METHODS | LIST_METHODS
_MEMBERS: Final[tuple[tuple[type | tuple[type, ...], frozenset[str]], ...]] = (
    (str, TEXT_METHODS),
    (dict, OBJECT_METHODS),
    ((list, tuple), LIST_METHODS),
    (LoopContext, _LOOP_MEMBERS),
)


def _finalize(value: object) -> object:
    """Return the form of a value in a text: empty for null, JSON for lists and objects. Methods are refused."""
    if isinstance(value, str | Undefined):
        return value
    if callable(value):
        raise TypeError("a method needs its `()`")
    plain = materialized(value)
    budget.current_budget().charge_value(plain)
    return value_as_text(plain)


class RenderContext(Context):
    """Variables of one rendering, reduced to the needs of Jinja's generated code.

    Jinja's own context copies variables and globals and prepares blocks, macros and inheritance for each rendering,
    which takes ten times as long as an expression.
    """

    def __init__(self, values: Mapping[str, Any], environment: "ExpressionSandbox") -> None:
        self.parent = cast("dict[str, Any]", values)
        self.environment = environment
        self.eval_ctx = environment.evaluation
        self.vars: dict[str, Any] = {}
        self.exported_vars: set[str] = set()

    def resolve_or_missing(self, key: str) -> Any:
        """Return the value of a variable, or Jinja's marker for a missing one."""
        return self.parent.get(key, missing)


class ExpressionSandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment with the transforms as filters, and limits on the results of operations."""

    intercepted_binops = frozenset(operators())

    def __init__(
        self,
        transforms: Mapping[str, Transform],
        undefined: type[Undefined] = StrictUndefined,
        finalize: Callable[..., Any] | None = _finalize,
    ) -> None:
        super().__init__(autoescape=False, undefined=undefined, finalize=finalize)
        self.evaluation = EvalContext(self)
        self.globals = {}
        self.filters = filters(transforms)
        self.tests = tests()
        self.binop_table |= operators()

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:  # noqa: ARG002 - Jinja's signature
        """Allow the listed members of JSON types and of `loop`, and nothing else."""
        return any(isinstance(obj, kind) and attr in members for kind, members in _MEMBERS)

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to `is_safe_attribute`: a value with braces could request any width."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`. Keys of an object come first, because an answer may have a key such as `items`."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        member = super().getattr(obj, attribute)
        return self.undefined(f"there is no `{attribute}`") if isinstance(member, Undefined) else member

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return `obj[argument]`. An error does not name the argument, which may be a value of an event."""
        member = super().getitem(obj, argument)
        return self.undefined("there is no such element") if isinstance(member, Undefined) else member

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method after taking its cost."""
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str) and obj.__name__ == "replace":
            return replace(owner, *args, **kwargs)
        if isinstance(owner, str) and obj.__name__ == "join":
            return join(args[0] if args else (), owner)
        left = budget.current_budget()
        if isinstance(owner, str):
            left.charge(method_cost(owner, obj.__name__, args))
        else:
            left.charge_value((owner, args) if isinstance(owner, list | tuple) else args)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, list):
            left.charge(len(result) * ITEM_STEPS)
        return result


class MissingValue(ChainableUndefined):
    """A missing value in an expression: empty, and so are all its members."""


class _BareGenerator(NativeCodeGenerator):
    """Generator of code that yields a bare expression's value with its type."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return repr(next(iter(group)))  # there is only the expression, and Jinja would turn a constant into text


class BareExpressionSandbox(ExpressionSandbox):
    """Environment of bare expressions: a value keeps its type, and a missing name is empty."""

    code_generator_class = _BareGenerator

    def __init__(self, transforms: Mapping[str, Transform]) -> None:
        super().__init__(transforms, MissingValue, finalize=None)
