"""How an event's fields become the fields of a record. Pure.

The configuration's `fields` are read into `FieldForm`s, compiled once (`compile_mapping`), and applied to each event
(`Mapping.apply`). `Mapping.trace` shows every step on the way to a value, by the same code.
"""

from collections import abc
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bridge.errors import LeadbridgeError, did_you_mean
from bridge.event import EVENT_FIELDS, Event, timestamp
from bridge.mapping import budget
from bridge.mapping.budget import FIELD_TEXT, RECORD_TEXT, Budget, LimitError, spending
from bridge.mapping.expressions.sandbox import TEXT_METHODS
from bridge.mapping.transform_api import Step, Transform, TransformError, to_json
from bridge.mapping.transforms import BUILTIN
from connectors.base import ExpressionError, Expressions

EVENT_MEMBERS: Final = frozenset({"id", "received_at"})
NAMES: Final = frozenset(EVENT_FIELDS) | {"event", "chatbot"}
"""What an expression over an event may use."""
MEMBERS: Final[abc.Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((*EVENT_FIELDS, "chatbot"), TEXT_METHODS),
    "event": EVENT_MEMBERS,
}
"""What some of `NAMES` have in them; for `expressions.JinjaExpressions`."""
_SOURCES: Final = (*EVENT_FIELDS, "chatbot", *(f"event.{name}" for name in sorted(EVENT_MEMBERS)))
_LABEL: Final = 80
_LEFT_OUT: Final = object()
_NO_FIELDS: Final = dict.fromkeys(EVENT_FIELDS, "")

Path = tuple[str | int, ...]


def variables(event: Event) -> dict[str, Any]:
    """Give what expressions and mappings may use of an event.

    That is its ten fields by the sender's names, `event` with its `id` and `received_at` (ISO 8601, UTC), and
    `chatbot`, its name in the configuration or `""`.
    """
    return {
        **_NO_FIELDS,
        **event.fields,
        "event": {"id": event.id, "received_at": timestamp(event.received_at)},
        "chatbot": event.chatbot or "",
    }


class MappingError(LeadbridgeError):
    """The mapping could not make a record of an event: fix the mapping, then replay the delivery.

    The message says what to do and holds no value of the event.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"field `{field}`: {message}")
        self.field = field
        """The record's field, by the destination's name."""
        self.message = message


class FieldForm(BaseModel):
    """How one field of a record is made: a source, or a constant, and what is done with it.

    The short forms become this one: a text with `{{` or `{%` in it is a template, any other is the name of a field of
    the event; both are sources.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    sources: list[str] = Field(
        default=[],
        alias="from",
        description="Fields of the event, or templates; the first that is not empty is taken.",
    )
    transform: list[Any] = Field(default=[], description="Transforms, done in this order: `trim`, `{truncate: 500}`.")
    lookup: dict[str, Any] | None = Field(
        default=None, description="A table from the value's text to what is sent for it; what it lacks is empty."
    )
    default: Any = Field(default=None, description="What is sent where the value is empty.")
    required: bool = Field(
        default=False, description="Whether an event for which the value is empty becomes a dead letter."
    )
    keep_empty: bool = Field(
        default=False, description="Whether an empty value is sent as an empty text instead of being left out."
    )
    value: Any = Field(default=None, description="A constant; it stands for `from` and what is done with it.")

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, form: object) -> object:
        """Turn the short forms, and a single source or transform, into the long ones."""
        if isinstance(form, str):
            return {"from": [form]}
        if not isinstance(form, dict):
            raise ValueError("must be a field of the event, a template in quotes, or a map: {value: …}, {from: …}")  # noqa: TRY004 - pydantic reports ValueErrors
        single = {key: [form[key]] for key in ("from", "transform") if isinstance(form.get(key), str | dict)}
        return {**form, **single}

    @model_validator(mode="after")
    def _check_sources(self) -> "FieldForm":
        """Refuse a form that has no value, or two."""
        given = self.model_fields_set
        if "value" in given and given & {"sources", "transform", "lookup", "default"}:
            raise ValueError("`value` is a constant: it goes with `required` and `keep_empty` only")
        if "value" not in given and not self.sources:
            raise ValueError("needs `from` (fields of the event) or `value` (a constant)")
        return self


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with a field of the configuration."""

    path: Path
    """From `fields` on: the record's field, and keys and indexes below it."""
    message: str
    cause: ExpressionError | None = None
    """Where it is in the text at `path`, for an expression."""


class FieldsError(LeadbridgeError):
    """Fields that cannot be compiled. Carries all that is wrong with them."""

    def __init__(self, problems: abc.Iterable[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in self.problems))


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step on the way to a field's value."""

    label: str
    """A source, a transform with its arguments, `lookup`, `default` or `value`."""
    value: Any
    """What is there after it."""


