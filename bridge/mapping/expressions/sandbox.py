"""What an expression can reach while it runs, and how much work it can cause. Pure.

The text of an expression comes from the author of the configuration and is trusted to mean well. The values that it
works on come from strangers. So each operation whose cost a value can decide takes that cost from the budget in force
(`bridge.mapping.budget`) before it runs: filters, tests, methods, operators, slices, and the turns of loops. Some are
not there at all: `range`, widths in formats, and every filter, test and method that is not on a list.
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
from bridge.mapping.budget import ITEM
from bridge.mapping.expressions.filters import filters, join, method_cost, operators, replace, settled, tests, words
from bridge.mapping.transform_api import Transform, as_text

TEXT_METHODS: Final = words(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
    "split splitlines startswith strip swapcase title upper"
)
OBJECT_METHODS: Final = frozenset({"get", "items", "keys", "values"})
LIST_METHODS: Final = frozenset({"count", "index"})
_LOOP_MEMBERS: Final = words("depth depth0 first index index0 last length nextitem previtem revindex revindex0")
METHODS: Final = TEXT_METHODS | OBJECT_METHODS | LIST_METHODS
_MEMBERS: Final[tuple[tuple[type | tuple[type, ...], frozenset[str]], ...]] = (
    (str, TEXT_METHODS),
    (dict, OBJECT_METHODS),
    ((list, tuple), LIST_METHODS),
    (LoopContext, _LOOP_MEMBERS),
)


def _written(value: object) -> object:
    """Make of a value what a text shows: nothing for null, JSON for lists and objects; a method is a slip."""
    if isinstance(value, str | Undefined):
        return value
    if callable(value):
        raise TypeError("a method is written without its `()`")
    plain = settled(value)
    budget.current().charge_value(plain)
    return as_text(plain)


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

    def resolve_or_missing(self, key: str) -> Any:  # noqa: ANN401 - a variable's value
        """Look a variable up."""
        return self.parent.get(key, missing)


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment with the transforms as filters and with bounds on what an operation can make."""

    intercepted_binops = frozenset(operators())

    def __init__(
        self,
        transforms: Mapping[str, Transform],
        undefined: type[Undefined] = StrictUndefined,
        finalize: Callable[..., Any] | None = _written,
    ) -> None:
        super().__init__(autoescape=False, undefined=undefined, finalize=finalize)
        self.evaluation = EvalContext(self)
        self.globals = {}
        self.filters = filters(transforms)
        self.tests = tests()
        self.binop_table |= operators()

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
            return replace(owner, *args, **kwargs)
        if isinstance(owner, str) and obj.__name__ == "join":
            return join(args[0] if args else (), owner)
        left = budget.current()
        if isinstance(owner, str):
            left.charge(method_cost(owner, obj.__name__, args))
        else:
            left.charge_value((owner, args) if isinstance(owner, list | tuple) else args)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, list):
            left.charge(len(result) * ITEM)
        return result


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
