"""Checks of an expression before it runs: names, filters and arguments, with positions in the text. Pure."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import ignored_tokens
from jinja2.parser import Parser

from bridge.errors import did_you_mean
from bridge.mapping.expressions.filters import INTERNAL_FILTERS
from bridge.mapping.expressions.sandbox import ALLOWED_METHODS, ExpressionSandbox
from bridge.mapping.transform_api import Transform, TransformError
from connectors.base import ExpressionError

BARE: Final = "variable"
"""Lexer state for a bare expression; None is for a template."""

_STATEMENTS: Final[Mapping[type[nodes.Node], str]] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.With: "with",
    nodes.AssignBlock: "set",
    nodes.ScopedEvalContextModifier: "autoescape",
}
_UNCLOSED: Final = re.compile(r"innermost block that needs to be closed is '(\w+)'")
_WORDINGS: Final = (
    ("unexpected 'end of template'", "ends too early"),
    ("unexpected end of template,", "ends too early:"),
    ("'end of print statement'", "`}}`"),
    ("'end of statement block'", "`%}`"),
    ("'end of template'", "the end"),
    ("expected token 'name'", "expected a name"),
)
_WORDS_FOR: Final = {
    "&": "write `and`",
    "#": "put the whole text in quotes",
    "!": "write `not`, or `!=` to compare",
    ";": "remove it",
}
_RESERVED: Final = frozenset({"self", "super", "caller", "varargs", "kwargs"})


_TURN: Final = 1_000
"""Steps of the budget for one turn of a loop; `_NODE` steps are added for each node in the loop."""
_NODE: Final = 2_000
"""Twice the steps of a node on a quiet machine, so that a loop with a whole budget ends within a tenth of a second on a
busy or slow one too."""

_EMPTY: Final = frozenset({"empty", "blank", "null", "nil", "missing", "set", "present", "filled"})
"""Tests of other languages for a text without characters."""
_COMPUTED: Final = object()
"""Marker for an argument that is only known with an event."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


def parse_source(sandbox: ExpressionSandbox, source: str, state: str | None) -> nodes.Template:
    """Parse a template (`state` None) or a bare expression (`BARE`); raise `ExpressionError` at the token."""
    parser: Parser | None = None
    try:
        parser = Parser(sandbox, source, state=state)
        if state is None:
            return parser.parse()
        bare = parser.parse_expression()
        if not parser.stream.eos:
            parser.fail("expected the end of the expression")
    except TemplateSyntaxError as error:
        raise _syntax_error(sandbox, source, state, parser, error) from None
    tree = nodes.Template([nodes.Output([bare], lineno=1)], lineno=1)
    tree.set_environment(sandbox)
    return tree


def _syntax_error(
    sandbox: ExpressionSandbox, source: str, state: str | None, parser: Parser | None, error: TemplateSyntaxError
) -> ExpressionError:
    """Return a syntax error with its position. Jinja knows the line; the parser's current token has the column."""
    if state is BARE and source.lstrip().startswith("{{"):
        return ExpressionError("write the bare expression, without `{{` and `}}`", 1, 1)
    message = _plain_words(error.message or "cannot be read")
    if "<>" in source:
        message += "; two values are compared with `!=`"
    elif "=" in source and message.startswith("expected the end"):
        message += "; two values are compared with `==`"
    tokens: list[_Token] = []
    try:
        tokens.extend(_tokens(sandbox, source, state))
        left = sum(1 for _ in parser.stream) if parser else 0
    except TemplateSyntaxError:  # the lexer failed right after the last token
        left = 0
    seen = [token for token in tokens if token.kind not in ignored_tokens]
    if 0 < left <= len(seen):
        return ExpressionError(message, seen[-left].line, seen[-left].column)
    return ExpressionError(message, *_end(tokens))


def _end(tokens: list[_Token]) -> tuple[int, int]:
    """Return the line and column after the last token."""
    if not tokens:
        return 1, 1
    last = tokens[-1]
    lines = last.text.split("\n")
    return last.line + len(lines) - 1, len(lines[-1]) + (last.column if len(lines) == 1 else 1)