@dataclass(frozen=True, slots=True)
class FieldTrace:
    """How one field came to its value."""

    field: str
    sources: tuple[str, ...]
    """All that could have been taken, as the configuration names them."""
    steps: tuple[TraceStep, ...]
    """What was done, up to the last step or the one before the failure."""
    value: Any
    """What is sent; None where nothing is."""
    left_out: bool
    """Whether the record goes without the field."""
    error: str | None = None
    """Why there is no record, as `MappingError.message`."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field, compiled. All that happens to a value happens in `value`, for `apply` and for `trace`."""

    name: str
    sources: tuple[tuple[str, Step], ...]
    """Each with its label; the step takes the variables."""
    steps: tuple[tuple[str, Step], ...]
    """The transforms and the lookup; each step takes the value."""
    default_label: str
    default: Any
    required: bool
    keep_empty: bool

    def value(self, variables: abc.Mapping[str, Any], trace: list[TraceStep] | None = None) -> Any:  # noqa: ANN401
        """Work the value out; `_LEFT_OUT` where it is empty. Adds each step to `trace` if there is one."""
        value: Any = ""
        label = ""
        try:
            for label, read in self.sources:
                value = read(variables)
                if trace is not None:
                    trace.append(TraceStep(label, value))
                if not _is_empty(value):
                    break
            for label, step in self.steps:
                if _is_empty(value):
                    break
                value = step(value)
                if trace is not None:
                    trace.append(TraceStep(label, value))
        except Exception as error:  # noqa: BLE001 - whatever the values make of it is the mapping's failure
            raise self._failure(label, error) from None
        return self._filled(value, trace) if _is_empty(value) else value

    def _filled(self, value: Any, trace: list[TraceStep] | None) -> Any:  # noqa: ANN401 - JSON values
        """Give what stands for an empty value."""
        if self.default is not None:
            value = self.default
            if trace is not None:
                trace.append(TraceStep(self.default_label, value))
        if not _is_empty(value):
            return value
        if self.required:
            sources = ", ".join(_named(label) for label, _ in self.sources) or "its value"
            raise MappingError(
                self.name,
                f"required, but empty in this event (from {sources}): give it another source or a default, then "
                "replay the delivery",
            )
        return "" if self.keep_empty else _LEFT_OUT

    def _failure(self, label: str, error: Exception) -> MappingError:
        if isinstance(error, ExpressionError):
            what = f"line {error.line} of its template fails: {error.message}"
        elif isinstance(error, TransformError):
            what = str(error)
        elif isinstance(error, LimitError):
            what = f"{_named(label)} {error}"
        else:
            what = f"{_named(label)} fails with {type(error).__name__}"
        return MappingError(self.name, f"{what}; correct the mapping, then replay the delivery")


