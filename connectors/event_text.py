"""Texts that a route makes from an event: the name of a field, or a template (the setting `remark`)."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from connectors.base import Context, ExpressionError, SettingError


class Sources:
    """Compiler of such texts for one destination. Each text is compiled once."""

    def __init__(self, context: Context) -> None:
        self._expressions = context.expressions
        self._names = context.event_names
        self._compiled: dict[str, Callable[[Mapping[str, Any]], str]] = {}

    def text(self, source: str | None, event: Mapping[str, Any]) -> str:
        """Return the text for an event, stripped; empty without a source. Raises `ExpressionError`."""
        return "" if source is None else self._of(source)(event).strip()

    def words(self, source: str, event: Mapping[str, Any]) -> str:
        """Return the text for an event. A text without `{{ }}` that is no field is taken as it is."""
        return self.text(source, event) if self._is_source(source) else source.strip()

    def check(self, setting: str | tuple[str | int, ...], source: str | None) -> None:
        """Raise `SettingError` for a source that cannot be compiled. Used by `Connector.check_route`."""
        if source is None:
            return
        try:
            self._of(source)
        except ExpressionError as error:
            raise SettingError((setting,) if isinstance(setting, str) else setting, error.message) from error

    def check_words(self, setting: tuple[str | int, ...], source: str | None) -> None:
        """Raise `SettingError` for a source of `words` that cannot be compiled."""
        if source is not None and self._is_source(source):
            self.check(setting, source)

    def _is_source(self, source: str) -> bool:
        return source in self._names or "{{" in source or "{%" in source

    def _of(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        if source not in self._compiled:
            self._compiled[source] = self._compile(source)
        return self._compiled[source]

    def _compile(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        if source in self._names:
            return self._expressions.template(f"{{{{ {source} }}}}", self._names)
        if "{{" not in source and "{%" not in source:
            near = difflib.get_close_matches(source, self._names, 1)
            hint = f" (did you mean `{near[0]}`?)" if near else "; a text needs {{ }} in it"
            raise ExpressionError(f"unknown field `{source}` of the event{hint}")
        return self._expressions.template(source, self._names)