def _plain_words(message: str) -> str:
    """Return Jinja's message in words that fit the text."""
    unclosed = _UNCLOSED.search(message)
    if unclosed:
        return f"`{{% {unclosed[1]} %}}` is never closed: add `{{% end{unclosed[1]} %}}`"
    if message.startswith("unexpected char"):
        found = message[16:].partition(" at ")[0]
        return f"unexpected {found}: {_WORDS_FOR.get(found.strip(chr(39)), 'a quote may not be closed')}"
    for theirs, ours in _WORDINGS:
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:].rstrip(".")


def _tokens(sandbox: ExpressionSandbox, source: str, state: str | None) -> Iterator[_Token]:
    """Yield Jinja's tokens with their positions, which Jinja itself does not keep."""
    at = line_start = 0
    line = 1
    for _, kind, text in sandbox.lexer.tokeniter(source, None, None, state):
        found = source.find(text, at)
        if found < 0:
            continue
        line += source.count("\n", at, found)
        line_start = source.rfind("\n", 0, found) + 1
        yield _Token(kind, text, line, found - line_start + 1)
        line += text.count("\n")
        at = found + len(text)


def _is_constant(node: nodes.Expr) -> bool:
    items = node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]
    return all(isinstance(each, nodes.Const) for each in items)


def _keywords(node: nodes.Filter) -> dict[str, nodes.Expr]:
    # Jinja's annotation calls these pairs; they are keywords.
    return {str(keyword.key): keyword.value for keyword in node.kwargs}