@dataclass(frozen=True, slots=True)
class Mapping:
    """The compiled fields of a route, in the order of the configuration."""

    _fields: tuple[_Field, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The record's fields, in the order of the configuration."""
        return tuple(field.name for field in self._fields)

    def apply(self, variables: abc.Mapping[str, Any]) -> dict[str, Any]:
        """Make a record's fields of the variables that `variables` gives. Empty ones are left out.

        A field of the event keeps its type; a template gives text. All of it takes its steps from the budget in force,
        or from one of its own.

        Raises:
            MappingError: a required field is empty, a template or transform cannot work with the values, or the work
                or the result would be too large.
        """
        if budget.in_force():
            return self._applied(variables)
        with spending(Budget()):
            return self._applied(variables)

    def _applied(self, variables: abc.Mapping[str, Any]) -> dict[str, Any]:
        record = {}
        size = 0
        for field in self._fields:
            value = field.value(variables)
            if value is not _LEFT_OUT:
                size += len(value) if type(value) is str else _length(value)
                if size > FIELD_TEXT:
                    _check_length(field.name, value, size)
                record[field.name] = value
        return record

    def trace(self, variables: abc.Mapping[str, Any]) -> tuple[FieldTrace, ...]:
        """Show how `apply` comes to each field, including those that are left out or fail."""
        size = 0
        traces = []
        with spending(budget.current()):
            for field in self._fields:
                traces.append(_trace(field, variables, size))
                size += _length(traces[-1].value)
        return tuple(traces)


def _length(value: object) -> int:
    """Return how many characters a value has; one that is no text is written as JSON."""
    if isinstance(value, str):
        return len(value)
    return len(to_json(value)) if isinstance(value, dict | list) else 0


def _check_length(name: str, value: object, size: int) -> None:
    """Raise `MappingError` for a value that is too long, or that makes the record (`size` with it) too long."""
    if _length(value) > FIELD_TEXT:
        what = f"longer than {FIELD_TEXT:,}"
    elif size > RECORD_TEXT:
        what = f"with it the record is longer than {RECORD_TEXT:,}"
    else:
        return
    raise MappingError(name, f"{what} characters; shorten it with `truncate`, then replay the delivery")


def _trace(field: _Field, variables: abc.Mapping[str, Any], size: int) -> FieldTrace:
    steps: list[TraceStep] = []
    sources = tuple(label for label, _ in field.sources)
    try:
        value = field.value(variables, steps)
        _check_length(field.name, value, size + _length(value))
    except MappingError as error:
        return FieldTrace(field.name, sources, tuple(steps), None, left_out=True, error=error.message)
    left_out = value is _LEFT_OUT
    return FieldTrace(field.name, sources, tuple(steps), None if left_out else value, left_out)


def _named(label: str) -> str:
    """Name a step in a message, which is kept and logged: without what the author put into templates and arguments."""
    return "a template" if "{" in label else f"`{label.partition('(')[0]}`"


def _is_empty(value: object) -> bool:
    """Say whether a value counts as unknown: nothing, or only white space. 0 and false are values."""
    return value is None or (isinstance(value, str) and (not value or value.isspace()))


def compile_mapping(
    fields: abc.Mapping[str, FieldForm],
    expressions: Expressions,
    transforms: abc.Mapping[str, Transform] = BUILTIN,
) -> Mapping:
    """Compile the fields of a route, by the destination's names.

    Raises:
        FieldsError: with all that is wrong: unknown fields of the event, unknown transforms, wrong arguments,
            templates that cannot be compiled.
    """
    compiler = _Compiler(expressions, transforms, [])
    compiled = tuple(compiler.field(name, form) for name, form in fields.items())
    if compiler.problems:
        raise FieldsError(compiler.problems)
    return Mapping(compiled)


@dataclass(frozen=True, slots=True)
class _Compiler:
    expressions: Expressions
    transforms: abc.Mapping[str, Transform]
    problems: list[FieldProblem]

    def field(self, name: str, form: FieldForm) -> _Field:
        sources = [self._source((name, "from", at), text) for at, text in enumerate(form.sources)]
        steps = [self._transform((name, "transform", at), asked) for at, asked in enumerate(form.transform)]
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
        )

    def _source(self, path: Path, text: str) -> tuple[str, Step]:
        if any(mark in text for mark in ("{{", "{%", "{#")):
            try:
                return text, self.expressions.template(text, NAMES)
            except ExpressionError as error:
                self.problems.append(FieldProblem(path, error.message, error))
                return text, _nothing
        source = text.strip()
        if source not in _SOURCES:
            hint = did_you_mean(source, _SOURCES) or "; a constant is written {value: …}"
            self.problems.append(FieldProblem(path, f"unknown field `{source}` of the event{hint}"))
        owner, _, member = source.partition(".")
        return source, (lambda variables: variables[owner][member]) if member else itemgetter(source)

    def _transform(self, path: Path, asked: Any) -> tuple[str, Step]:  # noqa: ANN401 - what the author wrote
        try:
            name, transform, arguments, named = self._call(asked)
            return _label(name, arguments, named), transform.bind(arguments, named)
        except TransformError as error:
            self.problems.append(FieldProblem(path, str(error)))
            return "", _nothing

    def _call(self, asked: object) -> tuple[str, Transform, list[Any], dict[str, Any]]:
        """Read `name`, `{name: argument}`, `{name: [arguments]}` or `{name: {argument: …}}`."""
        if isinstance(asked, dict) and len(asked) == 1:
            ((name, given),) = asked.items()
        elif isinstance(asked, str):
            name, given = asked.strip(), None
        else:
            raise TransformError("a transform is written `trim` or `{truncate: 500}`, one for each step")
        if "(" in name:
            raise TransformError("arguments are written `{truncate: 500}` here, not `truncate(500)`")
        transform = self.transforms.get(name)
        if transform is None:
            raise TransformError(f"unknown transform `{name}`{did_you_mean(name, self.transforms)}")
        if given is None:
            return name, transform, [], {}
        if [parameter.kinds for parameter in transform.parameters] == [(type(given),)]:  # its one table, or list
            return name, transform, [given], {}
        if isinstance(given, dict):
            return name, transform, [], given
        return name, transform, given if isinstance(given, list) else [given], {}


def _nothing(_: object) -> str:
    return ""


def _label(name: str, arguments: list[Any], named: dict[str, Any]) -> str:
    written = [to_json(argument) for argument in arguments]
    written += [f"{key}={to_json(argument)}" for key, argument in named.items()]
    return f"{name}({', '.join(written)})"[:_LABEL] if written else name
