"""Compilation of expressions and templates with Jinja, and truths that are the same for every event. Pure.

Jinja turns a template into Python code, which is called here directly. Rendering through a Jinja `Template` takes ten
times as long, mostly for features that a mapping does not have (globals, blocks, inheritance). `sandbox` limits what
the code can reach; `check` finds mistakes in the text.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any, Final

from jinja2 import TemplateError, Undefined, nodes
from jinja2.optimizer import Optimizer

from bridge.event import encodable
from bridge.mapping.budget import Budget, LimitError, budget_in_force, spending
from bridge.mapping.expressions.check import BARE, ExpressionCheck, parse_source
from bridge.mapping.expressions.filters import join_few_pieces, join_pieces, materialized
from bridge.mapping.expressions.sandbox import BareExpressionSandbox, ExpressionSandbox, RenderContext
from bridge.mapping.transform_api import Transform, TransformError
from bridge.mapping.transforms import BUILTIN
from connectors.base import ExpressionError

SOURCE_LIMIT: Final = 65_536
"""Maximum number of characters of an expression or template."""
_CACHED: Final = 4_096  # chatbots often share templates; a compiled one takes about 5 kB
_JSON_TYPES: Final = frozenset({str, int, float, bool, type(None), list, dict})
_FEW: Final = 8
"""Maximum number of values in a template that are joined without checking each."""
_COSTLY: Final = (
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Concat, nodes.Getitem),
    *(nodes.Add, nodes.Mul, nodes.Pow, nodes.Mod, nodes.FloorDiv),
)
"""Nodes that take steps of the budget. A template without them needs no current budget."""
_SAFE_ERRORS: Final = (TransformError, LimitError, TemplateError, TypeError)
"""Errors whose text is a useful message and contains names and types, but no values."""

CompiledTemplate = Callable[[Mapping[str, Any]], str]
CompiledExpression = Callable[[Mapping[str, Any]], Any]
_Root = Callable[[RenderContext], Iterator[Any]]


class JinjaExpressions:
    """Compiler of expressions and templates, as defined by `connectors.base.Expressions`.

    Args:
        transforms: The filters that a text may use, besides a selection of Jinja's own.
        members: Members of some variables, so that a mistake such as `event.recieved_at` is found during compilation.
            Ignored for texts that may use any name.
    """

    def __init__(
        self,
        transforms: Mapping[str, Transform] = BUILTIN,
        members: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._transforms = transforms
        self._members = members
        self._sandbox = ExpressionSandbox(transforms)
        self._bare_sandbox = BareExpressionSandbox(transforms)
        self._template = lru_cache(_CACHED)(self._compile_template)
        self._expression = lru_cache(_CACHED)(self._compile_expression)
        self._tree = lru_cache(_CACHED)(self._parse)
        self._certain = lru_cache(_CACHED)(self._certain_truth)

    def template(self, source: str, names: frozenset[str] | None = None) -> CompiledTemplate:
        """Compile a text with `{{ }}` over variables of these names; None allows any.

        The returned function returns the text. One line break at the very end of the source is removed.

        Raises:
            ExpressionError: Raised here for mistakes in the text, with line and column. Raised by the returned function
                if a variable is missing or a value does not fit; its message never contains a value.
        """
        return self._template(source, names)

    def expression(self, source: str, names: frozenset[str] | None = None) -> CompiledExpression:
        """Compile a bare expression over variables of these names; None allows any.

        The returned function returns the value with its type. A missing name or member is empty, and None as a result.

        Raises:
            ExpressionError: As for `template`.
        """
        return self._expression(source, names)

    def certain_truth(self, source: str, known: Mapping[str, Any]) -> bool | None:
        """Return the truth of a bare expression if it is the same for every event with these values.

        Returns None if it depends on the event, or if the text cannot be parsed.
        """
        return self._certain(source, tuple(known.items()))

    def _certain_truth(self, source: str, known: tuple[tuple[str, Any], ...]) -> bool | None:
        try:
            tree = parse_source(self._bare_sandbox, source, BARE)
            bare = _KnownValues(self._bare_sandbox, dict(known)).visit(next(tree.find_all(nodes.Output)).nodes[0])
        except (ExpressionError, RecursionError, ValueError):
            return None
        return bool(bare.value) if isinstance(bare, nodes.Const) else None

    def names(self, source: str) -> list[str]:
        """Return the variables of a bare expression, each once; empty if it cannot be parsed."""
        tree = self._tree(source, BARE)
        return list(dict.fromkeys(node.name for node in tree.find_all(nodes.Name))) if tree else []

    def last_filter(self, source: str) -> nodes.Filter | None:
        """Return the filter whose result is the whole text of a template; None if there is none."""
        tree = self._tree(source, None)
        outputs = tree.body if tree else []
        if len(outputs) != 1 or not isinstance(outputs[0], nodes.Output) or len(outputs[0].nodes) != 1:
            return None
        only = outputs[0].nodes[0]
        return only if isinstance(only, nodes.Filter) else None

    def _parse(self, source: str, state: str | None) -> nodes.Template | None:
        try:
            return parse_source(self._bare_sandbox if state else self._sandbox, source, state)
        except (ExpressionError, RecursionError, ValueError):
            return None

    def _compile_template(self, source: str, names: frozenset[str] | None) -> CompiledTemplate:
        tree = self._checked(self._sandbox, source, None, names)
        join = join_pieces if tree.find(nodes.For) or _outputs(tree) > _FEW else join_few_pieces
        return _function(self._sandbox, tree, lambda pieces: encodable(join(pieces)))  # a literal may be half an emoji

    def _compile_expression(self, source: str, names: frozenset[str] | None) -> CompiledExpression:
        if not source.strip():
            raise ExpressionError('is empty: write an expression such as `Type == "Lead"`')
        tree = self._checked(self._bare_sandbox, source, BARE, names)
        return _function(self._bare_sandbox, tree, lambda pieces: _result(next(pieces)))

    def _checked(
        self, sandbox: ExpressionSandbox, source: str, state: str | None, names: frozenset[str] | None
    ) -> nodes.Template:
        if len(source) > SOURCE_LIMIT:
            raise ExpressionError(f"is longer than {SOURCE_LIMIT:,} characters: shorten it")
        text = source.replace("\r\n", "\n").replace("\r", "\n")
        try:
            tree = parse_source(sandbox, text, state)
            ExpressionCheck(sandbox, self._transforms, text, state, names, self._members).run(tree)
        except (RecursionError, ValueError) as error:
            raise _readable(error) from None
        return tree


def _function(
    sandbox: ExpressionSandbox, tree: nodes.Template, finish: Callable[[Iterator[Any]], Any]
) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function of a checked tree; `finish` makes the result of the pieces that Jinja's code yields."""
    takes_steps = any(tree.find_all(_COSTLY))
    root, lines = _load(sandbox, tree)

    def compute(values: Mapping[str, Any]) -> Any:
        try:
            if not takes_steps or budget_in_force():
                return finish(root(RenderContext(values, sandbox)))
            with spending(Budget()):
                return finish(root(RenderContext(values, sandbox)))
        except Exception as error:  # noqa: BLE001 - whatever the values make of it is the expression's failure
            raise _failure(error, root, lines) from None

    return compute


