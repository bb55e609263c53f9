"""Templates for tests of connectors: plain Jinja, without the bridge's own filters."""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from connectors.base import ExpressionError


class PlainExpressions:
    """Compiler that implements `connectors.base.Expressions`. Its methods may run in parallel."""

    def __init__(self) -> None:
        self._strict = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        self._lenient = ImmutableSandboxedEnvironment(undefined=Undefined)

    def template(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], str]:
        """Compile a text with `{{ }}`. Both this method and the returned function raise `ExpressionError`."""
        try:
            self._check(source, names)
            compiled = self._strict.from_string(source)
        except TemplateError as error:
            raise ExpressionError(str(error)) from None
        return _as_expression_error(compiled.render)

    def expression(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], Any]:
        """Compile a bare expression. Raises as `template` does."""
        try:
            self._check(f"{{{{ {source} }}}}", names)
            compiled = self._lenient.compile_expression(source)
        except TemplateError as error:
            raise ExpressionError(str(error)) from None
        return _as_expression_error(compiled)

    def _check(self, source: str, names: frozenset[str] | None) -> None:
        if names is None:
            return
        unknown = find_undeclared_variables(self._strict.parse(source)) - names
        if unknown:
            raise ExpressionError(f"unknown name: {', '.join(sorted(unknown))}")


def _as_expression_error(function: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Turn errors caused by the values into `ExpressionError`, without a value in it."""

    def call(values: Mapping[str, Any]) -> Any:
        try:
            return function(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise ExpressionError(f"fails with {type(error).__name__}") from None

    return call
