"""Values of expressions that are certain when only some names are known. Pure.

Only constants, known names, and `and`, `or`, `not`, `if` over them are evaluated. Everything else stays unknown, so the
result is always certain.
"""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import nodes

UNKNOWN: Final = object()
"""Marker for a value that depends on the event."""


def certain_value(node: nodes.Expr, known: Mapping[str, Any]) -> Any:
    """Return the value of an expression, or `UNKNOWN`.

    Args:
        node: The expression, after its check.
        known: Values of the known names.
    """
    if isinstance(node, nodes.And | nodes.Or):
        return _either(node, known)
    if isinstance(node, nodes.Not):
        value = certain_value(node.node, known)
        return UNKNOWN if value is UNKNOWN else not value
    if isinstance(node, nodes.CondExpr):
        test = certain_value(node.test, known)
        chosen = node.expr1 if test else node.expr2
        return UNKNOWN if test is UNKNOWN or chosen is None else certain_value(chosen, known)
    try:
        return _filled(node, known).as_const()
    except nodes.Impossible:
        return UNKNOWN


def _either(node: nodes.And | nodes.Or, known: Mapping[str, Any]) -> Any:
    """Return the value of `and` or `or`, which one side alone can decide."""
    left, right = certain_value(node.left, known), certain_value(node.right, known)
    decides = isinstance(node, nodes.Or)
    if left is not UNKNOWN:
        return left if bool(left) is decides else right
    return right if right is not UNKNOWN and bool(right) is decides else UNKNOWN


def _filled(node: nodes.Expr, known: Mapping[str, Any]) -> nodes.Expr:
    """Return a copy of an expression with constants in place of the known names."""
    if isinstance(node, nodes.Name):
        return nodes.Const(known[node.name], lineno=node.lineno) if node.name in known else node
    copied = type(node)(*(_copied(getattr(node, name), known) for name in node.fields), lineno=node.lineno)
    copied.set_environment(node.environment)  # type: ignore[arg-type]  # every parsed node has one
    return copied


def _copied(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_copied(each, known) for each in value]
    if isinstance(value, nodes.Operand | nodes.Keyword | nodes.Pair):
        copied = type(value)(*(_copied(getattr(value, name), known) for name in value.fields))
        copied.set_environment(value.environment)  # type: ignore[arg-type]  # every parsed node has one
        return copied
    return _filled(value, known) if isinstance(value, nodes.Expr) else value
