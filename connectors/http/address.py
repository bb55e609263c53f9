"""The address that a call goes to: fixed, or a template whose values are percent-encoded. Pure."""

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
    """A record that no request can be made of: its values do not suit a template. Nothing has been sent."""


class Address:
    """A destination's URL.

    What `{{ }}` gives is percent-encoded whole, `/`, `?` and `&` too, in the path as in the query (RFC 3986 section
    2.1), so that no value of a lead can lead to another resource or add a parameter. The rest is the operator's and is
    taken as written. For the same reason a part of the path that holds a value must not come out empty, `.` or `..`.
    Values are possible in path and query only: a lead must not choose the server.

    Args:
        source: The URL, with or without `{{ }}`.
        expressions: Compiles what is in the braces.
        names: The names that it may use.
        allow_private: Whether the host may be private and the scheme plain http.

    Raises:
        ValueError: the URL cannot be used, with a line for the operator; an `ExpressionError` where it is what is in
            the braces that cannot be compiled.
    """

    def __init__(self, source: str, expressions: Expressions, names: frozenset[str], *, allow_private: bool) -> None:
        url, values = _marked(source)
        check_url(url, allow_private=allow_private)
        self.fixed = None if values else url
        """The URL, where it is the same for each record; else None."""
        self.root = url.with_path("/").with_query(None)
        """The root of its server; no value can be in it."""
        marks = "|".join(re.escape(_MARK.format(number)) for number in range(len(values)))
        self._texts = re.split(marks, str(url)) if values else [str(url)]
        self._values = [expressions.template(value, names) for value in values]

    def url(self, variables: Mapping[str, Any]) -> URL:
        """Give the URL for a record. Raises `ExpressionError` where its values do not suit."""
        if self.fixed is not None:
            return self.fixed
        parts = [self._texts[0]]
        for value, text in zip(self._values, self._texts[1:], strict=True):
            parts += (quote(value(variables), safe="", errors="replace"), text)
        _check_segments(parts)
        return URL("".join(parts), encoded=True)


def _marked(source: str) -> tuple[URL, list[str]]:
    """Read the URL with marks in place of values, and give the values beside it."""
    if "{%" in source or "{#" in source:
        raise ValueError("may have {{ }} only, for each value is encoded by itself")
    values = _VALUE.findall(source)
    for number in range(len(values)):
        source = _VALUE.sub(_MARK.format(number), source, count=1)
    if "{{" in source or "}}" in source:
        raise ValueError("has {{ without }}, or the other way round")
    if "#" in source:
        raise ValueError("must not have a fragment (#), which is never sent")
    authority = _AUTHORITY.match(source)
    if values and authority and _MARK.format(0) in authority[0]:
        raise ValueError("may have {{ }} in its path and query only")
    try:
        url = URL(source)
        _ = url.port  # read only when asked for, and refused only then
    except ValueError:
        raise ValueError("is not a URL") from None
    return url, values


def _check_segments(parts: list[str]) -> None:
    """Refuse a path that values have turned into another one; every second part is a value."""
    held = "".join(f"\0{part}" if number % 2 else part for number, part in enumerate(parts))
    for segment in held.partition("?")[0].split("/"):
        if "\0" in segment and segment.replace("\0", "") in ("", ".", ".."):
            raise UnsendableError("a value in the path of the URL is empty or made of dots")
