"""The address of a call: fixed, or a template whose values are percent-encoded. Pure."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from yarl import URL

from connectors.base import ExpressionError, Expressions
from connectors.http_client.address_guard import check_url

_VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_AUTHORITY = re.compile(r"[^/?#]*(?://[^/?#]*)?")
_MARK = "leadbridge-value-{}-"  # stands for a value while yarl reads the rest; nothing in it gets quoted


class UnsendableError(ExpressionError):
    """A record that cannot become a request: its values do not suit a template. Nothing was sent."""


class Address:
    """URL of a destination, with or without template values.

    The result of each `{{ }}` is percent-encoded as a whole, including `/`, `?` and `&`, in the path as in the query
    (RFC 3986 section 2.1), so that no value of a lead can reach another resource or add a parameter. The rest comes
    from the operator and is used as written. For the same reason a path segment with a value must not become empty, `.`
    or `..`. Values are allowed in path and query only: a lead must not choose the server.

    Args:
        source: The URL, with or without `{{ }}`.
        expressions: Compiles the templates.
        names: Names that the templates may use.
        allow_private: True if the host may be private and the scheme plain http.

    Raises:
        ValueError: the URL cannot be used, with a line for the operator; an `ExpressionError` if a template cannot be
            compiled.
    """

    def __init__(self, source: str, expressions: Expressions, names: frozenset[str], *, allow_private: bool) -> None:
        url, values = _marked(source)
        check_url(url, allow_private=allow_private)
        self.fixed = None if values else url
        """The URL if it is the same for each record; else None."""
        self.root = url.with_path("/").with_query(None)
        """Root of the server; it cannot contain a value."""
        marks = "|".join(re.escape(_MARK.format(number)) for number in range(len(values)))
        self._texts = re.split(marks, str(url)) if values else [str(url)]
        self._values = [expressions.template(value, names) for value in values]

    def url(self, variables: Mapping[str, Any]) -> URL:
        """Return the URL for a record. Raises `ExpressionError` for unsuitable values."""
        if self.fixed is not None:
            return self.fixed
        parts = [self._texts[0]]
        for value, text in zip(self._values, self._texts[1:], strict=True):
            parts += (quote(value(variables), safe="", errors="replace"), text)
        _check_segments(parts)
        return URL("".join(parts), encoded=True)


def _marked(source: str) -> tuple[URL, list[str]]:
    """Return the URL with marks in place of its values, and the values."""
    if "{%" in source or "{#" in source:
        raise ValueError("may have {{ }} only, because each value is encoded by itself")
    values = _VALUE.findall(source)
    for number in range(len(values)):
        source = _VALUE.sub(_MARK.format(number), source, count=1)
    if "{{" in source or "}}" in source:
        raise ValueError("has {{ without }}, or }} without {{")
    if "#" in source:
        raise ValueError("must not have a fragment (#), which is never sent")
    authority = _AUTHORITY.match(source)
    if values and authority and _MARK.format(0) in authority[0]:
        raise ValueError("may have {{ }} in its path and query only")
    try:
        url = URL(source)
        _ = url.port  # yarl checks the port only when it is read
    except ValueError:
        raise ValueError("is not a URL") from None
    return url, values


def _check_segments(parts: list[str]) -> None:
    """Raise `UnsendableError` for a path that values have redirected; every second part is a value."""
    marked = "".join(f"\0{part}" if number % 2 else part for number, part in enumerate(parts))
    for segment in marked.partition("?")[0].split("/"):
        if "\0" in segment and segment.replace("\0", "") in ("", ".", ".."):
            raise UnsendableError("a value in the path of the URL is empty or made of dots")
