"""Mapping of an event's fields to the fields of a record. Pure.

The configuration's `fields` are parsed into `FieldForm`s, compiled once (`compile_mapping`), and applied to each event
(`FieldMapping.apply`). The same pass explains the record, with every intermediate value, if a list for that is given.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from bridge.errors import LeadbridgeError, did_you_mean
from bridge.event import EVENT_FIELDS, Event, encodable, timestamp
from bridge.mapping import budget
from bridge.mapping.budget import FIELD_TEXT, RECORD_TEXT, Budget, LimitError, spending
from bridge.mapping.expressions.sandbox import TEXT_METHODS
from bridge.mapping.field_form import FieldForm
from bridge.mapping.transform_api import Transform, TransformError, TransformStep, to_json
from bridge.mapping.transforms import BUILTIN
from connectors.base import ExpressionError, Expressions

EVENT_MEMBERS: Final = frozenset({"id", "received_at"})
EVENT_NAMES: Final = frozenset(EVENT_FIELDS) | {"event", "chatbot"}
"""Names that expressions over an event may use."""
EVENT_NAME_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((*EVENT_FIELDS, "chatbot"), TEXT_METHODS),
    "event": EVENT_MEMBERS,
}
"""Members of some of `EVENT_NAMES`, for `expressions.JinjaExpressions`."""
_SOURCES: Final = (*EVENT_FIELDS, "chatbot", *(f"event.{name}" for name in sorted(EVENT_MEMBERS)))
_LABEL: Final = 80
_SEPARATORS: Final = re.compile(r"[\s,;+&|/]+")
_PLAIN_TEXT: Final = re.compile(r"\w[\w .-]{0,39}")
_LEFT_OUT: Final = object()
_NO_FIELDS: Final = dict.fromkeys(EVENT_FIELDS, "")

FieldPath = tuple[str | int, ...]


def event_variables(event: Event) -> dict[str, Any]:
    """Return the variables of an event for expressions and mappings.

    These are its ten fields by the sender's names, `event` with its `id` and `received_at` (ISO 8601, UTC), and
    `chatbot`, its name in the configuration or `""`.
    """
    return {
        **_NO_FIELDS,
        **event.fields,
        "event": {"id": event.id, "received_at": timestamp(event.received_at)},
        "chatbot": event.chatbot or "",
    }


class MappingError(LeadbridgeError):
    """Error for an event that the mapping cannot turn into a record: fix the mapping, then replay the delivery.

    The message says what to do and contains no value of the event.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"field `{field}`: {message}")
        self.field = field
        """Name of the field at the destination."""
        self.message = message


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """Mistake in a field of the configuration."""

    path: FieldPath
    """Path below `fields`: the record's field, then keys and indexes."""
    message: str
    cause: ExpressionError | None = None
    """Error in an expression, with its position in the text at `path`."""


