"""What an expression gives before there is an event, when only some of its names are known. Pure.

Only what follows from the text itself: constants, the names that are known, and `and`, `or`, `not`, `if` over them. No
more is tried, so what is said is certain, and the rest is left open.
"""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import nodes

OPEN: Final = object()
"""Stands for a value that depends on the event."""


def certain_value(node: nodes.Expr, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an expression's value
    """Give the value of an expression, or `OPEN`.

    Args:
        node: The expression, checked.
        known: The names whose values are known.
    """
    if isinstance(node, nodes.And | nodes.Or):
        return _either(node, known)
    if isinstance(node, nodes.Not):
        value = certain_value(node.node, known)
        return OPEN if value is OPEN else not value
    if isinstance(node, nodes.CondExpr):
        test = certain_value(node.test, known)
        chosen = node.expr1 if test else node.expr2
        return OPEN if test is OPEN or chosen is None else certain_value(chosen, known)
    try:
        return _filled(node, known).as_const()
    except nodes.Impossible:
        return OPEN


def _either(node: nodes.And | nodes.Or, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an expression's value
    """Work out `and` and `or`, which one side alone can decide, whatever the other side gives."""
    left, right = certain_value(node.left, known), certain_value(node.right, known)
    decides = isinstance(node, nodes.Or)
    if left is not OPEN:
        return left if bool(left) is decides else right
    return right if right is not OPEN and bool(right) is decides else OPEN


def _filled(node: nodes.Expr, known: Mapping[str, Any]) -> nodes.Expr:
    """Give a copy of an expression with constants in place of the names that are known."""
    if isinstance(node, nodes.Name):
        return nodes.Const(known[node.name], lineno=node.lineno) if node.name in known else node
    copied = type(node)(*(_copied(getattr(node, name), known) for name in node.fields), lineno=node.lineno)
    copied.set_environment(node.environment)  # type: ignore[arg-type]  # every parsed node has one
    return copied


def _copied(value: Any, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever a node is made of
    if isinstance(value, list):
        return [_copied(each, known) for each in value]
    if isinstance(value, nodes.Operand | nodes.Keyword | nodes.Pair):
        copied = type(value)(*(_copied(getattr(value, name), known) for name in value.fields))
        copied.set_environment(value.environment)  # type: ignore[arg-type]  # every parsed node has one
        return copied
    return _filled(value, known) if isinstance(value, nodes.Expr) else value