def _outputs(tree: nodes.Template) -> int:
    return sum(len(each.nodes) for each in tree.find_all(nodes.Output))


def _result(value: object) -> object:
    """Return the result of an expression as a JSON type."""
    if type(value) in _JSON_TYPES:
        return value
    if isinstance(value, Undefined):
        return None
    if callable(value):
        raise TypeError("is a method: call it with `()`")
    return materialized(value)


def _load(sandbox: ExpressionSandbox, tree: nodes.Template) -> tuple[_Root, list[tuple[int, int]]]:
    """Compile a tree; return the function that yields the text in pieces, and its lines with the source's lines."""
    namespace: dict[str, Any] = {"environment": sandbox}
    try:
        exec(sandbox.compile(tree), namespace)  # noqa: S102 - the code is Jinja's, made from a checked tree
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise _readable(error) from None
    pairs = (pair.split("=") for pair in namespace["debug_info"].split("&") if pair)
    return namespace["root"], [(int(code), int(source)) for source, code in pairs]


def _readable(error: BaseException) -> ExpressionError:
    """Return a readable error for the rare texts that neither Jinja nor the check explains."""
    if isinstance(error, ExpressionError):
        return error
    if isinstance(error, TemplateError):
        return ExpressionError(error.message or "cannot be compiled", getattr(error, "lineno", 1))
    if isinstance(error, SyntaxError) and "repeated" in error.msg:
        return ExpressionError("an argument is given twice: remove one of them")
    return ExpressionError("is nested too deeply or holds a number that is too long: write it in simpler parts")


def _failure(error: Exception, root: _Root, lines: list[tuple[int, int]]) -> ExpressionError:
    """Return the error of a failed rendering, without the values, at its line in the source."""
    if isinstance(error, _SAFE_ERRORS):
        message = str(error)
    elif isinstance(error, ZeroDivisionError):
        message = "divides by zero"
    else:
        message = f"cannot be computed for this event's values ({type(error).__name__})"
    return ExpressionError(message, _line(error.__traceback__, root, lines))


def _line(traceback: TracebackType | None, root: _Root, lines: list[tuple[int, int]]) -> int:
    """Return the source's line of the innermost frame of the generated code."""
    namespace = getattr(root, "__globals__", None)
    line = 1
    while traceback is not None:
        if traceback.tb_frame.f_globals is namespace:
            line = next((source for code, source in reversed(lines) if code <= traceback.tb_lineno), line)
        traceback = traceback.tb_next
    return line


class _KnownValues(Optimizer):
    """Jinja's folding of constants, with values for some names, and with `and` and `or` that one side decides."""

    def __init__(self, sandbox: ExpressionSandbox, known: Mapping[str, Any]) -> None:
        super().__init__(sandbox)
        self._known = known

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:  # noqa: N802 - Jinja's name
        """Replace a known name by its value."""
        return nodes.Const(self._known[node.name], lineno=node.lineno) if node.name in self._known else node

    def visit_And(self, node: nodes.And | nodes.Or) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Replace `and` or `or` by the side that decides it."""
        folded = self.generic_visit(node)
        if not isinstance(folded, nodes.And | nodes.Or):
            return folded
        decides = isinstance(folded, nodes.Or)
        if isinstance(folded.left, nodes.Const):
            return folded.left if bool(folded.left.value) is decides else folded.right
        if isinstance(folded.right, nodes.Const) and bool(folded.right.value) is decides:
            return folded.right
        return folded

    visit_Or = visit_And  # noqa: N815 - Jinja's name