@dataclass(frozen=True, slots=True)
class ExpressionCheck:
    """Check of a parsed expression, which also adds the counting of loops."""

    sandbox: ExpressionSandbox
    transforms: Mapping[str, Transform]
    source: str
    state: str | None
    names: frozenset[str] | None
    members: Mapping[str, frozenset[str]]
    """Members of some names."""
    _local: set[str] = field(default_factory=set)
    _repeated: list[nodes.Compare] = field(default_factory=list)
    """Comparisons in loops."""

    def run(self, tree: nodes.Template) -> None:
        """Check a whole tree; raise `ExpressionError` for the first mistake."""
        for name in tree.find_all(nodes.Name):
            if name.ctx != "load":
                self._local.add(name.name)
        for loop in tree.find_all(nodes.For):
            self._repeated.extend(loop.find_all(nodes.Compare))
        for node in list(tree.find_all(nodes.Node)):
            self._check(node)

    def _is_input(self, node: nodes.Expr) -> bool:
        """Return True if a value is a constant or a variable, and not computed by the expression."""
        owner = node.node if isinstance(node, nodes.Getattr) else node
        return _is_constant(node) or (isinstance(owner, nodes.Name) and owner.name not in self._local)

    def _check(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Name):
            self._check_name(node)
        elif isinstance(node, nodes.Filter):
            self._check_filter(node, node.name, node.args)
        elif isinstance(node, nodes.Test):
            if node.name not in self.sandbox.tests:
                hint = did_you_mean(node.name, self.sandbox.tests)
                if node.name in _EMPTY:
                    field = node.node.name if isinstance(node.node, nodes.Name) else "Email"
                    hint = f": `{field}` alone is true if it is not empty, and `not {field}` if it is"
                raise self._error(f"unknown test `{node.name}`{hint}", node, node.name, "is", "not")
        elif isinstance(node, nodes.Getattr):
            self._check_member(node)
        elif isinstance(node, nodes.Call):
            self._check_call(node)
        elif isinstance(node, nodes.For | nodes.Compare | nodes.Concat | nodes.Getitem):
            self._add_charge(node)
        elif type(node) in _STATEMENTS:
            word = _STATEMENTS[type(node)]
            raise self._error(f"`{{% {word} %}}` is not available; use if, for and set", node, word)

    def _check_name(self, node: nodes.Name) -> None:
        if node.ctx != "load" or node.name in self._local or node.name == "loop":
            return
        if node.name in _RESERVED or (self.names is not None and node.name not in self.names):
            hint = did_you_mean(node.name, self.names or ())
            if node.name in _EMPTY:
                hint = ": a field without a value is empty; write `Email` or `not Email`"
            raise self._error(f"unknown name `{node.name}`{hint}", node, node.name)

    def _check_member(self, node: nodes.Getattr) -> None:
        owner = node.node
        known = self.members.get(owner.name) if isinstance(owner, nodes.Name) and self.names is not None else None
        if known is not None and node.attr not in known:
            hint = did_you_mean(node.attr, known)
            raise self._error(f"`{getattr(owner, 'name', '')}` has no `{node.attr}`{hint}", node, node.attr, ".")

    def _check_call(self, node: nodes.Call) -> None:
        method = node.node
        if not isinstance(method, nodes.Getattr):
            name = method.name if isinstance(method, nodes.Name) else ""
            instead = f"; use the filter: `… | {name}`" if name in self.sandbox.filters else ""
            raise self._error(f"there is no function `{name}` here{instead}", node, name)
        if method.attr not in ALLOWED_METHODS:
            hint = did_you_mean(method.attr, ALLOWED_METHODS)
            raise self._error(f"there is no method `{method.attr}` here{hint}", node, method.attr, ".")

    def _add_charge(self, node: nodes.For | nodes.Compare | nodes.Concat | nodes.Getitem) -> None:
        """Change a node so that it takes its cost from the budget."""
        if isinstance(node, nodes.For):
            self._count_turns(node)
        elif isinstance(node, nodes.Compare):
            self._charge_comparison(node)
        elif isinstance(node, nodes.Getitem):
            if isinstance(node.arg, nodes.Slice):
                node.node = self._pass_through(node.node, "sliced")
        else:
            node.nodes = [self._pass_through(each, "weighed") for each in node.nodes]

    def _count_turns(self, node: nodes.For) -> None:
        if node.recursive:
            raise self._error("`{% for … recursive %}` is not available", node, "recursive")
        size = sum(1 for part in (*node.body, *node.else_) for _ in part.find_all(nodes.Node))
        node.iter = self._pass_through(cast("nodes.Expr", node.iter), "counted", nodes.Const(_TURN + size * _NODE))

    def _charge_comparison(self, node: nodes.Compare) -> None:
        """Charge a comparison, unless it runs only once or a constant on one side limits its cost."""
        sides = (node.expr, *(each.expr for each in node.ops))
        if not any(each is node for each in self._repeated) and all(self._is_input(each) for each in sides):
            return
        searches = [each for each in node.ops if each.op in {"in", "notin"}]
        for each in searches:
            if not _is_constant(each.expr):
                each.expr = self._pass_through(each.expr, "sought")
        if not any(isinstance(each, nodes.Const) for each in (node.expr, *(each.expr for each in node.ops))):
            node.expr = self._pass_through(node.expr, "weighed")
            for each in node.ops[:-1]:
                each.expr = self._pass_through(each.expr, "weighed")

    def _pass_through(self, node: nodes.Expr, name: str, *args: nodes.Expr) -> nodes.Expr:
        """Return a node that passes a value through one of the sandbox's internal filters."""
        through = nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)
        through.set_environment(self.sandbox)
        for each in args:
            each.lineno = node.lineno
        return through

    def _check_filter(self, node: nodes.Filter, name: str, args: list[nodes.Expr]) -> None:
        if name not in self.sandbox.filters or name in INTERNAL_FILTERS:
            hint = did_you_mean(name, self.sandbox.filters.keys() - INTERNAL_FILTERS)
            raise self._error(f"unknown transform or filter `{name}`{hint}", node, name, "|", "(")
        transform = self.transforms.get(name)
        if name in {"default", "d"}:
            self._check_default(node, args)
        if transform:
            self._check_transform(node, transform, args)
        elif name == "map" and not args and not node.dyn_args and not node.dyn_kwargs:
            self._check_arguments(node, name, args)
        elif name == "map":
            self._check_per_item(node, args)
        else:
            self._check_arguments(node, name, args)

    def _check_per_item(self, node: nodes.Filter, args: list[nodes.Expr]) -> None:
        """Check `map("truncate", 5)` like `truncate(5)`."""
        name = self._constant(args[0]) if args else _COMPUTED
        if not isinstance(name, str):
            raise self._error("`map` needs the name of a filter in quotes, or `attribute=…`", node, node.name, "|")
        self._check_filter(node, name, args[1:])

    def _check_default(self, node: nodes.Filter, args: list[nodes.Expr]) -> None:
        """Refuse a default that is never used: a field of the event is empty, and not undefined."""
        if len(args) == 1 and not node.kwargs and node.node is not None and self._is_defined(node.node):
            message = f"`{node.name}` never replaces an empty text like this: write `{node.name}(…, true)`"
            raise self._error(message, node, node.name, "|")

    def _is_defined(self, node: nodes.Expr) -> bool:
        """Return True if a value is defined for every event."""
        if isinstance(node, nodes.Filter) and node.node is not None and node.name in self.transforms:
            return self._is_defined(node.node)
        if isinstance(node, nodes.Getattr):
            return isinstance(node.node, nodes.Name) and node.node.name in self.members
        return isinstance(node, nodes.Name) and node.name in (self.names or ()) and node.name not in self._local

    def _check_arguments(self, node: nodes.Filter, name: str, args: list[nodes.Expr]) -> None:
        if node.dyn_args or node.dyn_kwargs:
            return
        function = inspect.unwrap(self.sandbox.filters[name])
        handed = 2 if hasattr(function, "jinja_pass_arg") else 1
        try:
            inspect.signature(function).bind(*[None] * (handed + len(args)), **_keywords(node))
        except TypeError as error:
            raise self._error(f"filter `{name}`: {error}", node, name, "|") from None

    def _check_transform(self, node: nodes.Filter, transform: Transform, args: list[nodes.Expr]) -> None:
        """Check the constant arguments of a transform; the others are checked when they are known."""
        if node.dyn_args or node.dyn_kwargs:
            raise self._error(f"write the arguments of `{transform.name}` one by one", node, node.name, "|")
        positional = [self._constant(argument) for argument in args]
        named = {key: self._constant(value) for key, value in _keywords(node).items()}
        computed = [
            parameter.name
            for at, parameter in enumerate(transform.parameters)
            if (positional[at] if at < len(positional) else named.get(parameter.name)) is _COMPUTED
        ]
        try:
            transform.check_names(positional, named)
            if not computed:
                transform.bind(positional, named)
        except TransformError as error:
            raise self._error(str(error), node, node.name, "|") from None
        for parameter in transform.parameters:
            if parameter.constant and parameter.name in computed:
                message = f"`{parameter.name}` must be a constant here, because strangers choose the values of an event"
                raise self._error(f"transform `{transform.name}`: {message}", node, node.name, "|")

    def _constant(self, node: nodes.Expr) -> Any:
        try:
            return node.as_const(self.sandbox.evaluation)
        except nodes.Impossible:
            return _COMPUTED

    def _error(self, message: str, node: nodes.Node, word: str, *before: str) -> ExpressionError:
        """Return an error at the first use of a word from the node's line on, after one of the tokens `before`."""
        seen = [token for token in _tokens(self.sandbox, self.source, self.state) if token.kind not in ignored_tokens]
        for previous, token in zip([None, *seen], seen, strict=False):
            fits = previous is None or not before or previous.text in before
            member = previous is not None and previous.text in {".", "|"} and not before
            if token.text == word and token.line >= node.lineno and fits and not member:
                return ExpressionError(message, token.line, token.column)
        return ExpressionError(message, node.lineno, None)