class FieldsError(LeadbridgeError):
    """Error for fields that cannot be compiled, with all mistakes."""

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in self.problems))


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step in the computation of a field."""

    label: str
    """Name of the step: a source, a transform with its arguments, `lookup`, `default` or `value`."""
    value: Any
    """Value after the step."""


@dataclass(frozen=True, slots=True)
class FieldTrace:
    """Computation of one field, step by step."""

    field: str
    sources: tuple[str, ...]
    """All possible sources, as written in the configuration."""
    steps: tuple[TraceStep, ...]
    """Steps up to the last one, or to the one before the failure."""
    value: Any
    """Value that is sent; None if nothing is sent."""
    left_out: bool
    """True if the record does not contain the field."""
    error: str | None = None
    """Reason why there is no record, as in `MappingError.message`."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One compiled field."""

    name: str
    sources: tuple[tuple[str, TransformStep], ...]
    """Labels and functions from the variables to a value."""
    steps: tuple[tuple[str, TransformStep], ...]
    """Labels and functions of the transforms and the lookup."""
    default_label: str
    default: Any
    required: bool
    keep_empty: bool
    write: str | None
    """Mode of writing; None if the configuration names none, which means always."""

    def value(self, event_variables: Mapping[str, Any], steps: list[TraceStep] | None) -> Any:
        """Return the value, or `_LEFT_OUT` if it is empty. Add each step to `steps` if it is given."""
        value: Any = ""
        label = ""
        try:
            for label, read in self.sources:
                value = read(event_variables)
                if steps is not None:
                    steps.append(TraceStep(label, value))
                if not _is_empty(value):
                    break
            for label, step in self.steps:
                if _is_empty(value):
                    break
                value = step(value)
                if steps is not None:
                    steps.append(TraceStep(label, value))
        except Exception as error:  # noqa: BLE001 - whatever the values make of it is the mapping's failure
            raise self._failure(label, error) from None
        if _is_empty(value) and self.default is not None:
            value = self.default
            if steps is not None:
                steps.append(TraceStep(self.default_label, value))
        # Constants of the configuration and transforms of plug-ins may hold half an emoji; the event's values do not.
        return self._empty() if _is_empty(value) else encodable(value)

    def _empty(self) -> Any:
        """Return the replacement of an empty value; raise `MappingError` if the field is required."""
        if self.required:
            sources = ", ".join(_step_name(label) for label, _ in self.sources) or "its value"
            raise MappingError(
                self.name,
                f"required, but empty in this event (from {sources}): add another source or a default, then replay the "
                f"delivery",
            )
        return "" if self.keep_empty else _LEFT_OUT

    def trace(self, steps: Iterable[TraceStep], value: Any, error: str | None) -> FieldTrace:
        """Return how the field got its value."""
        left_out = value is _LEFT_OUT
        sources = tuple(label for label, _ in self.sources)
        return FieldTrace(self.name, sources, tuple(steps), None if left_out else value, left_out, error)

    def _failure(self, label: str, error: Exception) -> MappingError:
        if isinstance(error, ExpressionError):
            what = f"line {error.line} of its template fails: {error.message}"
        elif isinstance(error, TransformError):
            what = str(error)
        elif isinstance(error, LimitError):
            what = f"{_step_name(label)} {error}"
        else:
            what = f"{_step_name(label)} fails with {type(error).__name__}"
        return MappingError(self.name, f"{what}; fix the mapping, then replay the delivery")


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The compiled fields of a route, in the order of the configuration."""

    _fields: tuple[_Field, ...] = ()
    create_only: frozenset[str] = frozenset()
    """Names of the fields with `write: create`."""
    if_empty: frozenset[str] = frozenset()
    """Names of the fields with `write: if_empty`."""

    @classmethod
    def joined(cls, parts: Iterable["FieldMapping"]) -> "FieldMapping":
        """Return a mapping with the fields of several, in order."""
        fields = tuple(field for each in parts for field in each._fields)
        modes = [frozenset(each.name for each in fields if each.write == mode) for mode in ("create", "if_empty")]
        return cls(fields, *modes)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the record's fields in the order of the configuration."""
        return tuple(field.name for field in self._fields)

    @property
    def fillers(self) -> dict[str, str]:
        """Return the fields with a value of the configuration and without `write`: `constant` or `default` by name."""
        kinds = {"value": "constant", "default": "default"}
        return {
            each.name: kinds[each.default_label]
            for each in self._fields
            if each.write is None and each.default is not None
        }

    def apply(self, event_variables: Mapping[str, Any], traces: list[FieldTrace] | None = None) -> dict[str, Any]:
        """Return a record's fields for the variables of `event_variables`, without empty fields.

        A field of the event keeps its type; the result of a template is text. The steps are taken from the current
        budget, or from a new one.

        Args:
            event_variables: See `event_variables`.
            traces: Receives the computation of each field, those that are left out or fail included.

        Raises:
            MappingError: A required field is empty, a template or transform cannot use the values, or the work or the
                result would be too large. With `traces` the other fields are computed all the same.
        """
        if budget.budget_in_force():
            return self._compute(event_variables, traces)
        with spending(Budget()):
            return self._compute(event_variables, traces)

    def _compute(self, event_variables: Mapping[str, Any], traces: list[FieldTrace] | None) -> dict[str, Any]:
        record = {}
        size = 0
        failure: MappingError | None = None
        steps: list[TraceStep] | None = None
        for field in self._fields:
            value, error = _LEFT_OUT, None
            if traces is not None:
                steps = []
            try:
                value = field.value(event_variables, steps)
                if value is not _LEFT_OUT:
                    length = len(value) if type(value) is str else _length(value)
                    if size + length > FIELD_TEXT:
                        _check_length(field.name, length, size)
                    size += length
                    record[field.name] = value
            except MappingError as raised:
                if traces is None:
                    raise
                failure, error, value = failure or raised, raised.message, _LEFT_OUT
            if traces is not None:
                traces.append(field.trace(steps or (), value, error))
        if failure:
            raise failure
        return record


def _length(value: object) -> int:
    """Return the number of characters of a value. Lists and maps are counted as JSON."""
    if isinstance(value, str):
        return len(value)
    return len(to_json(value)) if isinstance(value, dict | list) else 0


def _check_length(name: str, length: int, size: int) -> None:
    """Raise `MappingError` if a value is too long, or too long for a record that has `size` characters already."""
    if length > FIELD_TEXT:
        what = f"longer than {FIELD_TEXT:,}"
    elif size + length > RECORD_TEXT:
        what = f"the record with this field is longer than {RECORD_TEXT:,}"
    else:
        return
    raise MappingError(name, f"{what} characters; shorten it with `truncate`, then replay the delivery")


def _step_name(label: str) -> str:
    """Return the name of a step for messages, which are logged: without the content of templates and arguments."""
    return "a template" if "{" in label else f"`{label.partition('(')[0]}`"


