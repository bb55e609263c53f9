"""The language of expressions and templates: Jinja, compiled once, called many times. Pure.

Jinja turns a template into Python code, and that code is called here directly: rendering through a `Template` costs
ten times as much, nearly all of it for things that a mapping does not have (globals, blocks, inheritance). What the
code may reach is `sandbox`'s concern, what is wrong in a text is `check`'s.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any, Final

from jinja2 import TemplateError, Undefined, nodes

from bridge.mapping.budget import Budget, LimitError, in_force, spending
from bridge.mapping.expressions.certainty import OPEN, certain_value
from bridge.mapping.expressions.check import BARE, Check, parse
from bridge.mapping.expressions.filters import joined, joined_few, settled
from bridge.mapping.expressions.sandbox import BareSandbox, Run, Sandbox
from bridge.mapping.transform_api import Transform, TransformError
from bridge.mapping.transforms import BUILTIN
from connectors.base import ExpressionError

TEXT_LIMIT: Final = 65_536
"""Characters of one expression or template."""
_CACHED: Final = 4_096  # chatbots often share their templates; a compiled one takes some 5 kB
_JSON_TYPES: Final = frozenset({str, int, float, bool, type(None), list, dict})
_FEW: Final = 8
"""Values that a template may put into its text to be joined without a look at each."""
_COSTLY: Final = (
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Concat, nodes.Getitem),
    *(nodes.Add, nodes.Mul, nodes.Pow, nodes.Mod, nodes.FloorDiv),
)
"""What takes steps of the budget; a template with none of these needs none in force."""
_SPEAKING: Final = (TransformError, LimitError, TemplateError, TypeError)
"""Errors whose text tells what is wrong and holds names and types, no values."""

Template = Callable[[Mapping[str, Any]], str]
Expression = Callable[[Mapping[str, Any]], Any]
_Root = Callable[[Run], Iterator[Any]]


class JinjaExpressions:
    """Compiles expressions and templates; `connectors.base.Expressions` says what is promised.

    Args:
        transforms: The filters that a text may use, besides a selection of Jinja's own.
        members: Of some variables, the members that they have, so that a slip in `event.recieved_at` is found when
            the text is compiled. Not looked at where a text may use any name.
    """

    def __init__(
        self,
        transforms: Mapping[str, Transform] = BUILTIN,
        members: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._transforms = transforms
        self._members = members
        self._sandbox = Sandbox(transforms)
        self._bare_sandbox = BareSandbox(transforms)
        self._template = lru_cache(_CACHED)(self._compile_template)
        self._expression = lru_cache(_CACHED)(self._compile_expression)
        self._tree = lru_cache(_CACHED)(self._parse)

    def template(self, source: str, names: frozenset[str] | None = None) -> Template:
        """Compile a text with `{{ }}` in it, over variables of these names (None allows any).

        The function returned gives the text. One line break at the very end of the source is left out.

        Raises:
            ExpressionError: here for what can be known now, with line and column; from the returned function where
                a variable is missing or the values do not suit. Its message never holds a value.
        """
        return self._template(source, names)

    def expression(self, source: str, names: frozenset[str] | None = None) -> Expression:
        """Compile a bare expression, over variables of these names (None allows any).

        The function returned gives the value with its type; a name or member that is missing is empty, and as a
        result it is None.

        Raises:
            ExpressionError: as for `template`.
        """
        return self._expression(source, names)

    def certain_truth(self, source: str, known: Mapping[str, Any]) -> bool | None:
        """Say whether a bare expression is true, or false, of every event in which these names have these values.

        None where that depends on the event, or where the text cannot be read.
        """
        tree = self._tree(source, BARE)
        bare = next(tree.find_all(nodes.Output)).nodes[0] if tree else None
        try:
            value = certain_value(bare, known) if bare else OPEN
        except RecursionError:
            return None
        return None if value is OPEN else bool(value)

    def names(self, source: str) -> list[str]:
        """Give the variables that a bare expression uses, each once; none where it cannot be read."""
        tree = self._tree(source, BARE)
        return list(dict.fromkeys(node.name for node in tree.find_all(nodes.Name))) if tree else []

    def last_filter(self, source: str) -> nodes.Filter | None:
        """Give the filter whose result is all of a template's text; None where there is no such."""
        tree = self._tree(source, None)
        outputs = tree.body if tree else []
        if len(outputs) != 1 or not isinstance(outputs[0], nodes.Output) or len(outputs[0].nodes) != 1:
            return None
        only = outputs[0].nodes[0]
        return only if isinstance(only, nodes.Filter) else None

    def _parse(self, source: str, state: str | None) -> nodes.Template | None:
        try:
            return parse(self._bare_sandbox if state else self._sandbox, source, state)
        except (ExpressionError, RecursionError, ValueError):
            return None

    def _compile_template(self, source: str, names: frozenset[str] | None) -> Template:
        sandbox = self._sandbox
        tree = self._checked(sandbox, source, None, names)
        join = joined if tree.find(nodes.For) or _outputs(tree) > _FEW else joined_few
        takes_steps = any(tree.find_all(_COSTLY))
        root, lines = _load(sandbox, tree)

        def render(values: Mapping[str, Any]) -> str:
            try:
                if not takes_steps or in_force():
                    return join(root(Run(values, sandbox)))
                with spending(Budget()):
                    return join(root(Run(values, sandbox)))
            except Exception as error:  # noqa: BLE001 - whatever the values make of it is the expression's failure
                raise _failure(error, root, lines) from None

        return render

    def _compile_expression(self, source: str, names: frozenset[str] | None) -> Expression:
        sandbox = self._bare_sandbox
        if not source.strip():
            raise ExpressionError('is empty: write an expression such as `Type == "Lead"`')
        tree = self._checked(sandbox, source, BARE, names)
        takes_steps = any(tree.find_all(_COSTLY))
        root, lines = _load(sandbox, tree)

        def evaluate(values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an expression's value
            try:
                if not takes_steps or in_force():
                    return _result(next(root(Run(values, sandbox))))
                with spending(Budget()):
                    return _result(next(root(Run(values, sandbox))))
            except Exception as error:  # noqa: BLE001 - whatever the values make of it is the expression's failure
                raise _failure(error, root, lines) from None

        return evaluate

    def _checked(
        self, sandbox: Sandbox, source: str, state: str | None, names: frozenset[str] | None
    ) -> nodes.Template:
        if len(source) > TEXT_LIMIT:
            raise ExpressionError(f"is longer than {TEXT_LIMIT:,} characters: shorten it")
        text = source.replace("\r\n", "\n").replace("\r", "\n")
        try:
            tree = parse(sandbox, text, state)
            Check(sandbox, self._transforms, text, state, names, self._members).run(tree)
        except (RecursionError, ValueError) as error:
            raise _readable(error) from None
        return tree


def _outputs(tree: nodes.Template) -> int:
    return sum(len(each.nodes) for each in tree.find_all(nodes.Output))


def _result(value: object) -> object:
    """Make a value of JSON's types of what an expression can give besides."""
    if type(value) in _JSON_TYPES:
        return value
    if isinstance(value, Undefined):
        return None
    if callable(value):
        raise TypeError("gives a method: write it with `()`")
    return settled(value)


def _load(sandbox: Sandbox, tree: nodes.Template) -> tuple[_Root, list[tuple[int, int]]]:
    """Compile a tree; give the function that yields the text piece by piece, and its lines against the source's."""
    namespace: dict[str, Any] = {"environment": sandbox}
    try:
        exec(sandbox.compile(tree), namespace)  # noqa: S102 - the code is Jinja's, made from a checked tree
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise _readable(error) from None
    pairs = (pair.split("=") for pair in namespace["debug_info"].split("&") if pair)
    return namespace["root"], [(int(code), int(source)) for source, code in pairs]


def _readable(error: BaseException) -> ExpressionError:
    """Say why a text cannot be compiled, in the rare cases that neither Jinja nor the check explains."""
    if isinstance(error, ExpressionError):
        return error
    if isinstance(error, TemplateError):
        return ExpressionError(error.message or "cannot be compiled", getattr(error, "lineno", 1))
    if isinstance(error, SyntaxError) and "repeated" in error.msg:
        return ExpressionError("an argument is given twice: leave one of the two out")
    return ExpressionError("is nested too deeply or holds a number that is too long: write it in simpler parts")


def _failure(error: Exception, root: _Root, lines: list[tuple[int, int]]) -> ExpressionError:
    """Make the error of a rendering that failed: what is wrong without the values, and on which line of the source."""
    if isinstance(error, _SPEAKING):
        message = str(error)
    elif isinstance(error, ZeroDivisionError):
        message = "divides by zero"
    else:
        message = f"cannot be worked out for this event's values ({type(error).__name__})"
    return ExpressionError(message, _line(error.__traceback__, root, lines))


def _line(traceback: TracebackType | None, root: _Root, lines: list[tuple[int, int]]) -> int:
    """Find the source's line in the innermost frame of the generated code."""
    namespace = getattr(root, "__globals__", None)
    found = 1
    while traceback is not None:
        if traceback.tb_frame.f_globals is namespace:
            found = next((source for code, source in reversed(lines) if code <= traceback.tb_lineno), found)
        traceback = traceback.tb_next
    return found
