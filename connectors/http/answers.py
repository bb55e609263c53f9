"""Answers to outcomes: for a call with one record, and for a batch whose answer has a result for each record. Pure.

Nothing is assumed. A record counts as delivered only if the status is a success, and every expression in the settings
can be evaluated and is true.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Blame, Context, Delivered, ExpressionError, Outcome, Reason, Record, Rejected, Retry
from connectors.http.requests import template_names, variables_of
from connectors.http.settings import HttpSettings, Otherwise, Results, setting
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import (
    CallTraits,
    classify,
    message_in,
    retry_after,
    shorten,
    status_meaning,
    words_in,
)

_WITHOUT_JSON = frozenset({"status", "headers"})
_NAMES = _WITHOUT_JSON | {"answer"}
_FALSE = frozenset({"", "0", "false", "no", "none", "null"})
_LONGEST_ID = 500
_LONGEST_LINK = 2000
_MULTI_STATUS = 207

Values = Mapping[str, Any]
_RESULT = frozenset({"result"})


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression over an answer."""

    of: Callable[[Values], Any]
    needs_json: bool


class Reader:
    """Reader of the answer to a call: returns the outcome of its record.

    Args:
        settings: Settings of the destination.
        context: Compiles expressions.
        traits: Properties of the requests that change the meaning of answers.
        secrets: Masks secrets that the destination repeats.

    Raises:
        SettingError: an expression cannot be compiled.
    """

    def __init__(self, settings: HttpSettings, context: Context, traits: CallTraits, secrets: Secrets) -> None:
        self._traits = traits
        self._secrets = secrets
        self._otherwise = settings.success.otherwise
        of_result = frozenset({"result"} if settings.results else ())
        self._when = optional_expression(settings.success.when, context, "success", "when")
        self._id = optional_expression(settings.remote_id, context, "remote_id", more=of_result)
        self._link = optional_expression(settings.remote_url, context, "remote_url", more=of_result)
        expressions = [each for each in (self._when, self._id, self._link) if each is not None]
        self._plain = not expressions
        self._needs_json = settings.results is not None or any(each.needs_json for each in expressions)
        reads_body = settings.success.when is not None or settings.results is not None
        self._success = settings.success.status or _usual_success(reads_body=reads_body)

    def one(self, answer: Answer, now: float) -> Outcome:
        """Return the outcome of a call with one record. `now` is in seconds since the epoch."""
        if self._plain and answer.status in self._success:
            return Delivered(status=answer.status)
        values = self.success(answer, now)
        return self.delivered(values) if isinstance(values, dict) else values

    def success(self, answer: Answer, now: float) -> dict[str, Any] | Outcome:
        """Return the variables for expressions if the call as a whole succeeded, else its outcome."""
        if answer.status not in self._success:
            return self._failed(answer, now)
        values: dict[str, Any] = {"status": answer.status, "headers": answer.headers, "answer": None}
        try:
            values["answer"] = answer.json()
        except ValueError:
            if self._needs_json:
                return self.unreadable(answer.status, "not with JSON")
        return values if self._when is None else self._checked(self._when, values)

    def delivered(self, values: Values) -> Delivered:
        """Return the outcome of a written record, with its id and link if they can be read."""
        remote_id, no_id = _read(self._id, values, identifier, "remote_id")
        remote_url, no_link = _read(self._link, values, _safe_link, "remote_url")
        warning = "; ".join(filter(None, (no_id, no_link)))
        return Delivered(remote_id, remote_url, self._secrets.mask(warning) or None, values["status"])

    def unreadable(self, status: int, why: str, blame: Blame = Blame.UNCLEAR) -> Retry:
        """Return the outcome of an answer that does not account for a record."""
        detail = shorten(self._secrets.mask(f"it answered {status}, but {why}"))
        return Retry(Reason.BAD_ANSWER, detail, blame, None, status)

    def refused(
        self, values: Values, why: str, words: str, otherwise: Otherwise, blame: Blame | None = None
    ) -> Outcome:
        """Return the outcome of an answer that denies a write, with the destination's own message."""
        quotation = f' ("{shorten(self._secrets.mask(words))}")' if words else ""
        detail = f"it answered {values['status']}, but {why}{quotation}"
        if otherwise == "reject":
            return Rejected(Reason.REFUSED, detail, blame or Blame.BATCH, values["status"])
        return Retry(Reason.REFUSED, detail, blame or Blame.UNCLEAR, None, values["status"])

    def _checked(self, when: Expression, values: dict[str, Any]) -> dict[str, Any] | Outcome:
        try:
            if is_true(when.of(values)):
                return values
        except ExpressionError as error:
            return self.unreadable(values["status"], f"success.when cannot be read: {error.message}")
        return self.refused(values, "success.when is not true", message_in(values["answer"]), self._otherwise)

    def _failed(self, answer: Answer, now: float) -> Outcome:
        words = shorten(self._secrets.mask(words_in(answer.body, answer.headers.get("Content-Type", ""))))
        outcome = classify(answer.status, answer.headers, now, words, self._traits)
        if not isinstance(outcome, Delivered):
            return outcome
        detail = f"it answered {answer.status}, which success.status does not name"
        return Retry(Reason.BAD_ANSWER, detail, Blame.UNCLEAR, retry_after(answer.headers, now), answer.status)


def optional_expression(
    source: str | None, context: Context, *path: str, more: frozenset[str] = frozenset()
) -> Expression | None:
    """Compile an expression if there is one; see `expression`."""
    return None if source is None else expression(source, context, *path, more=more)