def _is_empty(value: object) -> bool:
    """Return True for a value that counts as unknown: None or only white space. 0 and false are values."""
    return value is None or (isinstance(value, str) and (not value or value.isspace()))


def compile_mapping(
    fields: Mapping[str, FieldForm],
    expressions: Expressions,
    transforms: Mapping[str, Transform] = BUILTIN,
) -> FieldMapping:
    """Compile the fields of a route, by their names at the destination.

    Raises:
        FieldsError: The fields have mistakes; all are included: unknown fields of the event, unknown transforms, wrong
            arguments, invalid templates.
    """
    compiler = _Compiler(expressions, transforms, [])
    compiled = tuple(compiler.field(name, form) for name, form in fields.items())
    if compiler.problems:
        raise FieldsError(compiler.problems)
    return FieldMapping.joined([FieldMapping(compiled)])


@dataclass(frozen=True, slots=True)
class _Compiler:
    expressions: Expressions
    transforms: Mapping[str, Transform]
    problems: list[FieldProblem]

    def field(self, name: str, form: FieldForm) -> _Field:
        sources = [self._source((name, "from", at), text) for at, text in enumerate(form.sources)]
        steps = [self._transform((name, "transform", at), notation) for at, notation in enumerate(form.transform)]
        if form.lookup is not None:
            steps.append(("lookup", BUILTIN["lookup"].bind([form.lookup])))
        constant = "value" in form.model_fields_set
        return _Field(
            name,
            tuple(sources),
            tuple(steps),
            "value" if constant else "default",
            form.value if constant else form.default,
            form.required,
            form.keep_empty,
            form.write if "write" in form.model_fields_set else None,
        )

    def _source(self, path: FieldPath, text: str) -> tuple[str, TransformStep]:
        if any(mark in text for mark in ("{{", "{%", "{#")):
            try:
                return text, self.expressions.template(text, EVENT_NAMES)
            except ExpressionError as error:
                self.problems.append(FieldProblem(path, error.message, error))
                return text, _nothing
        source = text.strip()
        if source not in _SOURCES:
            self.problems.append(FieldProblem(path, _unknown_source(source)))
        owner, _, member = source.partition(".")
        return source, (lambda event_variables: event_variables[owner][member]) if member else itemgetter(source)

    def _transform(self, path: FieldPath, notation: Any) -> tuple[str, TransformStep]:
        try:
            name, transform, arguments, named = self._call(notation)
            return _label(name, arguments, named), transform.bind(arguments, named)
        except TransformError as error:
            self.problems.append(FieldProblem(path, str(error)))
            return "", _nothing

    def _call(self, notation: object) -> tuple[str, Transform, list[Any], dict[str, Any]]:
        """Return the parts of `name`, `{name: argument}`, `{name: [arguments]}` or `{name: {argument: …}}`."""
        if isinstance(notation, dict) and len(notation) == 1:
            ((name, keys),) = notation.items()
        elif isinstance(notation, str):
            name, keys = notation.strip(), None
        else:
            raise TransformError("a transform is written `trim` or `{truncate: 500}`, one for each step")
        if "(" in name:
            raise TransformError("arguments are written `{truncate: 500}` here, not `truncate(500)`")
        transform = self.transforms.get(name)
        names = [each.strip() for each in name.split(",")]
        if transform is None and len(names) > 1 and self.transforms.keys() >= set(names):
            raise TransformError(f"several transforms are a list: [{', '.join(names)}]")
        if transform is None:
            raise TransformError(f"unknown transform `{name}`{did_you_mean(name, self.transforms)}")
        if keys is None:
            return name, transform, [], {}
        if [each.kinds for each in transform.parameters] == [(type(keys),)]:  # its only argument, a table or a list
            return name, transform, [keys], {}
        if isinstance(keys, dict):
            return name, transform, [], keys
        return name, transform, keys if isinstance(keys, list) else [keys], {}


def _unknown_source(source: str) -> str:
    """Return what to write in place of a text that is no field of the event."""
    words = [word for word in _SEPARATORS.split(source) if word]
    if len(words) > 1 and all(word in _SOURCES for word in words):
        template = " ".join(f"{{{{ {word} }}}}" for word in words)
        listed = ", ".join(words)
        return f'several fields in one text: write "{template}", or {{from: [{listed}]}} for the first with a value'
    constant = source if _PLAIN_TEXT.fullmatch(source) else "…"
    hint = did_you_mean(source, _SOURCES)
    return f"unknown field `{source}` of the event{hint}; a constant is written {{value: {constant}}}"


def _nothing(_: object) -> str:
    return ""


def _label(name: str, arguments: list[Any], named: dict[str, Any]) -> str:
    texts = [to_json(argument) for argument in arguments]
    texts += [f"{key}={to_json(argument)}" for key, argument in named.items()]
    return f"{name}({', '.join(texts)})"[:_LABEL] if texts else name
