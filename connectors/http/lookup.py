"""The search for an existing record and its update, for APIs without an upsert. Pure: the time is passed in.

A record is looked for on each attempt, so a lost answer doubles nothing, provided that the API's search finds a record
that was created just before.
"""

from dataclasses import replace
from typing import Any

from connectors.base import Context, Delivered, ExpressionError, Outcome, Record, SettingError
from connectors.http.answers import Reader, expression, identifier, is_true, optional_expression
from connectors.http.requests import HttpRequest, HttpRequests
from connectors.http.settings import Find, HttpSettings, Success, Update, within
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import message_in

FOUND = "found"
"""Name of the found record's id in the templates of `update`."""


class Lookup:
    """Search and update of a destination with `find`.

    Args:
        settings: Settings of the destination; `find` is set.
        context: Compiles templates and expressions.
        secrets: Masks secrets that the destination repeats.

    Raises:
        SettingError: a template or an expression cannot be compiled, or settings do not fit together.
    """

    def __init__(self, settings: HttpSettings, context: Context, secrets: Secrets) -> None:
        find = settings.find
        assert find is not None  # noqa: S101 - the caller has seen it
        if settings.results is not None:
            raise SettingError(("results",), "cannot be used together with find: each record is looked for by itself")
        if settings.method == "GET":
            raise SettingError(("method",), "must create the record, so it cannot be GET together with find")
        with within("find"):
            self._find = HttpRequests(_search_settings(settings, find), context)
            self._reader = Reader(_search_settings(settings, find), context, self._find.traits, secrets)
            self._id = expression(find.id, context, "id").of
            self._when = optional_expression(find.when, context, "when")
        self._missing = find.missing or frozenset()
        self._update: HttpRequests | None = None
        if settings.update is not None:
            with within("update"):
                changed = _update_settings(settings, settings.update)
                names = replace(context, event_names=context.event_names | {FOUND})
                self._update = HttpRequests(changed, names)
                self._update_reader = Reader(changed, context, self._update.traits, secrets)

    def request(self, record: Record, now: float) -> HttpRequest:
        """Return the search for a record. Raises `ExpressionError` if it cannot be sent."""
        return self._find.request(record, now)

    def found(self, answer: Answer, now: float) -> str | Outcome | None:
        """Return the id in the answer to a search, None if there is no such record, or the outcome of a failure."""
        if answer.status in self._missing:
            return None
        values = self._reader.success(answer, now)
        if not isinstance(values, dict):
            return values
        if values["answer"] is None:
            return self._reader.unreadable(answer.status, "not with JSON")
        return self._id_in(values)

    def update_request(self, record: Record, found: str, now: float) -> HttpRequest | None:
        """Return the update of a found record, None if it is left as it is. Raises `ExpressionError`."""
        if self._update is None:
            return None
        return self._update.request(replace(record, event={**record.event, FOUND: found}), now)

    def updated(self, answer: Answer, found: str, now: float) -> Outcome:
        """Return the outcome of an update."""
        outcome = self._update_reader.one(answer, now)
        return replace(outcome, remote_id=found) if isinstance(outcome, Delivered) else outcome

    def _id_in(self, values: dict[str, Any]) -> str | Outcome | None:
        status = values["status"]
        try:
            if self._when is not None and not is_true(self._when.of(values)):
                words = message_in(values["answer"])
                return self._reader.refused(values, "find.when is not true", words, "retry")
            found = self._id(values)
        except ExpressionError as error:
            return self._reader.unreadable(status, f"find cannot be read: {error.message}")
        if found in (None, "", [], {}):
            return None if self._when is not None else self._reader.unreadable(status, "names no find.id")
        return identifier(found) or self._reader.unreadable(status, "find.id is neither a text nor a whole number")


def _search_settings(settings: HttpSettings, find: Find) -> HttpSettings:
    """Return the settings of the search as those of a call of its own."""
    changed: dict[str, Any] = {
        "url": find.url,
        "method": find.method,
        "body": find.body or "none",
        "wrap": None,
        "success": Success(),
    }
    changed |= {"idempotency_key": False, "remote_id": None, "remote_url": None}
    return settings.model_copy(update=changed)


def _update_settings(settings: HttpSettings, update: Update) -> HttpSettings:
    changed: dict[str, Any] = {"url": update.url, "method": update.method, "idempotency_key": False}
    changed |= {"remote_id": None, "remote_url": None}  # the answer to an update may be empty
    if update.body is not None:
        changed |= {"body": update.body, "wrap": None}
    if update.success is not None:
        changed["success"] = update.success
    return settings.model_copy(update=changed)
