"""From the answer of a batch to the outcome of each of its records. Pure: the time is passed in."""

from collections.abc import Callable, Sequence
from typing import Any

from connectors.answers import Answer
from connectors.base import Blame, Context, ExpressionError, Outcome, Record
from connectors.classify import message_in
from connectors.http.reading import Reader, Values, expression, identifier, is_true, optional_expression
from connectors.http.settings import Results, setting
from connectors.http.wire import template_names, variables_of


class _Nothing:
    """Stands for the result of a record of which the answer says nothing."""


_NOTHING = _Nothing()
_RESULT = frozenset({"result"})


class ResultsReader:
    """Says of each record of a batch what became of it. A record without a result counts as not delivered.

    Args:
        results: The destination's settings of batch mode.
        context: For compiling expressions.
        reader: Reads the answer as a whole.

    Raises:
        SettingError: for an expression that cannot be compiled.
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

    def outcomes(self, answer: Answer, records: Sequence[Record], now: float) -> list[Outcome]:
        """Say what became of the records, in their order. `now` is in seconds since the epoch."""
        values = self._reader.success(answer, now)
        if not isinstance(values, dict):
            return [values] * len(records)
        found = self._found(values, records)
        if isinstance(found, str):
            return [self._reader.unreadable(answer.status, found)] * len(records)
        # Where not one is found, settings or destination are the trouble rather than each of the records.
        blame = Blame.UNCLEAR if all(result is _NOTHING for result in found) else Blame.RECORD
        return [self._outcome({**values, "result": result}, blame) for result in found]

    def is_matching(self) -> bool:
        """Tell whether results are found by a value rather than by position."""
        return self._record_key is not None

    def key_of(self, record: Record) -> str | None:
        """Give the value that the record's result is found by; None where it has none, or none is needed."""
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

    def _found(self, values: Values, records: Sequence[Record]) -> list[Any] | str:
        """Give the results in the order of the records; or what is wrong with the answer."""
        try:
            results = self._each(values)
        except ExpressionError as error:
            return f"results.each cannot be read: {error.message}"
        if not isinstance(results, list | tuple):
            return "results.each gives no list"
        if self._result_key is not None:
            by_key = self._by_key(self._result_key, values, results)
            return [by_key.get(self.key_of(record), _NOTHING) for record in records]
        if len(results) != len(records):
            return f"with {len(results)} results for {len(records)} records"
        return list(results)

    def _by_key(self, key_of: Callable[[Values], Any], values: Values, results: Sequence[Any]) -> dict[str | None, Any]:
        """Index the results. Two for one key may contradict each other, so they count as none."""
        found: dict[str | None, Any] = {}
        for result in results:
            try:
                key = identifier(key_of({**values, "result": result}))
            except ExpressionError:
                continue
            found[key] = _NOTHING if key in found else result
        found[None] = _NOTHING  # a result without a key, and a record without one, have nothing in common
        return found
