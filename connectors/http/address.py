"""The address of a call, and the one redirect from a write to the place of its answer. Pure.

Some APIs do the work, answer 302, and keep the text of the answer elsewhere. Google Apps Script is the best known: the
script has run when the 302 arrives, and `script.googleusercontent.com` holds its output for one GET without body and
without credentials (developers.google.com/apps-script/guides/content, "Redirects"). To send the write again, or to send
it to the new place, would be wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from yarl import URL

from connectors.base import Blame, Delivered, ExpressionError, Expressions, Reason, Retry, SettingError
from connectors.http.settings import HttpSettings
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Answer
from connectors.http_client.status_table import classify, shorten

_VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_AUTHORITY = re.compile(r"[^/?#]*(?://[^/?#]*)?")
_MARK = "leadbridge-value-{}-"  # stands for a value while yarl reads the rest; nothing in it gets quoted

STATUSES = frozenset({302, 303})
"""Statuses after which the answer of a POST is read with a GET (RFC 9110 sections 15.4.3 and 15.4.4)."""
SCRIPT_HOST = "script.google.com"
"""Host of Apps Script's web apps."""
_ANSWER_HOST = "script.googleusercontent.com"
_ADVICE = "if it does so after a write, the record is there; set `follow: get` and `success.when`"


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
            parts += (quote(value(variables), safe=""), text)
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


class Redirects:
    """Decision about redirects, under the settings of a destination.

    Args:
        settings: Settings of the destination.
        per_record: True if the address of a write was made from the record's values.

    Raises:
        SettingError: the settings would lose or double leads.
    """

    def __init__(self, settings: HttpSettings, *, per_record: bool) -> None:
        _check(settings)
        self._follows = settings.follow is not None
        self._blame = Blame.UNCLEAR if per_record else Blame.DESTINATION
        self._hosts = frozenset(map(str.lower, settings.follow_hosts)) or frozenset({_ANSWER_HOST})
        self._allow_private = settings.allow_private

    def target(self, answer: Answer, asked: URL) -> URL | Retry:
        """Return the place of the answer to a write, or the outcome if it must not be read.

        Args:
            answer: An answer with one of `STATUSES`.
            asked: URL of the write.
        """
        place = _place(answer, asked)
        if place is None:
            return self._failed(answer, "it points to no address")
        host = (place.host or "").lower()
        if not self._follows:
            name = "" if host == _ANSWER_HOST or not host else f" and `follow_hosts: [{host}]`"
            return self._failed(answer, f"it points to {host or 'no host'}; {_ADVICE}{name}, else correct the address")
        if host not in self._hosts:
            allowed = "publish the web app for Anyone" if host.endswith("google.com") else "correct follow_hosts"
            return self._failed(answer, f"it points to {host}, which `follow` does not allow; {allowed}")
        try:
            check_url(place, allow_private=self._allow_private)
        except ValueError as error:
            return self._failed(answer, f"it points to {host}, and the address {error}")
        return place

    def unread(self, answer: Answer, now: float) -> Retry | None:
        """Return the outcome if the place of the answer does not have it: the write was done, but how is unknown.

        None for a success, which is read like any other answer. `now` is in seconds since the epoch.
        """
        if answer.status in STATUSES:
            return self._failed(answer, "the place of its answer redirects once more, which is not followed")
        outcome = classify(answer.status, answer.headers, now)
        if isinstance(outcome, Delivered):
            return None
        detail = f"its answer cannot be read where the redirect points: {outcome.detail}"
        if isinstance(outcome, Retry):
            return replace(outcome, detail=detail)
        return Retry(outcome.reason, detail, Blame.UNCLEAR, None, answer.status)

    def _failed(self, answer: Answer, why: str) -> Retry:
        detail = shorten(f"it answered {answer.status}: {why}")
        return Retry(Reason.REDIRECT, detail, self._blame, None, answer.status)


def _check(settings: HttpSettings) -> None:
    if settings.follow is None:
        if URL(settings.url).host == SCRIPT_HOST:
            why = "answers with a redirect after each write; set `follow: get`, and `success.when` such as `answer.ok`"
            raise SettingError(("url",), f"{SCRIPT_HOST} {why}")
        if settings.follow_hosts:
            raise SettingError(("follow_hosts",), "needs follow: get")
    elif settings.success.when is None:
        why = "needs success.when, such as `answer.ok`: a page with an error can have the status 200 too"
        raise SettingError(("follow",), why)
    elif settings.method == "GET":
        raise SettingError(("follow",), "is for a write; with method: GET correct url")


def _place(answer: Answer, asked: URL) -> URL | None:
    try:
        return asked.join(URL(answer.headers["Location"], encoded=True))
    except (KeyError, ValueError):
        return None