def expression(source: str, context: Context, *path: str, more: frozenset[str] = frozenset()) -> Expression:
    """Compile an expression over an answer, and determine whether it needs the answer's JSON.

    Args:
        source: Text of the expression.
        context: Compiles it.
        path: Path of the setting.
        more: Names that it may use besides `status`, `headers` and `answer`.

    Raises:
        SettingError: the expression cannot be compiled.
    """
    with setting(*path):
        try:
            return Expression(context.expressions.expression(source, _WITHOUT_JSON), needs_json=False)
        except ExpressionError:
            return Expression(context.expressions.expression(source, _NAMES | more), needs_json=True)


def is_true(value: object) -> bool:
    """Return True if a value of an answer means yes. Words such as `no` are true to Jinja, but not here."""
    return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)


def identifier(value: object) -> str | None:
    """Return a text or whole number as an id; None for anything else and for an empty text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip()[:_LONGEST_ID] or None


def _safe_link(value: object) -> str | None:
    """Return a link if it is safe in a page that shows it, else None."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text.lower().startswith(("https://", "http://")) and len(text) <= _LONGEST_LINK else None


def _usual_success(*, reads_body: bool) -> frozenset[int]:
    """Return the success statuses for settings that name none."""
    usual = frozenset(status for status in range(200, 300) if status_meaning(status).verdict is Delivered)
    return usual | {_MULTI_STATUS} if reads_body else usual


def _read(
    source: Expression | None, values: Values, as_text: Callable[[object], str | None], name: str
) -> tuple[str | None, str | None]:
    """Return the value of an expression over a success, and a warning if there is none."""
    if source is None:
        return None, None
    try:
        text = as_text(source.of(values))
    except ExpressionError as error:
        return None, shorten(f"{name} cannot be read: {error.message}")
    return text, None if text else f"the answer holds no {name}"


class _Nothing:
    """Marker for a record that has no result in the answer."""


_NOTHING = _Nothing()


class ResultsReader:
    """Reader of the answer to a batch: an outcome for each record, not delivered where there is no result.

    Args:
        results: Settings of batch mode.
        context: Compiles expressions.
        reader: Reads the answer as a whole.

    Raises:
        SettingError: an expression cannot be compiled.
    """

    def __init__(self, results: Results, context: Context, reader: Reader) -> None:
        self._reader = reader
        self._otherwise = results.otherwise
        self._each = expression(results.each, context, "results", "each").of
        self._ok = expression(results.ok, context, "results", "ok", more=_RESULT).of
        self._error = optional_expression(results.error, context, "results", "error", more=_RESULT)
        self._record_key: Callable[[Values], Any] | None = None
        self._result_key: Callable[[Values], Any] | None = None
        if results.match is not None:
            with setting("results", "match", "record"):
                self._record_key = context.expressions.expression(results.match.record, template_names(context))
            self._result_key = expression(results.match.result, context, "results", "match", "result", more=_RESULT).of

    def outcomes(
        self,
        answer: Answer,
        records: Sequence[Record],
        now: float,
        matched: Callable[[Record, Any], None] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes of the records, in their order. `now` is in seconds since the epoch.

        Calls `matched` with each record and its result, None if it has none.
        """
        values = self._reader.success(answer, now)
        if not isinstance(values, dict):
            return [values] * len(records)
        results = self._results_of(values, records)
        if isinstance(results, str):
            return [self._reader.unreadable(answer.status, results)] * len(records)
        # Without a single result, the settings or the destination are at fault rather than each record.
        blame = Blame.UNCLEAR if all(result is _NOTHING for result in results) else Blame.RECORD
        if matched is not None:
            for record, result in zip(records, results, strict=True):
                matched(record, None if result is _NOTHING else result)
        return [self._outcome({**values, "result": result}, blame) for result in results]

    def is_matching(self) -> bool:
        """Return True if results are matched by a value rather than by position."""
        return self._record_key is not None

    def key_of(self, record: Record) -> str | None:
        """Return the value that matches a record to its result; None if it has none, or none is needed."""
        if self._record_key is None:
            return None
        try:
            return identifier(self._record_key(variables_of(record)))
        except ExpressionError:
            return None

    def _outcome(self, values: Values, blame: Blame) -> Outcome:
        result = values["result"]
        if result is _NOTHING:
            return self._reader.unreadable(values["status"], "says nothing of this record", blame)
        try:
            if is_true(self._ok(values)):
                return self._reader.delivered(values)
            error = result if self._error is None else self._error.of(values)
        except ExpressionError as failed:
            why = f"its result for this record cannot be read: {failed.message}"
            return self._reader.unreadable(values["status"], why, Blame.RECORD)
        return self._reader.refused(
            values, "results.ok is not true for this record", message_in(error), self._otherwise, Blame.RECORD
        )

    def _results_of(self, values: Values, records: Sequence[Record]) -> list[Any] | str:
        """Return the results in the order of the records, or the problem of the answer."""
        try:
            results = self._each(values)
        except ExpressionError as error:
            return f"results.each cannot be read: {error.message}"
        if not isinstance(results, list | tuple):
            return "results.each does not return a list"
        if self._result_key is not None:
            by_key = self._by_key(self._result_key, values, results)
            return [by_key.get(self.key_of(record), _NOTHING) for record in records]
        if len(results) != len(records):
            return f"with {len(results)} results for {len(records)} records"
        return list(results)

    def _by_key(self, key_of: Callable[[Values], Any], values: Values, results: Sequence[Any]) -> dict[str | None, Any]:
        """Return the results by key. Two results for one key may contradict each other and count as none."""
        found: dict[str | None, Any] = {}
        for result in results:
            try:
                key = identifier(key_of({**values, "result": result}))
            except ExpressionError:
                continue
            found[key] = _NOTHING if key in found else result
        found[None] = _NOTHING  # a result without a key does not belong to a record without a key
        return found
